"""What a Memcached may do to callers: each call ends in time, with a decision or the error that says what happened."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from struct import pack
from typing import Any

import pytest

from ratelimit_kit import Charge, MemcachedStore, SlidingWindow, TokenBucket
from ratelimit_kit.errors import StoreContendedError, StoreError, StoreFullError, StoreUnavailableError
from ratelimit_kit.stores.memcached.states import States
from tests.stores.memcached.peers import Peer, drips, is_silent, running_peer

LIMIT = TokenBucket(1000, per=3600)
CHARGE = Charge("key", LIMIT)
GENEROUS = 3.5
"""Seconds that nobody waits who has a deadline of a ninth of that."""

Decide = Callable[[MemcachedStore, list[Charge]], Any]


@pytest.fixture
def store(peer: Peer) -> Iterator[MemcachedStore]:
    one = MemcachedStore(peer.url, timeout=5)
    yield one
    one.close()


@pytest.fixture
def hasty(peer: Peer) -> Iterator[MemcachedStore]:
    """A store whose deadline passes during a test."""
    one = MemcachedStore(peer.url, timeout=0.4)
    yield one
    one.close()


@pytest.fixture(params=["sync", "async"])
def decide(request: pytest.FixtureRequest) -> Iterator[Decide]:
    """Decides by one API; the async one always in the same loop, whose connection is kept."""
    if request.param == "sync":
        yield lambda store, charges: store.decide(charges)
        return
    used: list[MemcachedStore] = []
    with asyncio.Runner() as runner:

        def run(store: MemcachedStore, charges: list[Charge]) -> Any:
            used.append(store)
            return runner.run(store.adecide(charges))

        yield run
        for one in used:
            runner.run(one.aclose())


@pytest.mark.parametrize("misbehave", [drips, is_silent])
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "new"])
def test_a_call_ends_at_its_deadline(
    peer: Peer, hasty: MemcachedStore, decide: Decide, misbehave: Any, warm: bool
) -> None:
    if warm:
        decide(hasty, [CHARGE])
    peer.pieces = misbehave
    for charges in ([CHARGE], [CHARGE, Charge("other", SlidingWindow(5, per=60))]):
        begun = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=r"no reply within 0\.4 s"):
            decide(hasty, charges)
        assert time.monotonic() - begun < GENEROUS


@pytest.mark.parametrize("keys", [1, 600])
async def test_async_callers_before_a_server_that_hangs_do_not_queue_for_threads(
    peer: Peer, hasty: MemcachedStore, keys: int
) -> None:
    peer.pieces = is_silent
    before, begun = threading.active_count(), time.monotonic()
    calls = [hasty.adecide([Charge(f"key {number % keys}", LIMIT)]) for number in range(600)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert time.monotonic() - begun < GENEROUS
    kinds = {type(one) for one in outcomes}
    assert StoreUnavailableError in kinds
    assert kinds <= {StoreUnavailableError, StoreContendedError}  # whose deadline passed while others held the turn
    assert threading.active_count() <= before + 1  # the peer's own, for its connection
    await hasty.aclose()


def test_threads_that_waited_for_a_connection_take_a_silent_server_for_busy(peer: Peer, hasty: MemcachedStore) -> None:
    """They have given it no time to answer: a flood of callers must not look like an outage."""
    peer.pieces = is_silent
    begun = time.monotonic()
    meet = threading.Barrier(40)

    def call(number: int) -> type[BaseException] | None:
        meet.wait()
        try:
            hasty.decide([Charge(f"key {number}", LIMIT)])
        except StoreError as error:
            return type(error)
        return None

    with ThreadPoolExecutor(40) as pool:
        outcomes = Counter(pool.map(call, range(40)))
    assert time.monotonic() - begun < GENEROUS
    # Of the eight that wait, one that was late may get a connection, and then gives it some time.
    assert set(outcomes) == {StoreUnavailableError, StoreContendedError}
    assert outcomes[StoreUnavailableError] >= 32


def test_a_state_that_others_always_change_is_contended_at_the_deadline(
    peer: Peer, hasty: MemcachedStore, decide: Decide
) -> None:
    peer.pieces = lambda line, reply: [b"EXISTS\r\n" if line.startswith((b"cas", b"add")) else reply]
    begun = time.monotonic()
    with pytest.raises(StoreContendedError, match=r"others kept changing a counter for 0\.4 s, nothing was charged"):
        decide(hasty, [CHARGE])
    assert time.monotonic() - begun < GENEROUS
    assert peer.counts["cas"] + peer.counts["add"] > 3


@pytest.mark.parametrize(
    "garbage",
    [
        b"VALUE another 0 1 1\r\n7\r\nEND\r\n",
        b"VALUE %b 0 -5 1\r\nabcde\r\nEND\r\n",
        b"VALUE %b 0 5 x\r\nabcde\r\nEND\r\n",
        b"VALUE %b 0 5 1\r\nabcdefgEND\r\n",
        b"VALUE %b 0 99999999999 1\r\nabc\r\nEND\r\n",
        b"END\r\nEND\r\n",
        b"STORED\r\n",
        b"ERROR\r\n",
        b"CLIENT_ERROR bad\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x16\x03\x01" + b"\xff" * 3000,
    ],
)
def test_garbage_is_an_outage_until_the_next_reply(
    peer: Peer, store: MemcachedStore, decide: Decide, garbage: bytes
) -> None:
    decide(store, [CHARGE])
    (name,) = peer.values
    peer.pieces = lambda _, reply: [garbage.replace(b"%b", name)]
    with pytest.raises(StoreUnavailableError, match=r"cannot be used: .* sent .*, which is not a Memcached reply"):
        decide(store, [CHARGE])
    peer.pieces = lambda _, reply: [reply]
    assert decide(store, [CHARGE])[0].remaining == 998


@pytest.mark.parametrize(
    "value",
    [
        b"abcde",
        b"7",
        b"\x03",
        b"1" * 33,  # as long as a state
        b"\x03" * 32,
        pack("<B3q", 3, 1, 2, 3),
        pack("<B4q", 3, 1, 2, 3, 0),
        pack("<B5q", 3, 1, 2, 3, 4, 5),
    ],
)
def test_a_value_that_is_not_a_state_is_an_error_of_that_call_and_no_outage(
    peer: Peer, store: MemcachedStore, decide: Decide, value: bytes
) -> None:
    decide(store, [CHARGE])
    (name,) = peer.values
    good, peer.values[name] = peer.values[name], (value, 77)
    with pytest.raises(StoreError, match=r"which is not a state.*ratelimit-kit reset KEY deletes it") as caught:
        decide(store, [CHARGE])
    assert type(caught.value) is StoreError
    peer.values[name] = good
    assert decide(store, [CHARGE])[0].remaining == 998


async def test_those_who_wait_ask_for_themselves_after_garbage(peer: Peer, store: MemcachedStore) -> None:
    answers = iter([b"HTTP/1.1 400 Bad Request\r\n\r\n"])
    peer.pieces = lambda _, reply: [next(answers, reply)]
    outcomes = await asyncio.gather(*[store.adecide([CHARGE]) for _ in range(4)], return_exceptions=True)
    assert [type(one) for one in outcomes].count(StoreUnavailableError) == 1
    await store.aclose()


async def test_a_value_that_is_no_state_concerns_its_own_key_only(peer: Peer, store: MemcachedStore) -> None:
    sick, well = CHARGE, [Charge(f"well {number}", LIMIT) for number in range(20)]
    await store.adecide([sick])
    (name,) = peer.values
    peer.values[name] = b"another program's", 77
    outcomes = await asyncio.gather(*[store.adecide([one]) for one in [sick, *well]], return_exceptions=True)
    assert "which is not a state" in str(outcomes[0])
    assert [one[0].remaining for one in outcomes[1:]] == [999] * 20  # type: ignore[index]
    assert peer.counts["connections"] == 1
    await store.aclose()


def test_a_refusal_of_the_server_is_no_outage(peer: Peer, store: MemcachedStore, decide: Decide) -> None:
    decide(store, [CHARGE])
    peer.full = True
    for charges in ([CHARGE], [CHARGE, CHARGE._replace(key="other")]):
        with pytest.raises(StoreFullError, match="is full"):
            decide(store, charges)
    peer.full = False
    assert decide(store, [CHARGE])[0].remaining == 998


def test_an_idle_connection_is_looked_at_before_a_charge_is_sent(
    peer: Peer, store: MemcachedStore, decide: Decide
) -> None:
    assert decide(store, [CHARGE])[0].remaining == 999
    disturbances = (peer.close_connections, lambda: peer.say(b"STORED\r\n"), peer.close_connections)
    for remaining, disturb in zip((998, 997, 996), disturbances, strict=True):
        disturb()
        assert decide(store, [CHARGE])[0].remaining == remaining
    assert peer.counts["connections"] == 4


@pytest.mark.parametrize("connections", [8, 24])
def test_one_failure_drops_all_idle_connections_that_are_as_old(peer: Peer, connections: int) -> None:
    """A relay forgets connections without a word: the first call finds that out, and the second is decided."""
    store = MemcachedStore(peer.url, timeout=1)
    together = threading.Barrier(connections)

    def at_once(_: bytes, reply: bytes) -> list[Any]:
        together.wait()
        return [reply]

    peer.pieces = at_once
    with ThreadPoolExecutor(connections) as pool:
        charges = [[Charge(f"key {number}", LIMIT)] for number in range(connections)]
        assert all(verdicts[0].allowed for verdicts in pool.map(store.decide, charges))
    assert peer.counts["connections"] == connections
    peer.pieces = lambda _, reply: [reply] if peer.counts["connections"] > connections else []
    with pytest.raises(StoreUnavailableError):
        store.decide([CHARGE])
    assert store.decide([CHARGE])[0].remaining == 999
    store.close()


def test_a_mistake_of_our_own_is_no_outage(
    peer: Peer, store: MemcachedStore, decide: Decide, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(store, [CHARGE])

    def mistaken(*_: Any) -> None:
        raise AttributeError("mistaken")

    with monkeypatch.context() as patch:
        patch.setattr(States, "load", mistaken)
        for charges in ([CHARGE], [CHARGE, CHARGE._replace(key="other")]):
            with pytest.raises(AttributeError, match="mistaken"):
                decide(store, charges)
    assert decide(store, [CHARGE])[0].remaining == 998


@pytest.mark.parametrize(
    "ends", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n", b"ST"], ids=["closed", "garbage", "cut off"]
)
def test_what_other_servers_wrote_is_given_back_when_one_fails(peer: Peer, decide: Decide, ends: bytes | None) -> None:
    with running_peer() as failing:
        store = MemcachedStore(f"{peer.url},{failing.url.removeprefix('memcached://')}", timeout=2)
        server_of = store._client._servers.server_of
        keys = {server_of(store._conversations._states.key(Charge(f"{n}", LIMIT))): f"{n}" for n in range(60)}
        here, there = [Charge(keys[one.url.removeprefix("memcached://")], LIMIT) for one in (peer, failing)]
        assert decide(store, [here])[0].remaining == 999

        def end_at_writes(line: bytes, reply: bytes) -> list[Any]:
            if not line.startswith((b"add", b"cas")):
                return [reply]
            return [None] if ends is None else [ends, None]

        failing.pieces = end_at_writes
        for charges in ([here, there], [there, here]):
            with pytest.raises(StoreUnavailableError):
                decide(store, charges)
            assert decide(store, [here._replace(cost=0)])[0].remaining == 999
        store.close()
