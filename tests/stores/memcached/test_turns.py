"""Callers of one counter in one process: they do not fight, ride along, and leave no turn held, whatever stops them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ratelimit_kit import Charge, FixedWindow, MemcachedStore, SlidingWindow, TokenBucket
from ratelimit_kit.errors import CostError, StoreContendedError
from ratelimit_kit.stores.memcached.client import Client, ThreadTurn
from ratelimit_kit.stores.memcached.turns import Turns
from tests.stores.memcached.peers import Peer, Piece, is_silent

LIMITS = [TokenBucket(30, per=3600), SlidingWindow(30, per=3600), FixedWindow(30, per="month")]


@pytest.fixture
def store(peer: Peer) -> Iterator[MemcachedStore]:
    one = MemcachedStore(peer.url, timeout=20)
    yield one
    one.close()


def counted(store: MemcachedStore) -> int:
    """How many turns are held by threads."""
    return len(store._client._turns)


class Gate:
    """Holds back the peer's answer to the first `gets` until it is opened."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._opened = threading.Event()
        self.reached = threading.Event()
        peer.pieces = self._pieces

    def _pieces(self, line: bytes, reply: bytes) -> list[Piece]:
        if line.startswith(b"gets") and not self.reached.is_set():
            self.reached.set()
            self._opened.wait()
        return [reply]

    def open(self) -> None:
        self._opened.set()


def test_threads_on_one_counter_do_not_fight_and_share_round_trips(peer: Peer, store: MemcachedStore) -> None:
    charge, gate = Charge("key", LIMITS[0]), Gate(peer)
    with ThreadPoolExecutor(21) as pool:
        calls = [pool.submit(store.decide, [charge])]
        gate.reached.wait()
        calls += [pool.submit(store.decide, [charge]) for _ in range(20)]
        while sum(len(queue) for queue in store._client._turns._waiting.values()) < 20:
            threading.Event().wait(0.001)
        gate.open()
        verdicts = [call.result()[0] for call in calls]
    assert sorted(one.remaining for one in verdicts) == list(range(9, 30))
    assert peer.counts["conflicts"] == 0
    assert peer.counts["gets"] == 2  # the first, and one for all who waited meanwhile
    assert counted(store) == 0


async def test_tasks_on_one_counter_share_round_trips(peer: Peer, store: MemcachedStore) -> None:
    charge = Charge("key", LIMITS[0])
    verdicts = await asyncio.gather(*[store.adecide([charge]) for _ in range(40)])
    assert sum(one[0].allowed for one in verdicts) == 30
    assert (peer.counts["gets"], peer.counts["conflicts"]) == (2, 0)
    await store.aclose()


@pytest.mark.parametrize("limit", LIMITS, ids=str)
async def test_what_is_decided_together_is_decided_one_after_the_other(
    peer: Peer, store: MemcachedStore, limit: Any
) -> None:
    """Other costs, other numbers over one counter, a peek and a hit that no longer fits travel in one write."""
    smaller = type(limit)(20, per=limit.per if not isinstance(limit, FixedWindow) else "month")
    lowered = smaller.counted_in(limit.counter)
    charges = [
        Charge("key", limit, 10),
        Charge("key", lowered, 11),
        Charge("key", lowered, 10),
        Charge("key", limit, 0),
        Charge("key", limit, 11),
        Charge("key", limit, 10),
    ]
    verdicts = [one[0] for one in await asyncio.gather(*[store.adecide([charge]) for charge in charges])]
    assert [one.allowed for one in verdicts] == [True, False, True, True, False, True]
    assert [one.remaining for one in verdicts] == [20, 10, 0, 10, 10, 0]
    await store.aclose()


async def test_what_can_never_be_decided_is_an_error_of_its_own_caller(peer: Peer, store: MemcachedStore) -> None:
    charge = Charge("key", LIMITS[0])
    calls = [store.adecide([charge._replace(cost=cost)]) for cost in (1, 31, -1, 1)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in outcomes[1:3]] == [CostError, CostError]
    assert [one[0].remaining for one in (outcomes[0], outcomes[3])] == [29, 28]  # type: ignore[index]
    await store.aclose()


def test_several_counters_are_taken_in_one_order_by_all(peer: Peer, store: MemcachedStore) -> None:
    """Callers that name the same counters in another order would wait for each other for ever."""
    charges = [Charge(f"key {number}", LIMITS[number]) for number in range(3)]
    with ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(store.decide, charges[turn % 3 :] + charges[: turn % 3]) for turn in range(40)]
        admitted = sum(all(verdict.allowed for verdict in call.result()) for call in calls)
    assert admitted == 30
    assert peer.counts["conflicts"] == 0
    assert counted(store) == 0


