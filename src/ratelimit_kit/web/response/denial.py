"""The body of a refusal: problem details (RFC 9457), plain text or a small HTML page, depending on Accept.

A policy's `denial` callable can replace the body; the rate-limit fields stay the policy's. Lazy translations, such as
Django's and Flask-Babel's, are texts too: they are translated here, for this request.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from ratelimit_kit.errors import OptionError
from ratelimit_kit.web.callables import Bridge
from ratelimit_kit.web.http.messages import Header, Request

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
REDUCED_CAPACITY = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title></head>
<body><h1>{title}</h1><p>{detail}</p></body>
</html>
"""

_TITLES = {413: "Request too large", 429: "Too many requests", 503: "Temporarily unavailable"}

_TYPES = ("application/problem+json", "application/json", "text/html", "text/plain")


class Denial(NamedTuple):
    """A refusal: its `status` (429, 503 or 413), the `names` of the limits that refused, `retry_after` in seconds.

    `retry_after` is infinite, and `helps` false, if the request costs more than the limit can ever admit, or if the limit is
    0 (`closed`).
    """

    request: Request
    status: int
    names: Sequence[str]
    retry_after: float
    closed: bool = False

    @property
    def bridge(self) -> Bridge | None:
        """The request's, for a custom denial that is asynchronous or reads what blocks."""
        return self.request.bridge

    @property
    def helps(self) -> bool:
        """Whether waiting helps, so that there is a Retry-After."""
        return self.retry_after < math.inf

    @property
    def wait(self) -> int:
        """Whole seconds to wait, rounded up and never 0, as in Retry-After; 0 if no wait helps."""
        return max(1, math.ceil(self.retry_after)) if self.helps else 0

    @property
    def title(self) -> str:
        """The refusal as a short title."""
        return _TITLES[self.status]

    @property
    def detail(self) -> str:
        """What the client can do about it."""
        if self.closed:
            return "Requests of this kind are not admitted."
        if not self.helps:
            return "This request asks for an amount that its limit never allows."
        return f"Try again in {self.wait} second{'' if self.wait == 1 else 's'}."


class Reply(NamedTuple):
    """A custom body for a refusal: text, bytes, or a mapping that is sent as JSON; "" and 0 keep the defaults.

    Texts may be lazy translations, in a mapping too.
    """

    body: str | bytes | Mapping[str, Any]
    content_type: str = ""
    status: int = 0
    headers: Sequence[Header] = ()


Own = Reply | str | bytes | Mapping[str, Any] | None
Respond = Callable[[Denial], Own | Awaitable[Own]]


def say(denial: Denial, own: Own = None) -> tuple[int, bytes, list[Header]]:
    """The status, the body and its fields: what a policy's `denial` has returned, or the form that the client prefers."""
    if own is None:
        form, text = _by_accept(denial)
        return denial.status, text.encode(), _fields(form, text.encode(), [("Vary", "Accept")])
    reply = own if isinstance(own, Reply) else Reply(own)
    form, data = _encoded(_translated(reply.body))
    more = [(name, _translated(value)) for name, value in reply.headers]
    return reply.status or denial.status, data, _fields(_translated(reply.content_type) or form, data, more)


def _by_accept(denial: Denial) -> tuple[str, str]:
    form = preferred(denial.request.headers.get("accept", ""))
    if form == "text/html":
        text = _PAGE.format(title=escape(denial.title), detail=escape(denial.detail))
    elif form == "text/plain":
        text = f"{denial.title}. {denial.detail}\n"
    else:
        problem: dict[str, Any] = {
            "type": REDUCED_CAPACITY if denial.status == 503 else QUOTA_EXCEEDED,
            "title": denial.title,
            "status": denial.status,
            "detail": denial.detail,
        }
        if denial.names:  # without the store, it is not known which
            problem["violated-policies"] = list(denial.names)
        return "application/problem+json", json.dumps(problem)
    return f"{form}; charset=utf-8", text


def _encoded(body: object) -> tuple[str, bytes]:
    if isinstance(body, bytes):
        return "application/octet-stream", body
    if isinstance(body, str):
        return "text/plain; charset=utf-8", body.encode()
    if isinstance(body, Mapping):
        try:
            return "application/json", json.dumps(body).encode()
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"denial= returned a mapping that cannot be sent as JSON ({error}): use texts, numbers, True, False, None, "
                "lists and mappings in it"
            ) from error
    raise OptionError(
        f"denial= returned {body!r}: return text, bytes, a mapping for JSON, a Reply with a content type, or None for the "
        "default body"
    )


def _translated(value: Any) -> Any:
    """The value with text for each lazy translation in it, and with plain mappings and lists around them."""
    if type(value) in {str, bytes}:
        return value
    if isinstance(value, float) and not math.isfinite(
        value
    ):  # such as the wait under a limit of 0: JSON has no word for it
        return None
    if isinstance(value, Mapping):
        return {_translated(name): _translated(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_translated(one) for one in value]
    # The proxies of Django, Babel and Flask-Babel have no class in common, but the methods of the text they stand for.
    return str(value) if callable(getattr(value, "casefold", None)) else value


def _fields(content_type: str, data: bytes, more: Sequence[Header]) -> list[Header]:
    own = {name.lower() for name, _ in more}
    usual = [("Content-Type", content_type), ("Content-Length", str(len(data))), ("Cache-Control", "no-store")]
    return [*(field for field in usual if field[0].lower() not in own), *more]


def preferred(accept: str) -> str:
    """The media type that the Accept field rates highest (RFC 9110, 12.5.1); problem details by default."""
    ratings: dict[str, float] = {}
    for item in accept[:4096].split(",")[:32]:
        name, _, parameters = item.strip().lower().partition(";")
        ratings[name.strip()] = _quality(parameters)
    return max(_TYPES, key=lambda form: _rating(form, ratings)) if ratings else _TYPES[0]


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _rating(form: str, ratings: dict[str, float]) -> float:
    for name in (form, form.partition("/")[0] + "/*", "*/*"):
        if name in ratings:
            return ratings[name]
    return 0.0
