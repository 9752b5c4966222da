"""The `key` of a rule: "ip", "user", "header:NAME", "global", a callable, or a list of those.

Each becomes one text per client. A signed-in user and an address never share a counter, and
visitors without a user or without the header are counted by their address.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from ratelimit_kit.core.options import nearest
from ratelimit_kit.errors import IdentityError, OptionError
from ratelimit_kit.web.identity import ClientAddress, hashed
from ratelimit_kit.web.request import Request

Part = str | Callable[[Request], str]
Key = Part | list[Part] | tuple[Part, ...]

_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_WORDS = ("ip", "user", "global")


def read_key(key: Key) -> tuple[Part, ...]:
    """The parts of a rule's key; OptionError for what is none."""
    parts = tuple(key) if isinstance(key, list | tuple) else (key,)
    if not parts:
        raise OptionError('key=[] names nothing to count by: write for example key="ip"')
    for part in parts:
        _check(part)
    return parts


def _check(part: Part) -> None:
    if callable(part) or part in _WORDS:
        return
    if isinstance(part, str) and part.startswith("header:") and _FIELD_NAME.fullmatch(part[7:]):
        return
    hint = nearest(str(part), [*_WORDS, "header:NAME"])
    raise OptionError(f"key={part!r} names nothing to count by; {hint}, or give a callable")


def identify(parts: tuple[Part, ...], request: Request, address: ClientAddress) -> str:
    """The text under which this request is counted."""
    return _join([_text(part, _value(part, request, request.user_id), request, address) for part in parts])


async def aidentify(parts: tuple[Part, ...], request: Request, address: ClientAddress) -> str:
    """Do what `identify` does; a callable may be a coroutine function."""
    return _join([_text(part, await _avalue(part, request), request, address) for part in parts])


def _value(part: Part, request: Request, user: Callable[[], Any]) -> Any:
    if callable(part):
        return part(request)
    return user() if part == "user" else None


async def _avalue(part: Part, request: Request) -> Any:
    value = _value(part, request, request.auser_id)
    return await value if isinstance(value, Awaitable) else value


def _text(part: Part, value: Any, request: Request, address: ClientAddress) -> str:
    if callable(part):
        return "key:" + _checked(part, value)
    if part == "global":
        return "global"
    if part == "user" and value is not None:
        return f"user:{value}"
    if part.startswith("header:") and (field := request.headers.get(part[7:])):
        return f"{part.lower()}={hashed(field)}"
    return "ip:" + address.key(request.peer, request.headers.get("x-forwarded-for", ""))


def _checked(part: Callable[[Request], str], value: Any) -> str:
    if isinstance(value, str):
        return value
    if inspect.iscoroutine(value):
        value.close()
        value = "a coroutine (an asynchronous key needs an asynchronous front door)"
    name = getattr(part, "__qualname__", repr(part))
    raise IdentityError(
        f"the key {name} returned {value!r}, and nothing can be counted by that: return text, or skip requests with when="
    )


def _join(texts: list[str]) -> str:
    return (
        texts[0] if len(texts) == 1 else "|".join(quote(text, safe=":/=.@", errors="surrogatepass") for text in texts)
    )
