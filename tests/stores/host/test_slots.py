"""Slots are bounded: expired ones are given to new keys, no living one is, and keys without a slot share a strict counter."""

from __future__ import annotations

import errno
import itertools
import os
import random
from pathlib import Path
from typing import Any

import pytest

from ratelimit_kit import Charge, FixedWindow, HostStore, Limiter, SlidingWindow, TokenBucket
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.errors import StoreFullError
from ratelimit_kit.stores.host.files.layout import PAGE, SHARED_SLOTS, SLOT_SIZE, Header, Layout
from ratelimit_kit.testing import ManualClock
from ratelimit_kit.testing.model import Model

LIMIT = SlidingWindow(2, per=60)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=1_800_000_000)


def small(tmp_path: Path, clock: ManualClock, keys: int = 3) -> HostStore:
    return HostStore(path=tmp_path / "limits", max_keys=keys, clock=clock)


def admitted(store: HostStore, key: str, limit: Limit = LIMIT, cost: int = 1) -> bool:
    return store.decide([Charge(key, limit, cost)])[0].allowed


def test_keys_without_a_slot_share_one_strict_counter(tmp_path: Path, clock: ManualClock) -> None:
    store, events = small(tmp_path, clock), []
    store.on_event = events.append
    for key in ("a", "b", "c"):
        assert [admitted(store, key) for _ in range(3)] == [True, True, False]
    assert [admitted(store, key) for key in ("d", "e", "f", "d")] == [True, True, False, False]
    assert [event.name for event in events] == ["host-overflow"]
    assert not any(admitted(store, key) for key in ("a", "b", "c"))  # nobody lost his counter
    assert store.decide([Charge("g", LIMIT, 0)])[0].remaining == 0
    assert store.facts()["keys"] == 3
    assert store.facts()["sharing"] == 1


def test_a_slot_that_no_longer_matters_is_given_to_a_new_key(tmp_path: Path, clock: ManualClock) -> None:
    store, size = small(tmp_path, clock), 0
    for turn in range(20):
        for key in range(3):
            assert admitted(store, f"{turn}-{key}", cost=2)
        size = size or store.facts()["bytes"]
        clock.advance(60)
    assert store.facts()["bytes"] == size
    assert store.facts()["sharing"] == 0


def test_a_key_that_is_used_again_and_again_keeps_its_slot(tmp_path: Path, clock: ManualClock) -> None:
    store = small(tmp_path, clock)
    for turn in range(30):
        admitted(store, "kept")
        clock.advance(25)
        admitted(store, f"new-{turn}")
    assert not admitted(store, "kept", cost=2)
    assert admitted(store, "kept")


def test_a_new_key_begins_with_the_counter_that_was_shared(tmp_path: Path, clock: ManualClock) -> None:
    """Some of what is on it may have been this key's own."""
    store = small(tmp_path, clock, keys=1)
    assert admitted(store, "a")
    clock.advance(30)
    assert admitted(store, "b", cost=2)
    clock.advance(30)  # there is room again
    assert not admitted(store, "b")
    clock.advance(30)
    assert admitted(store, "b")


def test_several_keys_of_a_decision_that_share_a_counter_are_added_up(tmp_path: Path, clock: ManualClock) -> None:
    store = small(tmp_path, clock, keys=1)
    assert admitted(store, "a")
    both = [Charge("b", LIMIT, 1), Charge("c", LIMIT, 2)]
    assert [one.allowed for one in store.decide(both)] == [False, False]
    assert [one.remaining for one in store.decide([Charge("b", LIMIT, 1), Charge("c", LIMIT, 1)])] == [1, 0]


def test_counters_that_keys_share_are_bounded_too(tmp_path: Path, clock: ManualClock) -> None:
    store = small(tmp_path, clock, keys=1)
    assert admitted(store, "a")
    for number in range(SHARED_SLOTS):
        assert admitted(store, "b", LIMIT.counted_as(str(number)))
    with pytest.raises(StoreFullError, match="is full"):
        admitted(store, "b", LIMIT.counted_as("one more"))


