"""Startup checks: an unsafe setup is refused before the first request.

`worker_count` and `worker_detection` find out how many processes there are, and `socket_locks` detects siblings without
their help. `process_guard` applies the result to one store, `messages` and `announce` report it, and `abort` ends the
server. `unreachable_limits` and `per_request_limiters` check limits, `decorator_order` checks decorated
views, and `server_fields` warns about servers that merge header fields.
"""
