"""Shapes of decisions, which are their limits and costs: what all calls of one shape have in common is prepared once.

From call to call only the keys differ; with fixed windows, or a clock that is given, the arguments change with the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.stores import Charge, check_charges
from ratelimit_kit.stores.keys import encode, encode_all
from ratelimit_kit.stores.redis.calls.arguments import Arguments
from ratelimit_kit.stores.redis.calls.replies import (
    TimedDecision,
    read_bucket,
    read_buckets,
    read_decision,
    read_decisions,
)
from ratelimit_kit.stores.redis.calls.scripts import Script, pack_texts

MAX_SHAPES: Final = 1024
"""Combinations of limits and costs that are kept."""


class _Prepared(NamedTuple):
    """The arguments of the script, the same packed, and the call with places for the keys.

    They hold from one time until another (microseconds, as `Arguments.local_time`).
    """

    arguments: list[Any]
    packed: bytes
    call: bytes
    since: float
    until: float


class Shape:
    """Calls of a deciding `script` with the limits and costs of `charges`, and keys that begin with `prefix`.

    `read` and `read_batch` read the replies, see replies.py.
    """

    def __init__(
        self, script: Script, prefix: str, charges: Sequence[Charge], builder: Arguments, *, peek: bool = False
    ) -> None:
        self.script = script
        self._builder = builder
        self._sample = list(charges), peek
        self._beginnings = [f"{prefix}{limit.counter}:{{" for _, limit, _ in charges]
        self._sizes = [len(one.encode()) + 1 for one in self._beginnings]
        self._keys = b"".join([b"$%%d\r\n%b%%b}\r\n" % _literal(one.encode()) for one in self._beginnings])
        of_bucket = len(charges) == 1 and isinstance(charges[0].limit, TokenBucket)
        self.read: Callable[..., TimedDecision | int] = read_bucket if of_bucket else read_decision
        self.read_batch: Callable[..., Sequence[TimedDecision] | int] = read_buckets if of_bucket else read_decisions
        self._prepared = self._prepare()
        self._timed = self._prepared.since > -math.inf

    @property
    def arguments(self) -> list[Any]:
        """The arguments of the script, now."""
        return self._now().arguments

    def keys(self, charges: Sequence[Charge]) -> list[str]:
        """The keys of such charges."""
        return [f"{beginning}{encode(one[0])}}}" for beginning, one in zip(self._beginnings, charges, strict=True)]

    def encode(self, charges: Sequence[Charge]) -> bytes:
        """The packed call for these charges, by the script's SHA-1."""
        call = self._now().call if self._timed else self._prepared.call
        if len(charges) == 1:
            text = encode(charges[0][0]).encode()
            return call % (self._sizes[0] + len(text), text)
        return call % self._places(charges)

    def encode_batch(self, calls: Sequence[Sequence[Charge]], *, by_name: bool = True) -> bytes:
        """The packed call for one or several such charges at once, by the script's SHA-1 or its text."""
        if len(calls) == 1 and by_name:
            return self.encode(calls[0])
        arguments, packed, *_ = self._now()
        number = len(calls) * len(self._sizes)
        many = pack_texts(["many", len(self._sizes)]) if len(calls) > 1 else b""
        keys = self._all_keys(calls)
        head = self.script.by_name if by_name else self.script.by_text
        size = 3 + number + (2 if many else 0) + len(arguments)
        return b"*%d\r\n%b%b%b%b%b" % (size, head, pack_texts([number]), keys, many, packed)

    def follow(self, server_time: int) -> None:
        """Follow the server's clock (microseconds) where this machine's is in another calendar window."""
        self._builder.learn_calendar(server_time)

    def _all_keys(self, calls: Sequence[Sequence[Charge]]) -> bytes:
        """The packed keys of several such charges."""
        if len(self._sizes) > 1:
            return b"".join([self._keys % self._places(charges) for charges in calls])
        size, beginning = self._sizes[0], self._beginnings[0]
        texts = encode_all([charges[0][0] for charges in calls])
        return "".join([f"${size + len(text)}\r\n{beginning}{text}}}\r\n" for text in texts]).encode()

    def _places(self, charges: Sequence[Charge]) -> tuple[Any, ...]:
        """What belongs into the places of the prepared keys: for each its size, and the text in it."""
        places: list[Any] = []
        before, text = None, b""
        for size, (key, _, _) in zip(self._sizes, charges, strict=True):
            if key != before:
                before, text = key, encode(key).encode()
            places += (size + len(text), text)
        return tuple(places)

    def _now(self) -> _Prepared:
        """What is prepared, made anew if it was for another time."""
        prepared = self._prepared
        if self._timed and not prepared.since <= self._builder.local_time() < prepared.until:
            prepared = self._prepared = self._prepare()
        return prepared

    def _prepare(self) -> _Prepared:
        charges, peek = self._sample
        since, until = self._builder.validity(charges)
        arguments = self._builder.decide(charges, peek=peek)
        packed = pack_texts(arguments)
        head = b"*%d\r\n%b" % (3 + len(charges) + len(arguments), self.script.by_name + pack_texts([len(charges)]))
        return _Prepared(arguments, packed, _literal(head) + self._keys + _literal(packed), since, until)


class Shapes:
    """The shapes of a store's decisions, which its `script` decides for keys that begin with `prefix`."""

    def __init__(self, script: Script, prefix: str, builder: Arguments) -> None:
        self._script = script
        self._prefix = prefix
        self._builder = builder
        self._known: dict[tuple[Any, ...], tuple[Shape, bool]] = {}

    def of(self, charges: Sequence[Charge], *, peek: bool = False) -> Shape:
        """The shape of charges; raises CostError or OptionError if they cannot be decided. With `peek`, none is charged."""
        if peek:
            return Shape(self._script, self._prefix, charges, self._builder, peek=True)
        if len(charges) == 1:
            _, limit, cost = charges[0]
            alike: tuple[Any, ...] = limit.id, limit.counter, cost, type(cost)
        else:
            alike = tuple([(limit.id, limit.counter, cost, type(cost)) for _, limit, cost in charges])
        try:
            shape, apart = self._known[alike]
        except (KeyError, TypeError):  # a new one, or a cost that is no number
            return self._add(alike, charges)
        if not apart:
            check_charges(charges)
        return shape

    def _add(self, alike: tuple[Any, ...], charges: Sequence[Charge]) -> Shape:
        check_charges(charges)
        if len(self._known) >= MAX_SHAPES:
            self._known.clear()
        shape = Shape(self._script, self._prefix, charges, self._builder)
        apart = len({limit.counter for _, limit, _ in charges}) == len(charges)  # whatever their keys are
        self._known[alike] = shape, apart
        return shape


def _literal(text: bytes) -> bytes:
    """A text as a part of a format."""
    return text.replace(b"%", b"%%")
