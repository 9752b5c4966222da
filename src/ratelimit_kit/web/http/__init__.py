"""HTTP as rules see it: requests and responses, built from a WSGI environ or an ASGI scope."""