def test_a_full_disk_is_like_a_full_store(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    store = small(tmp_path, clock, keys=100)
    assert admitted(store, "a", cost=2)
    write = os.pwrite

    def full(descriptor: int, content: bytes, at: int) -> int:
        if not at % PAGE and not any(content):  # the first slot of a page that was not written before
            raise OSError(errno.ENOSPC, "no space is left")
        return write(descriptor, content, at)

    monkeypatch.setattr("ratelimit_kit.stores.host.files.file.os.pwrite", full)
    assert sum(admitted(store, f"k{number}") for number in range(50)) < 10
    assert not admitted(store, "a")


def test_every_slot_lies_within_a_page_and_apart_from_others() -> None:
    for keys in (1, 3, 50, 1000, 100_000):
        layout = Layout(Header.of(keys, b"", b""))
        taken = [(0, PAGE)]
        for shard in {0, 1, layout.shards - 1, layout.shards} & set(range(layout.shards + 1)):
            taken.append((layout.index_at(shard), layout.slots_of(shard) * 16))
            taken += [(layout.slot_at(shard, slot), SLOT_SIZE) for slot in range(layout.slots_of(shard))]
        taken.sort()
        for (at, size), (following, _) in itertools.pairwise(taken):
            assert at + size <= following
        assert all(at // PAGE == (at + size - 1) // PAGE for at, size in taken if size == SLOT_SIZE)
        assert taken[-1][0] + taken[-1][1] <= layout.size
        assert layout.shards * layout.slots >= keys


@pytest.mark.parametrize("seed", range(12))
def test_the_fast_path_decides_as_the_limits_do(seed: int, tmp_path: Path) -> None:
    """Through limiters, whose hits take it, in a random program of a clock that also steps back."""
    chance = random.Random(seed)
    clock = ManualClock(start=1_800_000_000)
    model: Any = Model(clock)
    store = HostStore(path=tmp_path / "limits", clock=clock)
    sets: list[list[Limit]] = [
        [SlidingWindow(40, per=1, resolution=4)],
        [SlidingWindow(38, per=60)],
        [TokenBucket(7, per=1, burst=9)],
        [FixedWindow(9, per="minute")],
        [SlidingWindow(5, per=60), TokenBucket(7, per=1), FixedWindow(90, per="hour")],
    ]
    limiters = [Limiter(*limits, store=store, name=f"n{at}") for at, limits in enumerate(sets)]
    for _ in range(600):
        at, key = chance.randrange(len(sets)), f"k{chance.randrange(3)}"
        match chance.choice(["hit"] * 12 + ["wait"] * 3 + ["reset"]):
            case "hit":
                cost = chance.choice([1, 1, 1, 2])
                found = limiters[at].hit(key, cost)
                expected = model.decide([Charge(f"n{at}:{key}", limit, cost) for limit in sets[at]])
                assert list(found.verdicts) == list(expected)
            case "wait":
                clock.advance(chance.choice([0.000001, 0.02, 0.25, 1.0, 7.5, -0.5]))
            case "reset":
                limiters[at].reset(key)
                model.reset([Charge(f"n{at}:{key}", limit, 0) for limit in sets[at]])


def test_a_clock_that_is_set_back_costs_a_key_its_wait_once(tmp_path: Path, clock: ManualClock) -> None:
    store = HostStore(path=tmp_path / "limits", clock=clock)
    limiter = Limiter("2/minute", store=store)
    assert [limiter.hit("key").allowed for _ in range(3)] == [True, True, False]
    clock.advance(-3600)
    assert limiter.hit("key").retry_after == 60
    clock.advance(30)
    assert limiter.hit("key").retry_after == 30
    clock.advance(30)
    assert limiter.hit("key")


@pytest.mark.parametrize("order", ["old first", "new first"])
def test_a_counter_that_is_over_and_a_new_key_of_one_decision_have_a_slot_each(
    order: str, tmp_path: Path, clock: ManualClock
) -> None:
    """The slot of the first is one that might be given to the second."""
    store = HostStore(path=tmp_path / "limits", max_keys=1, clock=clock)
    assert admitted(store, "old")
    clock.advance(120)
    both = [Charge("old", LIMIT), Charge("new", LIMIT)]
    assert all(one.allowed for one in store.decide(both if order == "old first" else both[::-1]))
    assert [admitted(store, "old") for _ in range(2)] in ([True, False], [False, False])
    assert [admitted(store, "new") for _ in range(2)] in ([True, False], [False, False])


def test_a_slot_that_is_given_on_holds_nobody_in_between(tmp_path: Path, clock: ManualClock) -> None:
    """Whoever remembers it for its last key must not count there any more, whenever the giver is killed."""
    store = HostStore(path=tmp_path / "limits", max_keys=1, clock=clock)
    assert admitted(store, "old")
    clock.advance(120)
    writes: list[bytes] = []
    file = store._access.opened
    assert file is not None
    write = file.write
    file.write = lambda at, content: (writes.append(content), write(at, content))[1]  # type: ignore[method-assign,func-returns-value]
    assert admitted(store, "new")
    assert writes[0] == bytes(len(writes[0]))


def test_after_a_flood_new_keys_get_the_slots_that_are_free(tmp_path: Path, clock: ManualClock) -> None:
    """However many living ones look as if they were to be checked."""
    store = HostStore(path=tmp_path / "limits", max_keys=400, clock=clock)
    hour = TokenBucket(1000, per=3600)
    for key in range(300):
        admitted(store, f"lasting-{key}", hour, 1)
    for key in range(100):
        admitted(store, f"flood-{key}")
    clock.advance(3)
    for key in range(300):
        admitted(store, f"lasting-{key}", hour, 500)
    clock.advance(120)
    assert all(admitted(store, f"client-{key}") for key in range(100))
    assert store.facts()["sharing"] == 0


def test_what_is_found_to_be_overwritten_is_replaced(tmp_path: Path, clock: ManualClock) -> None:
    store, events = small(tmp_path, clock), []
    store.on_event = events.append
    assert admitted(store, "a")
    path = tmp_path / "limits"
    size = path.stat().st_size
    with path.open("r+b") as raw:
        raw.seek(PAGE)
        raw.write(b"\x7f" * (size - PAGE))
    assert [admitted(store, "a") for _ in range(3)] == [True, True, False]
    assert [event.name for event in events] == ["host-new-start"]


def test_a_descriptor_that_the_application_has_closed_is_not_written_to(tmp_path: Path, clock: ManualClock) -> None:
    store = small(tmp_path, clock)
    assert admitted(store, "a")
    file = store._access.opened
    assert file is not None
    os.close(file.descriptor)
    other = tmp_path / "other"
    other.write_bytes(bytes(1_000_000))
    with other.open("r+b") as theirs:
        assert theirs.fileno() == file.descriptor
        assert [admitted(store, key) for key in ("a", "a", "b")] == [True, False, True]
        assert other.read_bytes() == bytes(1_000_000)
