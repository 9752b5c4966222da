"""What a refused client reads: problem details (RFC 9457), plain text or a small page, by Accept."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape

from ratelimit_kit.web.headers import Header

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
REDUCED_CAPACITY = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title></head>
<body><h1>{title}</h1><p>{detail}</p></body>
</html>
"""

_TYPES = ("application/problem+json", "application/json", "text/html", "text/plain")


def body(accept: str, *, status: int, names: Sequence[str], seconds: float) -> tuple[bytes, list[Header]]:
    """The body of a refusal in the form that the client prefers, and its fields.

    `names` are the policies that refused, `seconds` the wait; a 503 speaks of the store, not of a quota.
    """
    wait = max(1, math.ceil(seconds))
    title = "Too many requests" if status == 429 else "Temporarily unavailable"
    detail = f"Try again in {wait} second{'' if wait == 1 else 's'}."
    form = preferred(accept)
    if form == "text/html":
        text = _PAGE.format(title=escape(title), detail=escape(detail))
    elif form == "text/plain":
        text = f"{title}. {detail}\n"
    else:
        problem = {
            "type": QUOTA_EXCEEDED if status == 429 else REDUCED_CAPACITY,
            "title": title,
            "status": status,
            "detail": detail,
            "violated-policies": list(names),
        }
        form, text = "application/problem+json", json.dumps(problem)
    data = text.encode()
    content_type = form if form == "application/problem+json" else f"{form}; charset=utf-8"
    return data, [
        ("Content-Type", content_type),
        ("Content-Length", str(len(data))),
        ("Cache-Control", "no-store"),
        ("Vary", "Accept"),
    ]


def preferred(accept: str) -> str:
    """Which of our forms the Accept field rates highest (RFC 9110, 12.5.1); problem details by default."""
    ratings: dict[str, float] = {}
    for item in accept.split(",")[:32]:
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
