"""What a client gets: rate-limit fields on a response that passes, or a refusal; health and the browser module."""
