"""Request and Response under their public import path, for annotating a rule's callables."""

from ratelimit_kit.web.http.messages import Request, Response

__all__ = ["Request", "Response"]
