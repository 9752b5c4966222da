"""Checks at start for mistakes that silently break a limit, whatever the store.

`unreachable_limits` and `per_request_limiters` check limits, `decorator_order` checks decorated views, and `server_fields`
warns about servers that merge header fields.
"""
