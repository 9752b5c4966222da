"""`host://`: counters that the processes of one machine share, without a server.

The states are in a file in shared memory (`file.py`), changed by the same steps as in memory. A call takes microseconds
and waits for nothing but a lock, so the async API does the same work on the event loop.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from ratelimit_kit.core.decision import Verdict
from ratelimit_kit.core.events import Event
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.core.validation import known_options, read_digits
from ratelimit_kit.errors import OptionError
from ratelimit_kit.stores import BaseStore, Charge, FastPath, Scope, check_charges, check_refunds
from ratelimit_kit.stores.host import inspection
from ratelimit_kit.stores.host.access import Access, Call
from ratelimit_kit.stores.host.counters import Ledger, Now, clock_of, find
from ratelimit_kit.stores.host.fast_path import Quick, fast_path_to, single_path_to
from ratelimit_kit.stores.host.files import boot, file
from ratelimit_kit.stores.host.files.file import CONTENDED, HostFile
from ratelimit_kit.stores.host.files.layout import MAX_NUMBERS
from ratelimit_kit.stores.urls import StoreURL, read_url
from ratelimit_kit.waiting import asleep, sleep

Clock = Callable[[], int]

TELL_SECONDS: Final = 60.0
"""Interval between events that say that there is no room: one part of the file may be full, and others not."""

INSTEAD: Final = (
    "host:// needs record locks (fcntl), which this system does not have: "
    'use store="redis://...", or store="memory://" with one process'
)


class HostStore(BaseStore):
    """Counters in a file that all processes of this machine share which give the same `name`, or the same `path`.

    Without a path the file is in `/dev/shm`, in a folder of this user's. `max_keys` bounds the number of live counters,
    which take 1,360 bytes each (layout.py); further keys share one strict counter per limit. `mode=0o660` shares the file
    by its group. `timeout` is how many seconds a call waits at most while another process holds a lock. `clock`
    (nanoseconds) replaces the clocks in tests.
    """

    scope = Scope.HOST
    max_numbers = MAX_NUMBERS

    @known_options
    def __init__(
        self,
        name: str = "default",
        *,
        path: str | os.PathLike[str] | None = None,
        max_keys: int = 100_000,
        mode: int = 0o600,
        timeout: float = 0.25,
        clock: Clock | None = None,
    ) -> None:
        if not file.HAS_LOCKS:
            raise OptionError(INSTEAD)
        _check_numbers(max_keys, mode, timeout)
        self.max_keys = max_keys
        self._name = f"HostStore({name!r})" if path is None else f"HostStore(path={os.fspath(path)!r})"
        self._clock = clock
        self._clocks = (clock, clock) if clock else (boot.since_boot, time.time_ns)
        self._access = Access(name, _absolute(path), mode, max_keys, timeout, self._clocks[0])
        self._tell_at = 0.0
        self.path  # noqa: B018 - raises OptionError for a bad name

    def __repr__(self) -> str:
        return self._name

    @property
    def path(self) -> Path:
        """Where the file is, for the user that runs this process."""
        return self._access.path

    @property
    def elapsed_clock(self) -> Clock:
        """The clock that tells how old a decision is; a test's, if it has one."""
        return self._clock or super().elapsed_clock

    def decide(self, charges: Sequence[Charge]) -> Sequence[Verdict]:
        """Admit all charges or write nothing; one Verdict per charge, in order."""
        call = self._decision(charges)
        while (verdicts := call.attempt()) is CONTENDED:
            sleep(call.pause())
        return self._decided(verdicts)

    async def adecide(self, charges: Sequence[Charge]) -> Sequence[Verdict]:
        """Do what `decide` does."""
        call = self._decision(charges)
        while (verdicts := call.attempt()) is CONTENDED:
            await asleep(call.pause())
        return self._decided(verdicts)

    def fast_decide(self) -> Quick:
        """A function that decides like `decide` if all counters are known and admit, or the only one denies; else None."""
        return fast_path_to(self._access, self._clocks)

    def fast_path(self, namespace: str, limit: Limit) -> FastPath:
        """A function that decides single hits on keys of one namespace under one limit."""
        return single_path_to(self._access, self._clocks, namespace, limit)

    def refund(self, charges: Sequence[Charge], charged_at: int | None = None) -> None:
        """Refund the costs of the hits made at `charged_at` (microseconds), or of the oldest if it is None."""
        call = self._refunding(charges, charged_at)
        while call.attempt() is CONTENDED:
            sleep(call.pause())

    async def arefund(self, charges: Sequence[Charge], charged_at: int | None = None) -> None:
        """Do what `refund` does."""
        call = self._refunding(charges, charged_at)
        while call.attempt() is CONTENDED:
            await asleep(call.pause())

    def reset(self, charges: Sequence[Charge]) -> None:
        """Forget everything about the charges' keys and limits."""
        call = self._resetting(charges)
        while call.attempt() is CONTENDED:
            sleep(call.pause())

    async def areset(self, charges: Sequence[Charge]) -> None:
        """Do what `reset` does."""
        call = self._resetting(charges)
        while call.attempt() is CONTENDED:
            await asleep(call.pause())

    def clear(self) -> None:
        """Forget everything, shard by shard."""
        call = Call(self._access, self.on_event, inspection.clear)
        while call.attempt() is CONTENDED:
            sleep(call.pause())

    def ping(self) -> None:
        """Return if counters can be kept; raise StoreUnavailableError if not. Makes no file."""
        call = Call(self._access, self.on_event, bool)
        while call.attempt() is CONTENDED:
            sleep(call.pause())

    def facts(self) -> dict[str, Any]:
        """Facts about the file, for `doctor`: path, bytes, keys and processes."""
        about = partial(inspection.facts, self.path, self._now())
        call = Call(self._access, self.on_event, about)
        while (found := call.attempt()) is CONTENDED:
            sleep(call.pause())
        return dict(found)

    def close(self) -> None:
        """Let go of the file; a later call opens it again."""
        self._access.close()

    def _decision(self, charges: Sequence[Charge]) -> Call:
        check_charges(charges)
        return self._call(charges, Ledger.decide, makes=any(charge.cost for charge in charges))

    def _refunding(self, charges: Sequence[Charge], charged_at: int | None) -> Call:
        check_refunds(charges)
        return self._call(charges, Ledger.refund, charged_at)

    def _resetting(self, charges: Sequence[Charge]) -> Call:
        return self._call(charges, Ledger.reset)

    def _call(self, charges: Sequence[Charge], step: Callable[..., Any], *given: Any, makes: bool = False) -> Call:
        return Call(self._access, self.on_event, partial(self._work, charges, step, given), makes=makes)

    def _work(
        self, charges: Sequence[Charge], step: Callable[..., Any], given: Sequence[Any], found: HostFile | None
    ) -> Any:
        if found is None:
            return self._without_counters(charges)
        places = [find(found, charge) for charge in charges]
        shards = sorted({place.shard for place in places})

        def locked(found: HostFile) -> tuple[Any, bool | None]:
            ledger = Ledger(found, self._now())
            return step(ledger, charges, places, *given), ledger.found_room

        return found.attempt(shards, locked)

    def _without_counters(self, charges: Sequence[Charge]) -> tuple[Sequence[Verdict], None]:
        """What a peek finds where nothing was ever counted."""
        now = self._now()
        peeks = [charge.limit.peek(None, now[clock_of(charge.limit)], charge.cost) for charge in charges]
        verdicts = [
            Verdict(peek.fits, charge.limit, peek.remaining, peek.wait, peek.reset, now[clock_of(charge.limit)])
            for charge, peek in zip(charges, peeks, strict=True)
        ]
        return verdicts, None

    def _decided(self, result: tuple[Sequence[Verdict], bool | None]) -> Sequence[Verdict]:
        verdicts, found_room = result
        if found_room is False and time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + TELL_SECONDS
            file = self._access.opened
            self.on_event(_overflow(self.path, self.max_keys if file is None else file.header.max_keys))
        return verdicts

    def _now(self) -> Now:
        since_boot, wall = self._clocks
        return since_boot() // 1000, wall() // 1000


