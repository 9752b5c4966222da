"""Start-up checks: what must not run is refused before the first request.

`workers` and `servers` find out how many processes there are, `witness` proves it without them,
`watch` draws the conclusion for one store, `refusal` ends the server. `reach` and `lifetime` look
at the limits themselves.
"""
