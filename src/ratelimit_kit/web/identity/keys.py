"""The `key` of a rule: "ip", "user", "header:NAME", "cookie:NAME", "path:NAME", "global", a callable, or a list.

Each yields a text that identifies the client. A signed-in user and an address never share a counter, and requests
without the user, header or cookie are counted by address. A header or cookie that was sent with several values counts
under each of them, because only the application knows which one it will use.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import product
from math import prod
from typing import Any, Final
from urllib.parse import quote

from ratelimit_kit.core.validation import nearest
from ratelimit_kit.errors import IdentityError, OptionError
from ratelimit_kit.web.callables import acalled, called, check_callable
from ratelimit_kit.web.http.cookies import cookie_values
from ratelimit_kit.web.http.messages import FIELD_NAME, Request
from ratelimit_kit.web.identity.address import ClientAddress

SEVERAL: Final = 4
"""Maximum number of values of one field or cookie that are charged separately; with more, the address is charged."""

Part = str | Callable[[Request], str | Awaitable[str]]
Key = Part | list[Part] | tuple[Part, ...]

_WORDS = ("ip", "user", "global")
_NAMED = {"header": FIELD_NAME, "cookie": FIELD_NAME, "path": re.compile(r"[1-9][0-9]?|[^\W\d]\w*")}
"""The keys that take a name after a colon: that of a field, a cookie or a path parameter, or a segment's number."""


def read_key(key: Key) -> tuple[Part, ...]:
    """The parts of a rule's key; OptionError for an invalid one."""
    parts = tuple(key) if isinstance(key, list | tuple) else (key,)
    if not parts:
        raise OptionError('key=[] names nothing to count by. For example: key="ip"')
    for part in parts:
        _check(part)
    return parts


def _check(part: Part) -> None:
    if callable(part):
        check_callable("key", part, "request")
        return
    if part in _WORDS:
        return
    if isinstance(part, str):
        word, mark, name = part.partition(":")
        if word == "header" and "_" in name:
            raise OptionError(
                f"key={part!r}: servers drop fields with underscores, or treat them like those with hyphens; write "
                f"key='header:{name.replace('_', '-')}'"
            )
        if mark and word in _NAMED and _NAMED[word].fullmatch(name):
            return
    hint = nearest(part, [*_WORDS, "header:NAME", "cookie:NAME", "path:NAME"])
    raise OptionError(f"key={part!r} names nothing to count by; {hint} A callable of the request works too")


def identify(parts: tuple[Part, ...], request: Request, address: ClientAddress) -> Sequence[str]:
    """The identities under which this request counts: one, unless a field or cookie was sent with several values."""
    if len(parts) == 1:
        return _texts(parts[0], _value(parts[0], request), request, address)
    return _joined([_texts(part, _value(part, request), request, address) for part in parts], request, address)


async def aidentify(parts: tuple[Part, ...], request: Request, address: ClientAddress) -> Sequence[str]:
    """Do what `identify` does; a callable may be a coroutine function."""
    if len(parts) == 1:
        return _texts(parts[0], await _avalue(parts[0], request), request, address)
    return _joined([_texts(part, await _avalue(part, request), request, address) for part in parts], request, address)


def _value(part: Part, request: Request) -> Any:
    """The value of a part that requires a call: a callable's result or the user's id; None for other parts."""
    if callable(part):
        return called(part, request)
    return request.user_id() if part == "user" else None


async def _avalue(part: Part, request: Request) -> Any:
    """Do what `_value` does."""
    if callable(part):
        return await acalled(part, request)
    return await request.auser_id() if part == "user" else None


def _texts(part: Part, value: Any, request: Request, address: ClientAddress) -> Sequence[str]:
    if part == "ip":
        return ["ip:" + address.key(request)]
    if callable(part):
        return ["key:" + _checked(part, value)]
    if part == "global":
        return ["global"]
    if part == "user" and value is not None:
        return [f"user:{value}"]
    word, _, name = part.partition(":")
    if word == "path":
        return [f"{part}={_of_path(name, request)}"]
    label = part.lower() if word == "header" else part
    values = _SENT[word](request, name) if word in _SENT else []
    if 0 < len(values) <= SEVERAL:
        return [f"{label}={hashed(one)}" for one in values]
    return ["ip:" + address.key(request)]


def _of_header(request: Request, name: str) -> Sequence[str]:
    """The distinct values of a field, normalised as frameworks read them."""
    values = [stripped for value in request.values(name) if (stripped := value.strip())]
    if name.lower() in _CREDENTIALS:
        values = [credentials(value) for value in values]
    return values if len(values) < 2 else list(dict.fromkeys(values))


def _of_cookie(request: Request, name: str) -> Sequence[str]:
    bare = isinstance(request.raw, dict) and "REQUEST_METHOD" in request.raw  # a WSGI application of any framework
    return cookie_values("; ".join(request.values("cookie")), name, loosely=bare)


_SENT: dict[str, Callable[[Request, str], Sequence[str]]] = {"header": _of_header, "cookie": _of_cookie}

_CREDENTIALS = frozenset({"authorization", "proxy-authorization"})


def credentials(value: str) -> str:
    """Credentials in canonical form: the scheme in lower case, one space, and for Basic the decoded base64.

    Frameworks accept the scheme in any case and any amount of space, and Python's base64 ignores invalid characters.
    """
    scheme, *rest = value.split(None, 1) or [""]
    given = rest[0].strip() if rest else ""
    if scheme.lower() == "basic":
        with suppress(ValueError):
            given = b64decode(given.encode("latin-1", "replace")).decode("latin-1")
    return f"{scheme.lower()} {given}"


def _of_path(name: str, request: Request) -> str:
    """A path segment by its number, counted from 1, or the path parameter with that name."""
    if name.isdigit():
        segments = request.canonical_path.split("/")[1:]
        return segments[int(name) - 1] if int(name) <= len(segments) else ""
    found = request.path_params
    if found is None or name not in found:
        when = "before routing" if found is None else f"in the path {request.path!r}"
        raise IdentityError(
            f'key="path:{name}" finds no value {name!r} {when}: use it in the decorator of a view whose URL has that '
            'parameter, or count by the number of the segment, such as key="path:2"'
        )
    return str(found[name])


def _checked(part: Callable[[Request], Any], value: Any) -> str:
    if isinstance(value, str):
        return value
    name = getattr(part, "__qualname__", repr(part))
    raise IdentityError(
        f"the key {name} returned {value!r}, which cannot be counted by: return text, or skip requests with when="
    )


def _joined(parts: Sequence[Sequence[str]], request: Request, address: ClientAddress) -> Sequence[str]:
    """Every combination of the parts; if there are too many, parts with several values are replaced by the address."""
    if prod(map(len, parts)) > SEVERAL:
        parts = [texts if len(texts) == 1 else ["ip:" + address.key(request)] for texts in parts]
    return ["|".join(quote(text, safe=":/=.@", errors="surrogatepass") for text in texts) for texts in product(*parts)]


def hashed(value: str) -> str:
    """A short hash in place of a value that may be secret, such as an API key."""
    return blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
