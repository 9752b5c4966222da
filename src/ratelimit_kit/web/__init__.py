"""The web without a framework: requests, identities, rules, policy, headers and denials.

The front doors (wsgi.py, asgi.py, django/) translate to and from what is here and decide nothing.
"""
