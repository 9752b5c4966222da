"""HTTP as rules see it: requests and responses, made of a WSGI environ or an ASGI scope."""
