"""The public path of Request and Response, for annotations of a rule's callables."""

from ratelimit_kit.web.http.messages import Request, Response

__all__ = ["Request", "Response"]
