"""Start-up checks: an unsafe setup is refused before the first request.

`workers` and `servers` find out how many processes there are, and `socket_locks` detects siblings without
them. `process_guard` applies the result to one store, and `abort` ends the server. `unreachable_limits` and
`per_request_limiters` check the limits themselves.
"""
