"""Everything about HTTP that needs no framework: requests, identities, rules, policies, headers and denials.

The integrations (wsgi.py, asgi.py, django/ and others) only translate requests and responses; they decide nothing.
"""
