"""Classes of redis-py's connections that are opened within the caller's deadline, and completely or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from ratelimit_kit.stores.redis.deadline import TimedAttribute, TimedSocket

OPENERS: Final = ("connect", "connect_check_health")
"""The methods that open a connection of redis-py; the second is newer than version 6.0, and is called by the first."""


def _where(error: BaseException) -> str:
    """The package in which an error was raised, by itself or by what it asked of the standard library."""
    found, trace = "", error.__traceback__
    while trace is not None:
        package = str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
        found = found if package in sys.stdlib_module_names else package
        trace = trace.tb_next
    return found


@lru_cache
def timed(kind: Any, invalid: type[Exception]) -> Any:
    """The same class of connections, except that they keep the deadline of the caller, and are never left half open."""

    def opener(name: str) -> Any:
        def opened(self: Any, *given: Any, **options: Any) -> None:
            try:
                with misread_as(invalid):
                    getattr(kind, name)(self, *given, **options)
            except BaseException:  # redis-py closes it only after errors of its own, and would use it without login
                self.disconnect()
                raise

        return opened

    methods: dict[str, Any] = {name: opener(name) for name in OPENERS if hasattr(kind, name)}
    if hasattr(kind, "_connect"):
        # A host may have several addresses: one that hangs leaves time for the next one.
        limited = {
            name: TimedAttribute(name, getattr(kind, name, None), part)
            for name, part in (("socket_timeout", 1.0), ("socket_connect_timeout", 0.5))
        }

        def connect(self: Any) -> TimedSocket:
            return TimedSocket(kind._connect(self), limited["socket_timeout"].own(self))  # noqa: SLF001 - there is no public name

        methods |= {**limited, "_connect": connect}
    return type(f"Timed{kind.__name__}", (kind,), methods)


@lru_cache
def whole(kind: Any, invalid: type[Exception]) -> Any:
    """The same class of asynchronous connections, except that they are never left half open, nor used after their end."""

    def opener(name: str) -> Any:
        async def opened(self: Any, *given: Any, **options: Any) -> None:
            self.is_opening = True
            try:
                with misread_as(invalid):
                    await getattr(kind, name)(self, *given, **options)
            except BaseException:  # also the cancellation at a deadline
                await self.disconnect(nowait=True)
                raise
            finally:
                self.is_opening = False

        return opened

    async def send_packed_command(self: Any, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - redis-py's
        if self.is_connected and not self.is_opening and await has_data(self):
            await self.disconnect(nowait=True)
        await kind.send_packed_command(self, command, check_health)

    def arguments(self: Any) -> Any:
        given = kind._connection_arguments(self)  # noqa: SLF001 - there is no public name
        # A host may have several addresses: one that hangs does not keep the next one waiting.
        at_once = {"happy_eyeballs_delay": HAPPY_EYEBALLS_SECONDS} if "host" in given and _has_happy_eyeballs() else {}
        return {**given, **at_once}

    methods: dict[str, Any] = {name: opener(name) for name in OPENERS if hasattr(kind, name)}
    methods |= {"is_opening": False, "send_packed_command": send_packed_command}
    if hasattr(kind, "_connection_arguments"):
        methods["_connection_arguments"] = arguments
    return type(f"Whole{kind.__name__}", (kind,), methods)


def _has_happy_eyeballs() -> bool:
    """Whether the running event loop tries the addresses of a host at the same time; uvloop does not."""
    return isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop)


HAPPY_EYEBALLS_SECONDS: Final = 0.03
"""How long an address of a host has to itself; on a local network it answers in less than one."""


async def has_data(connection: Any) -> bool:
    """Whether an asynchronous connection was closed, or holds data, before anything was asked for over it."""
    found: bool = await (getattr(connection, "can_read", None) or connection.can_read_destructive)()
    return found


_MISREADINGS: Final = (ValueError, TypeError, LookupError, AttributeError, OverflowError)


@contextlib.contextmanager
def misread_as(invalid: type[Exception]) -> Iterator[None]:
    """Turn an error of Python's own that redis-py raises over what a server sent into `invalid`.

    From anybody else's code, such as a credential provider's, it is a mistake and stays what it is.
    """
    try:
        yield
    except _MISREADINGS as error:
        if _where(error) not in {"redis", "hiredis"}:
            raise
        raise invalid(f"redis-py cannot read what the server sent ({error!r})") from error
