"""Script calls through a client of redis-py: for clients of one's own, clusters, and where its private names are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ratelimit_kit.stores.redis.calls.scripts import Script
from ratelimit_kit.stores.redis.driver import NEVER_DECODE, NoScriptError, drop_ended, has_data, renew_if_ended

Read = Callable[[Any], Any]
"""Turns the reply to a call into its result; raises InvalidReply for what is no reply to it."""

BYTES: Final[Any] = {NEVER_DECODE: True}
"""An option to get replies as bytes even from a client that decodes them: they are packed numbers."""


def run_script(client: Any, script: Script, keys: Sequence[str], arguments: Sequence[Any], read: Read) -> Any:
    """Call a script, by its text if the server does not know it."""
    try:
        reply = execute(client, "EVALSHA", script.sha, len(keys), *keys, *arguments, **BYTES)
    except NoScriptError:
        reply = execute(client, "EVAL", script.source, len(keys), *keys, *arguments, **BYTES)
    return read(reply)


async def arun_script(client: Any, script: Script, keys: Sequence[str], arguments: Sequence[Any], read: Read) -> Any:
    """Do what `run_script` does."""
    try:
        reply = await aexecute(client, "EVALSHA", script.sha, len(keys), *keys, *arguments, **BYTES)
    except NoScriptError:
        reply = await aexecute(client, "EVAL", script.source, len(keys), *keys, *arguments, **BYTES)
    return read(reply)


def execute(client: Any, *command: Any, **options: Any) -> Any:
    """Execute a command; the reply is bytes, a number or a text.

    redis-py looks at the connections of its pools before it uses them, but not at the one of a client that has just one.
    """
    renew_if_ended(client)
    return client.execute_command(*command, **options)


async def aexecute(client: Any, *command: Any, **options: Any) -> Any:
    """Execute a command over a connection that was looked at before.

    redis-py's asyncio pool ignores that the server has closed a connection where maintenance notifications are on, as
    they are by default from its version 8 on. A cluster client has no pool, and looks at nothing.
    """
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        await drop_ended(client)
        return await client.execute_command(*command, **options)
    connection = await pool.get_connection()
    try:
        if await has_data(connection):
            await connection.disconnect()
            await connection.connect()
        await connection.send_command(*command)
        return await connection.read_response(disable_decoding=True)
    finally:
        await pool.release(connection)
