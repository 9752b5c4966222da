"""Ends the connections of an event loop that has ended, or goes on without them; uses private names of redis-py and asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any


def taken_writers(client: Any) -> list[Any]:
    """The streams of an asyncio client's connections, of which the client then knows no more, nor warns of them."""
    pool = getattr(client, "connection_pool", None)
    connections = [*getattr(pool, "_available_connections", ()), *getattr(pool, "_in_use_connections", ())]
    if pool is None:
        client._initialize = True  # noqa: SLF001 - so does its aclose, and else it warns of itself
        connections = [one for node in client.get_nodes() for one in getattr(node, "_connections", ())]
    found = []
    for connection in connections:
        writer = getattr(connection, "_writer", None)
        if writer is not None:
            found.append(writer)
            connection._writer = connection._reader = None  # noqa: SLF001 - there is no public name
    return found


def abort(writer: Any, *, loop_closed: bool) -> None:
    """Abort the transport of a stream; the last step, which is a callback, is taken here if its loop is closed."""
    transport = writer.transport
    plain = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None) or transport
    if plain.get_extra_info("socket").fileno() < 0:
        return
    for one in {transport, plain} if loop_closed else {transport}:
        one.set_protocol(asyncio.Protocol())  # nobody waits for replies any more
    with contextlib.suppress(RuntimeError):  # Event loop is closed
        transport.abort()
    finish = getattr(plain, "_call_connection_lost", None)
    if loop_closed and finish is not None:
        finish(None)