def _check_numbers(max_keys: object, mode: object, timeout: object) -> None:
    if isinstance(max_keys, bool) or not isinstance(max_keys, int) or not 1 <= max_keys <= 10**8:
        raise OptionError(f"max_keys must be a whole number from 1 to 100,000,000, got {max_keys!r}")
    if isinstance(mode, bool) or mode not in {0o600, 0o660}:
        shown = f"{mode:#o}" if isinstance(mode, int) else repr(mode)
        raise OptionError(f"mode must be 0o600, or 0o660 to share the file by its group, got {shown}")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0.001 <= timeout <= 60:
        raise OptionError(f"timeout must be a number of seconds from 0.001 to 60, got {timeout!r}")


def _absolute(path: str | os.PathLike[str] | None) -> Path | None:
    if path is None:
        return None
    given = os.fspath(path)
    if not isinstance(given, str) or not given.startswith("/") or given.endswith("/") or not _is_encodable(given):
        raise OptionError(f"path must be the absolute path of a file, got {given!r}. For example: '/run/shop/limits'")
    return Path(os.path.normpath(given))


def _is_encodable(path: str) -> bool:
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _overflow(path: Path, max_keys: int) -> Event:
    return Event(
        "host-overflow",
        f"{path} has no room for another key (max_keys={max_keys}, or its file system is full): further keys share one strict "
        "counter per limit until some expire. Raise max_keys, or use a shared store.",
        logging.WARNING,
        {"max_keys": max_keys},
    )


def from_url(url: str) -> HostStore:
    """The store that `host://`, `host://NAME` or `host:///path` names, with `max_keys`, `mode` and `timeout` as options."""
    parsed = read_url(url)
    if parsed.login or (parsed.hosts and parsed.path.strip("/")):
        raise parsed.refused("is neither a name nor a path: write host://, host://shop or host:///run/shop/limits")
    options = _options(parsed)
    try:
        if parsed.path:
            return HostStore(path=unquote(parsed.path), **options)
        return HostStore(parsed.hosts or "default", **options)
    except OptionError as error:
        raise parsed.refused(f"is not valid: {str(error).removesuffix(f' [{error.rlk}]')}") from error


def _options(url: StoreURL) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in url.options.items():
        match name:
            case "max_keys":
                found[name] = read_digits(text) or text
            case "mode":
                found[name] = int(text, 8) if text in {"0600", "600", "0660", "660"} else text
            case "timeout":
                try:
                    found[name] = float(text)
                except ValueError:
                    found[name] = text
            case _:
                raise url.refused(f"has no option {name!r}: choose from max_keys, mode and timeout")
    return found
