"""Bodies that have not been sent yet: until its first byte, a response can still be replaced.

Under WSGI a server sends the status with the first byte of the body; an error before that becomes a 500. The response
that the client gets decides whether a hit counts, so it is refunded only then.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

from ratelimit_kit.web.response.result import CheckResult


def unsettled(body: Any, result: CheckResult) -> UnsettledBody | AsyncUnsettledBody:
    """Wrap a body so that sending it settles the result; an asynchronous body stays asynchronous."""
    return AsyncUnsettledBody(body, result) if hasattr(body, "__aiter__") else UnsettledBody(body, result)


class UnsettledBody:
    """A body that settles its result with its first byte, or else at its end."""

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
        """Close the body, as servers do; this settles the result of a body that was never read."""
        close = getattr(self._body, "close", None)
        try:
            if close is not None:
                close()
        finally:
            self._result.give_back()


class AsyncUnsettledBody:
    """The same for an asynchronous body, which a framework awaits while a WSGI server reads from it."""

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
