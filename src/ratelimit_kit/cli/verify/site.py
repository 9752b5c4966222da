"""Requests to a site, each over a connection of its own, so that they reach every worker behind the address.

Responses are not trusted: they are kept as data, limited in size, and never printed without escaping.
"""

from __future__ import annotations

import base64
import http.client
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ratelimit_kit.core.validation import read_digits
from ratelimit_kit.errors import OptionError

BODY = 65_536
"""Maximum number of bytes of a body that are read."""


class SiteError(Exception):
    """The site did not respond; the text says why."""


@dataclass(frozen=True, slots=True)
class SiteResponse:
    """One response of the site; `sent` and `came` are in seconds of the same monotonic clock."""

    status: int
    headers: dict[str, str]
    body: bytes
    sent: float
    came: float

    @property
    def refused(self) -> bool:
        """Whether this is a denial."""
        return self.status == 429

    @property
    def retry_after(self) -> int | None:
        """The whole seconds of Retry-After; None if it has none that anybody could wait for."""
        return read_digits(self.headers.get("retry-after", ""))


class Site:
    """A site at a URL, and the request that is sent to it."""

    def __init__(self, url: str, method: str, headers: Mapping[str, str], timeout: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise OptionError("the URL is not that of a site. For example: http://127.0.0.1:8000/login")
        try:
            self._address = parts.hostname, parts.port
        except ValueError as error:
            raise OptionError(f"the URL is not that of a site: {error}") from None
        self._connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._method = method
        self._timeout = timeout
        self._headers = {"Accept": "application/problem+json, */*;q=0.5", "Connection": "close", **headers}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._headers["Authorization"] = "Basic " + base64.b64encode(login).decode()
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.name = f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path or '/'}"

    def ask(self) -> SiteResponse:
        """Send one request; SiteError if no HTTP response comes back."""
        connection = self._connection(*self._address, timeout=self._timeout)
        sent = time.monotonic()
        try:
            connection.request(self._method, self._target, headers=self._headers)
            response = connection.getresponse()
            headers: dict[str, str] = {}
            for name, value in response.getheaders():
                lower = name.lower()
                headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
            body = response.read(BODY)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise SiteError(str(error) or type(error).__name__) from error
        finally:
            connection.close()
        return SiteResponse(response.status, headers, body, sent, time.monotonic())

    def ask_often(self, number: int, at_once: int, advance: Callable[[int], None]) -> list[SiteResponse]:
        """Send `number` requests, `at_once` at a time; the responses are in the order of the requests."""

        def one(_: int) -> SiteResponse:
            answer = self.ask()
            advance(1)
            return answer

        if at_once == 1:
            return [one(index) for index in range(number)]
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(one, range(number)))
