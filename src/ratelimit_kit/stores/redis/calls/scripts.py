"""The scripts that run in Redis, and commands packed as they are sent, in RESP."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any


class Script:
    """Concatenated Lua files of this package, and the SHA-1 under which Redis caches them."""

    def __init__(self, *names: str) -> None:
        folder = files("ratelimit_kit.stores.redis").joinpath("lua")
        self.source = "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        self.by_name = pack_texts(("EVALSHA", self.sha))

    @property
    def by_text(self) -> bytes:
        """The beginning of a call that sends the text, packed."""
        return pack_texts(("EVAL", self.source))


def scripts(clock: str) -> tuple[Script, Script]:
    """The scripts that decide and refund; `clock` is the Lua file that defines the time."""
    floor = clock, "struct.lua", "states.lua"
    return Script(*floor, "decide.lua"), Script(*floor, "refund.lua")


def encode_call(script: Script, keys: Sequence[str], arguments: Sequence[Any], *, by_name: bool = True) -> bytes:
    """The packed call of a script, by its SHA-1 (`by_name`) or by its text."""
    head = script.by_name if by_name else script.by_text
    return b"*%d\r\n%b%b" % (3 + len(keys) + len(arguments), head, pack_texts((len(keys), *keys, *arguments)))


def encode_command(*arguments: Any) -> bytes:
    """A packed command."""
    return b"*%d\r\n%b" % (len(arguments), pack_texts(arguments))


def pack_texts(arguments: Iterable[Any]) -> bytes:
    """The arguments of a command, packed one after the other."""
    texts = [one if isinstance(one, bytes) else str(one).encode() for one in arguments]
    return b"".join([b"$%d\r\n%b\r\n" % (len(text), text) for text in texts])


BY_SERVER = scripts("server_clock.lua")
BY_TEST = scripts("given_clock.lua")
CENSUS = Script("server_clock.lua", "census.lua")
