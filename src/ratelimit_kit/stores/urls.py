"""Store URLs: parsing, and redaction of anything that may be a password.

    scheme://[[user][:password]@]host[:port][,host[:port]...][/path][?option=value&...]

The standard library's `urlsplit` is not used: newer Pythons reject a list of hosts with brackets in it, and its
errors quote what they could not parse, which may be part of a password.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode

from ratelimit_kit.errors import StoreURLError

_END_OF_HOSTS = re.compile(r"[/?#]")
_PORT = re.compile(r"\d{1,5}", re.ASCII)
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%.+)?", re.ASCII)
_ENCODE: Final = "percent-encode / ? # @ in a user and a password (as %2F %3F %23 %40)"


@dataclass(frozen=True)
class StoreURL:
    """The parts of a store URL; `login` is still percent-encoded, `options` are decoded."""

    scheme: str
    login: str = field(repr=False)
    hosts: str
    path: str
    options: Mapping[str, str] = field(repr=False)

    @property
    def username(self) -> str:
        """The user, decoded; empty if the URL has none."""
        return unquote(self.login.partition(":")[0])

    @property
    def password(self) -> str:
        """The password, decoded; empty if the URL has none."""
        return unquote(self.login.partition(":")[2])

    def nodes(self, port: int) -> tuple[tuple[str, int], ...]:
        """The hosts with their ports, `port` by default; raises StoreURLError if one is not a host."""
        return tuple(_node(self, place, host, port) for place, host in enumerate(self.hosts.split(","), start=1))

    def without(self, names: Sequence[str]) -> StoreURL:
        """The same URL without these options."""
        return replace(self, options={name: value for name, value in self.options.items() if name not in names})

    def text(self) -> str:
        """The complete URL, login included: for a client library, never for a message."""
        login = f"{self.login}@" if self.login else ""
        query = f"?{urlencode(self.options)}" if self.options else ""
        return f"{self.scheme}://{login}{self.hosts}{self.path}{query}"

    def refused(self, reason: str) -> StoreURLError:
        """The error for a URL that names no store; `reason` must not quote any of its login."""
        return StoreURLError(f"store={redacted(self.text())!r} {reason}")

    def check_socket(self, example: str) -> None:
        """Raise StoreURLError where a URL with the path of a UNIX socket is of no use, as on Windows."""
        if not hasattr(socket, "AF_UNIX"):
            raise self.refused(f"names a UNIX socket, which this system does not have. For example: {example!r}")


def read_url(url: str) -> StoreURL:
    """The parts of a URL; raises StoreURLError if part of the login could be mistaken for something else."""
    if not isinstance(url, str):
        raise StoreURLError(f"a {type(url).__name__} is not a store URL. For example: 'redis://127.0.0.1:6379/0'")
    scheme, mark, rest = url.partition("://")
    if not mark:
        raise StoreURLError(f"store={redacted(url)!r} is not a URL. For example: 'redis://127.0.0.1:6379/0'")
    end = _END_OF_HOSTS.search(rest)
    authority, place = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    login, _, hosts = authority.rpartition("@")
    path, _, query = place.partition("?")
    if "#" in place or ("@" in path and hosts) or ("@" in query and not login):
        raise StoreURLError(f"store={redacted(url)!r} cannot be read, because its login ends too early: {_ENCODE}")
    try:
        options = dict(parse_qsl(query.strip("&"), keep_blank_values=True, strict_parsing=True)) if query else {}
    except ValueError:
        raise StoreURLError(
            f"store={redacted(url)!r} cannot be read: after '?' come options as name=value. If there is a password, {_ENCODE}"
        ) from None
    return StoreURL(scheme, login, hosts, path, options)


def _node(url: StoreURL, place: int, text: str, default: int) -> tuple[str, int]:
    """A host and its port; unreadable text may be part of a password, so errors name only its position."""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        mark, port = rest[:1], rest[1:]
        good = bool(closed) and mark in {"", ":"} and _IPV6.fullmatch(host) is not None
    else:
        host, mark, port = text.partition(":")
        good = "[" not in host and "]" not in host
    if good and host and (not mark or (_PORT.fullmatch(port) and 0 < int(port) < 65536)):
        return host, int(port) if mark else default
    if good and host and port.isdigit():
        raise url.refused(f"cannot be read: host {place} has no port from 1 to 65535")
    raise url.refused(
        f"cannot be read: host {place} is not a host with a port. For example: 127.0.0.1:{default} or [::1]:{default}; "
        f"if there is a password, {_ENCODE}"
    )


def taken_out(url: StoreURL, names: Sequence[str]) -> tuple[StoreURL, dict[str, float]]:
    """The URL without these options, and their values in seconds; raises StoreURLError if one is not a number."""
    found: dict[str, float] = {}
    for name in names:
        if name in url.options:
            try:
                found[name] = float(url.options[name])
            except ValueError:
                raise StoreURLError(
                    f"{name}= in the store's URL is not a number of seconds. For example: {name}=1"
                ) from None
    return url.without(names), found


def redacted(url: str) -> str:
    """The URL for messages: without its login, the values of its options, and anything that may be part of them.

    A password may contain delimiters, so everything up to the last "@" counts as the login; where that may be
    wrong, only the scheme is shown.
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        return _without_login(url)
    before, query, after = rest.partition("?")
    if "@" in after:
        return f"{scheme}://***"
    _, at, place = before.rpartition("@")
    place = place.partition("#")[0]
    hosts = place.partition("/")[0]
    if not at and any(not _is_plain(host) for host in hosts.split(",")):
        return f"{scheme}://***"
    return f"{scheme}://{'***@' if at else ''}{place}{'?...' if query else ''}"


def missing_scheme(text: str) -> str:
    """A hint for text that looks like `host:port` and only lacks a scheme; else empty."""
    host, mark, rest = text.partition(":")
    port = rest.partition("/")[0]
    return f"did you mean 'redis://{host}:{rest}'?" if mark and host and _PORT.fullmatch(port) else ""


def _without_login(text: str) -> str:
    """Text given instead of a URL, such as "host:6379", without a password: only digits after ":" are a port."""
    place = text.rpartition("@")[2]
    name, mark, rest = place.partition(":")
    return place if not mark or _PORT.fullmatch(rest.partition("/")[0]) else f"{name}:***"


def _is_plain(host: str) -> bool:
    """Whether this is a host, with only digits for a port, if there is one."""
    if host.startswith("["):
        return bool(re.fullmatch(r"\[[0-9A-Fa-f:.%]*\](:\d*)?", host, re.ASCII))
    return bool(re.fullmatch(r"[^:@]*(:\d*)?", host, re.ASCII))