async def test_several_counters_are_taken_in_one_order_by_tasks(peer: Peer, store: MemcachedStore) -> None:
    charges = [Charge(f"key {number}", LIMITS[number]) for number in range(3)]
    calls = [store.adecide(charges[turn % 3 :] + charges[: turn % 3]) for turn in range(40)]
    outcomes = await asyncio.gather(*calls, *[store.adecide([charges[0]._replace(cost=0)]) for _ in range(5)])
    assert sum(all(verdict.allowed for verdict in one) for one in outcomes[:40]) == 30
    assert peer.counts["conflicts"] == 0
    await store.aclose()


async def test_a_cancelled_task_holds_no_turn_and_its_reply_is_nobody_elses(peer: Peer, store: MemcachedStore) -> None:
    charge, gate = Charge("key", LIMITS[0]), Gate(peer)
    first = asyncio.create_task(store.adecide([charge]))
    waiting = [asyncio.create_task(store.adecide([charge])) for _ in range(3)]
    both = asyncio.create_task(store.adecide([charge, charge._replace(key="other")]))
    await asyncio.to_thread(gate.reached.wait)
    for task in (first, waiting[1], both):
        task.cancel()
    await asyncio.sleep(0)
    gate.open()
    verdicts = [(await waiting[0])[0], (await waiting[2])[0]]
    assert [one.remaining for one in verdicts] == [28, 27]  # the first was charged, the second was cancelled in time
    assert (await store.adecide([charge]))[0].remaining == 26
    await store.aclose()


def test_a_thread_that_is_stopped_holds_no_turn(
    peer: Peer, store: MemcachedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by Ctrl-C or the time-out of a green thread; whoever rode along takes the turn himself."""
    charge, gate = Charge("key", LIMITS[0]), Gate(peer)
    converse = Client._converse
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(store.decide, [charge])
        gate.reached.wait()
        others = [pool.submit(store.decide, [charge]) for _ in range(3)]
        while sum(len(queue) for queue in store._client._turns._waiting.values()) < 3:
            threading.Event().wait(0.001)
        stopped: list[int] = []

        def stops_once(*arguments: Any) -> Any:
            if not stopped:
                stopped.append(1)
                raise KeyboardInterrupt
            return converse(*arguments)

        monkeypatch.setattr(Client, "_converse", stops_once)
        gate.open()
        outcomes = [call.exception() or call.result()[0].remaining for call in [first, *others]]
    assert sorted(str(one) for one in outcomes if isinstance(one, int)) == ["27", "28", "29"]
    assert sum(isinstance(one, KeyboardInterrupt) for one in outcomes) == 1
    assert counted(store) == 0
    assert store.decide([charge])[0].remaining == 26


@pytest.mark.parametrize("charges", [1, 2])
def test_whoever_waits_for_a_turn_waits_until_his_deadline(peer: Peer, charges: int) -> None:
    peer.pieces = is_silent
    store, other = MemcachedStore(peer.url, timeout=0.1), Charge("other", LIMITS[1])
    store._client._turns.take(store._conversations.decision([Charge("key", LIMITS[0])]).keys)
    with pytest.raises(StoreContendedError, match=r"others kept a counter busy for 0\.1 s"):
        store.decide([Charge("key", LIMITS[0]), other][:charges])
    assert counted(store) == 1


async def test_a_loop_that_cannot_watch_sockets_is_served_by_threads(peer: Peer, store: MemcachedStore) -> None:
    class Blind(asyncio.SelectorEventLoop):
        def remove_reader(self, fd: Any) -> bool:
            raise NotImplementedError

    async def hits() -> list[int]:
        verdicts = await asyncio.gather(*[store.adecide([Charge(f"key {n}", LIMITS[0])]) for n in range(50)])
        await store.aclose()
        return [one[0].remaining for one in verdicts]

    def run() -> list[int]:
        with asyncio.Runner(loop_factory=Blind) as runner:
            return runner.run(hits())

    assert await asyncio.to_thread(run) == [29] * 50


def test_a_turn_is_never_given_to_somebody_who_was_killed_while_he_was_taken_along() -> None:
    store = MemcachedStore("memcached://127.0.0.1:1")
    job = store._conversations.decision([Charge("key", LIMITS[0])])
    turns = Turns()
    assert turns.take(job.keys)
    killed, waiting = ThreadTurn(job), ThreadTurn(job)
    assert not turns.queue(killed)
    assert not turns.queue(waiting)
    riders = turns.take_along(job)
    assert riders == [killed, waiting]
    assert not turns.give_up(killed)  # by then the leader is killed too
    turns.put_back(job, riders)
    turns.leave(job.keys)
    assert waiting.wait(0)
    turns.leave(job.keys)
    assert not len(turns)
