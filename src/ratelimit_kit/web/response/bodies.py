"""Bodies that are still to be sent: until their first byte a response can become another one.

Under WSGI a server sends the status with the first byte of the body; an error before that is answered with 500. What
the client gets decides what counts, so a hit is given back only then.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

from ratelimit_kit.web.response.result import CheckResult


def unsettled(body: Any, result: CheckResult) -> UnsettledBody | AsyncUnsettledBody:
    """The body, which settles its answer; an asynchronous one stays that."""
    return AsyncUnsettledBody(body, result) if hasattr(body, "__aiter__") else UnsettledBody(body, result)


class UnsettledBody:
    """A body that settles its answer with its first byte, or with its end."""

    def __init__(self, body: Iterable[Any], result: CheckResult) -> None:
        self._body = body
        self._result = result

    def __iter__(self) -> Iterator[Any]:
        try:
            for data in self._body:
                if data:
                    self._result.give_back()
                yield data
        except Exception:
            self._result.fail()
            raise
        self._result.give_back()

    def close(self) -> None:
        """Servers close a body that can be closed; one that was never asked for is settled then."""
        close = getattr(self._body, "close", None)
        try:
            if close is not None:
                close()
        finally:
            self._result.give_back()


class AsyncUnsettledBody:
    """The same for an asynchronous body, which a framework awaits while a server of WSGI asks for bytes."""

    def __init__(self, body: AsyncIterable[Any], result: CheckResult) -> None:
        self._body = body
        self._result = result

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for data in self._body:
                if data:
                    await self._result.agive_back()
                yield data
        except Exception:
            await self._result.afail()
            raise
        await self._result.agive_back()
