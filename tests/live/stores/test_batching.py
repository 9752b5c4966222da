"""Batched decisions of many tasks: each is the same as if it had been made alone."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from typing import Any, cast

import pytest
import redis as client_library

from ratelimit_kit import Charge, FixedWindow, Limiter, RedisStore, SlidingWindow, TokenBucket
from ratelimit_kit.errors import CostError, StoreContendedError, StoreError, StoreUnavailableError
from ratelimit_kit.stores.redis.calls import shapes
from ratelimit_kit.stores.redis.calls.replies import read_decisions
from ratelimit_kit.stores.redis.pipeline.call_queue import CallQueue
from ratelimit_kit.stores.redis.pipeline.exchange import Batch
from ratelimit_kit.testing import ManualClock
from ratelimit_kit.testing.model import Model
from tests.processes import RedisServer, redis_server
from tests.stores.programs import some_limits

pytestmark = [pytest.mark.live, pytest.mark.about("batching")]


@pytest.mark.parametrize("seed", range(25))
async def test_many_decisions_in_one_call_are_those_of_the_model(
    redis: RedisServer, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    clock = ManualClock(start=1_800_000_000)
    store, model = RedisStore(redis.url(), clock=clock, timeout=5), Model(clock)
    sent = _sent(monkeypatch)
    for _ in range(12):
        clock.advance(chance.choice([0, 0.000001, 0.03125, 0.4, 1.0, 60.0, -0.5]))
        shapes = [
            [(limit, min(limit.max_cost, chance.randint(0, 3))) for limit in some_limits(chance)] for _ in range(3)
        ]
        asked = []
        for shape in shapes:
            for _ in range(chance.randint(1, 180)):
                key = chance.choice("abcde")
                asked.append([Charge(key, limit, cost) for limit, cost in shape])
        sent.clear()
        answers = await asyncio.gather(*(store.adecide(charges) for charges in asked))
        expected = {id(charges): model.decide(charges) for charges in sent}
        assert [list(answer) for answer in answers] == [expected[id(charges)] for charges in asked]
        for shape in shapes:  # calls of one shape are decided in call order
            ids = [[id(one) for one in calls if _shape(one) == shape] for calls in (sent, asked)]
            assert ids[0] == ids[1]
    await store.aclose()


def _sent(monkeypatch: pytest.MonkeyPatch) -> list[list[Charge]]:
    """Collect the calls in the order in which they are sent."""
    found: list[list[Charge]] = []
    take = CallQueue.take

    def watched(self: CallQueue) -> Any:
        batch = take(self)
        if isinstance(batch, Batch):
            found.extend(cast("list[Charge]", charges) for charges, _, _ in batch.calls)
        return batch

    monkeypatch.setattr(CallQueue, "take", watched)
    return found


def _shape(charges: list[Charge]) -> list[tuple[Any, int]]:
    return [(one.limit, one.cost) for one in charges]


@pytest.mark.parametrize("batching", [True, False], ids=["merged", "one-by-one"])
@pytest.mark.parametrize(
    "limit", [SlidingWindow(5, per=60), TokenBucket(5, per=60), FixedWindow(5, per="week")], ids=str
)
async def test_five_hundred_tasks_admit_exactly_the_limit(redis: RedisServer, limit: Any, batching: bool) -> None:
    limiter = Limiter(limit, store=RedisStore(redis.url(), timeout=5, batching=batching))
    for key in ("a", "b"):
        decisions = await asyncio.gather(*(limiter.ahit(key) for _ in range(250)))
        assert sum(one.allowed for one in decisions) == 5
        assert sorted(one.remaining for one in decisions if one.allowed) == [0, 1, 2, 3, 4]
    assert not limiter.hit("a")
    await limiter.aclose()
    limiter.close()


async def test_tasks_that_ask_in_one_turn_take_one_command_for_each_hundred_and_twenty_eight() -> None:
    with redis_server() as server, client_library.Redis(port=server.port) as raw:
        limiter = Limiter("token-bucket: 1000/minute", store=server.url())
        for number, commands in ((1, 1), (100, 1), (128, 1), (200, 2), (100, 1)):
            raw.config_resetstat()
            decisions = await asyncio.gather(*(limiter.ahit(f"key {one}") for one in range(number)))
            assert all(decisions)
            assert raw.info("commandstats")["cmdstat_evalsha"]["calls"] == commands
        await limiter.aclose()


async def test_half_of_those_who_ask_again_and_again_are_sent_while_the_others_ask() -> None:
    with redis_server() as server, client_library.Redis(port=server.port) as raw:
        limiter = Limiter("10000/day", store=server.url())

        async def ask(number: int) -> list[int]:
            return [(await limiter.ahit("key")).remaining for _ in range(20)]

        found = await asyncio.gather(*(ask(number) for number in range(50)))
        assert sorted(one for part in found for one in part) == list(range(9000, 10_000))
        calls = raw.info("commandstats")["cmdstat_evalsha"]["calls"]
        assert 20 < calls <= 60
        await limiter.aclose()


async def test_an_error_goes_to_the_caller_whose_it_is(redis: RedisServer) -> None:
    limiter = Limiter("5/minute", store=redis.url())
    results = await asyncio.gather(
        limiter.ahit("a"), limiter.ahit("a", 9), limiter.ahit("b"), limiter.ahit("a"), return_exceptions=True
    )
    assert isinstance(results[1], CostError)
    assert [one.remaining for one in (results[0], results[2], results[3])] == [4, 4, 3]  # type: ignore[union-attr]
    with client_library.Redis.from_url(limiter.store._client._address.url) as raw:  # type: ignore[attr-defined]
        raw.lpush("rlk:2:sw-60000000:{default:list}", "not a state")
    results = await asyncio.gather(limiter.ahit("list"), limiter.ahit("c", 2), return_exceptions=True)
    assert getattr(results[0], "rlk", "") == "RLK300"
    assert results[1].remaining == 3  # type: ignore[union-attr]
    await limiter.aclose()


@pytest.mark.parametrize("number", [1, 63, 300, 9000])
async def test_many_charges_in_one_decision_are_decided_however_many_travel_together(
    redis: RedisServer, number: int
) -> None:
    store = RedisStore(redis.url(), timeout=20)
    limits = [SlidingWindow(2, per=60), TokenBucket(2, per=60), FixedWindow(2, per="day")]
    together = 130 if number < 1000 else 3
    asked = [[Charge(f"{caller} {key}", limits[key % 3]) for key in range(number)] for caller in range(together)]
    for expected in (True, True, False):
        answers = await asyncio.gather(*[store.adecide(charges) for charges in asked])
        assert [bool(answer) for answer in answers] == [expected] * together
        assert {verdict.remaining for answer in answers for verdict in list(answer)} <= {0, 1}
    assert not store.decide(asked[0])
    await store.aclose()
    store.close()


async def test_who_is_cancelled_before_the_call_is_sent_is_not_charged(redis: RedisServer) -> None:
    limiter = Limiter("5/minute", store=redis.url())
    tasks = [asyncio.create_task(limiter.ahit("key")) for _ in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    tasks[2].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in answers] == [False, True, True, False]
    assert (await limiter.apeek("key")).remaining == 3
    await limiter.aclose()


async def test_a_server_that_hangs_fails_all_after_one_deadline_and_is_left() -> None:
    with redis_server() as server:
        limiter = Limiter("500/minute", store=server.url())
        assert await limiter.ahit("key")
        with server.process.hanging():
            begun = time.monotonic()
            results = await asyncio.gather(
                *(limiter.store.adecide([Charge("key", limiter.limits[0])]) for _ in range(200)), return_exceptions=True
            )
            assert time.monotonic() - begun < 2
            assert {type(one) for one in results} <= {StoreUnavailableError, StoreContendedError}
            assert len({id(one) for one in results}) == 200
        await asyncio.sleep(0.1)
        assert (await limiter.store.adecide([Charge("key", limiter.limits[0])]))[0].allowed
        await limiter.aclose()


async def test_a_server_that_forgot_its_scripts_is_taught_once(redis: RedisServer) -> None:
    limiter = Limiter("500/minute", "fixed-window: 1000/day", store=redis.url())
    await limiter.ahit("key")
    with client_library.Redis(port=redis.port) as raw:
        raw.script_flush()
    decisions = await asyncio.gather(*(limiter.ahit("key") for _ in range(130)))
    assert sorted(one.remaining for one in decisions) == list(range(369, 499))
    await limiter.aclose()


async def test_the_calendar_follows_the_server_for_many_at_once(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 90 * 86_400 * 10**9)
    limiter = Limiter("fixed-window: 3/day", store=redis.url())
    decisions = await asyncio.gather(*(limiter.ahit("key") for _ in range(70)))
    assert sum(one.allowed for one in decisions) == 3
    await limiter.aclose()


async def test_a_closed_connection_is_noticed_or_reported_and_never_charged_twice() -> None:
    with redis_server() as server:
        store = RedisStore(server.url())
        limit = TokenBucket(1000, per=3600)
        charges = [Charge("key", limit)]
        with client_library.Redis(port=server.port) as raw:
            counted = 0
            for _ in range(10):
                try:
                    await store.adecide(charges)
                    counted += 1
                except StoreUnavailableError:
                    pass
                raw.client_kill_filter(_type="normal", skipme=True)
            left = (await _again(store, [charges[0]._replace(cost=0)]))[0].remaining
        assert left == 1000 - counted
        await store.aclose()


async def test_a_connection_that_was_closed_meanwhile_is_opened_anew() -> None:
    with redis_server() as server:
        limiter = Limiter("100/day", store=server.url())
        with client_library.Redis(port=server.port) as raw:
            for number in range(5):
                assert (await limiter.ahit("key")).remaining == 99 - number
                raw.client_kill_filter(_type="normal", skipme=True)
                await asyncio.sleep(0.02)
        await limiter.aclose()


async def test_a_loop_that_slept_hears_of_the_end_before_it_sends() -> None:
    with redis_server() as server:
        limiter = Limiter("100/day", store=server.url())
        assert await limiter.ahit("key")
        with client_library.Redis(port=server.port) as raw:
            raw.client_kill_filter(_type="normal", skipme=True)
        time.sleep(0.6)  # noqa: ASYNC251 - keeps the loop busy
        assert (await limiter.ahit("key")).remaining == 98
        await limiter.aclose()


async def test_a_store_that_was_closed_opens_again() -> None:
    with redis_server() as server:
        limiter = Limiter("100/day", store=server.url())
        for number in range(3):
            assert (await limiter.ahit("key")).remaining == 99 - number
            await limiter.aclose()


async def test_who_waits_while_the_store_is_closed_hears_of_it() -> None:
    with redis_server() as server:
        limiter = Limiter("100/day", store=server.url())
        assert await limiter.ahit("key")
        with server.process.hanging():
            waiting = asyncio.create_task(limiter.ahit("key"))
            await asyncio.sleep(0.01)
            await limiter.aclose()
            with pytest.raises(StoreUnavailableError, match="closed"):
                await waiting


@pytest.mark.parametrize("value", ["text", "hash"])
@pytest.mark.parametrize(
    "limit", [SlidingWindow(5, per=60), TokenBucket(5, per=60), FixedWindow(5, per="week")], ids=str
)
async def test_a_key_that_holds_something_else_concerns_nobody_else_in_its_batch(
    redis: RedisServer, limit: Any, value: str
) -> None:
    url = redis.url()
    limiter = Limiter(limit, store=RedisStore(url, timeout=5), deny_cache=False)
    key = f"rlk:2:{limit.counter}:{{default:bad}}"
    with client_library.Redis.from_url(url) as raw:
        if value == "hash":
            raw.hset(key, "field", "somebody's")
        else:
            raw.set(key, "somebody's")
        kept = raw.dump(key)
        names = [f"good {number % 50}" for number in range(200)]
        for at, name in enumerate(["good 0", "bad", "bad", *names, "bad"]):
            names[at * 13 % len(names)] = name
        bad = names.count("bad")
        found = await asyncio.gather(*[limiter.ahit(name) for name in names], return_exceptions=True)
        errors = [one for one in found if isinstance(one, BaseException)]
        assert [type(one) for one in errors] == [StoreError] * bad
        assert raw.dump(key) == kept
        for name in set(names) - {"bad"}:
            allowed = sum(bool(one) for one, of in zip(found, names, strict=True) if of == name)
            assert allowed == min(5, names.count(name)), name
    await limiter.aclose()


async def test_who_waits_hears_of_a_mistake_that_is_made_when_a_call_is_written(redis: RedisServer) -> None:
    asked = itertools.count()

    def clock() -> int:
        if next(asked) > 6:
            raise ZeroDivisionError
        return 1_800_000_000 * 10**9

    limiter = Limiter("5/minute", store=RedisStore(redis.url(), clock=clock, timeout=5), deny_cache=False)
    found = await asyncio.gather(*[limiter.ahit("key") for _ in range(3)], return_exceptions=True)
    for _ in range(3):
        found += await asyncio.gather(*[limiter.ahit("key") for _ in range(3)], return_exceptions=True)
    assert {type(one).__name__ for one in found if isinstance(one, BaseException)} == {"ZeroDivisionError"}
    assert any(one for one in found if not isinstance(one, BaseException))
    await limiter.aclose()


async def test_a_mistake_is_an_error_and_not_an_outage(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mistaken(SlidingWindow):
        """A kind of limit whose replies nobody can read."""

    def mistaken(charges: list[Charge], *given: Any, **options: Any) -> Any:
        return {SlidingWindow: read_decisions}[type(charges[0].limit)](charges, *given, **options)

    monkeypatch.setattr(shapes, "read_decisions", mistaken)
    limiter = Limiter(Mistaken(5, per=60), store=redis.url(), on_outage="allow")
    sound = Limiter("5/minute", store=limiter.store, on_outage="allow")
    for _ in range(3):  # without a connection, and with one
        answers = await asyncio.gather(*[limiter.ahit("key") for _ in range(3)], return_exceptions=True)
        assert {type(one) for one in answers} == {KeyError}
        assert not (await sound.ahit("key")).degraded
    await limiter.aclose()


async def _again(store: RedisStore, charges: list[Charge]) -> Any:
    try:
        return await store.adecide(charges)
    except StoreUnavailableError:
        return await store.adecide(charges)
