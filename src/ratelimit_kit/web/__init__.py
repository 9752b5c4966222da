"""The web without a framework: requests, identities, rules, policy, headers and denials.

The integrations (wsgi.py, asgi.py, django/) translate requests and responses, and decide nothing.
"""
