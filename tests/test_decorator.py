from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from ratelimit_kit import CostError, Limiter, LimitExceeded, MemoryStore, ratelimit
from ratelimit_kit.errors import OptionError


def test_the_function_is_not_called_beyond_its_limit() -> None:
    calls = []

    @ratelimit("2/minute")
    def work(number: int) -> int:
        """Work hard."""
        calls.append(number)
        return number * 2

    assert [work(1), work(2)] == [2, 4]
    with pytest.raises(LimitExceeded, match=r"work was refused by the limit 2/minute.*RLK429") as caught:
        work(3)
    assert calls == [1, 2]
    assert 0 < caught.value.decision.retry_after <= 60


def test_a_refusal_without_the_store_blames_no_limit() -> None:
    @ratelimit("2/minute", store="redis://127.0.0.1:1/0", on_outage="deny")
    def refuses() -> None: ...

    with pytest.raises(
        LimitExceeded, match=r"refused because its store did not decide: try again in 1.000 s \[RLK429"
    ) as caught:
        refuses()
    assert caught.value.uncounted

    @ratelimit("1/minute", store="redis://127.0.0.1:1/0", on_outage="local")
    def counts() -> None: ...

    counts()
    with pytest.raises(LimitExceeded, match="was refused by the limit 1/minute") as caught:
        counts()
    assert not caught.value.uncounted


def test_name_signature_and_kind_are_kept() -> None:
    def plain(a: int, *, b: str = "x") -> float:
        """Say what it does."""
        return float(a)

    async def coroutine(a: int) -> None: ...

    limited = ratelimit("5/minute")(plain)
    assert inspect.signature(limited) == inspect.signature(plain)
    assert (limited.__name__, limited.__doc__) == ("plain", "Say what it does.")
    assert not inspect.iscoroutinefunction(limited)
    assert inspect.iscoroutinefunction(ratelimit("5/minute")(coroutine))


async def test_a_coroutine_function_stays_one() -> None:
    @ratelimit("1/minute")
    async def work() -> str:
        await asyncio.sleep(0)
        return "done"

    assert await work() == "done"
    with pytest.raises(LimitExceeded):
        await work()


def test_the_key_is_made_from_the_call() -> None:
    @ratelimit("1/minute", key=lambda user, **_: f"user:{user}", cost=lambda user, weight=1: weight)
    def send(user: int, weight: int = 1) -> bool:
        return True

    assert send(1)
    assert send(2)
    with pytest.raises(LimitExceeded):
        send(1)
    with pytest.raises(CostError):
        send(3, weight=2)


def test_methods_of_every_kind() -> None:
    class Mailer:
        def __init__(self, name: str) -> None:
            self.name = name

        @ratelimit("1/minute", key=lambda self, to: f"{self.name}>{to}")
        def send(self, to: str) -> str:
            return f"{self.name}>{to}"

        @classmethod
        @ratelimit("1/minute")
        def build(cls) -> str:
            return cls.__name__

        @ratelimit("1/minute")
        @staticmethod
        def ping() -> str:
            return "pong"

        @ratelimit("1/minute", key=lambda self: self.name)
        async def asend(self) -> str:
            return self.name

    first, second = Mailer("a"), Mailer("b")
    assert [first.send("x"), first.send("y"), second.send("x")] == ["a>x", "a>y", "b>x"]
    assert [Mailer.build(), Mailer.ping(), asyncio.run(first.asend()), asyncio.run(second.asend())] == [
        "Mailer",
        "pong",
        "a",
        "b",
    ]
    for call in (lambda: first.send("x"), Mailer.build, first.ping, lambda: asyncio.run(second.asend())):
        with pytest.raises(LimitExceeded):
            call()


def test_a_callable_object_with_an_async_call_is_awaited() -> None:
    class Worker:
        async def __call__(self) -> str:
            return "done"

    work: Any = ratelimit("1/minute")(Worker())
    assert asyncio.run(work()) == "done"
    with pytest.raises(LimitExceeded):
        asyncio.run(work())


def test_functions_have_counters_of_their_own_unless_named() -> None:
    store = MemoryStore()

    def make(name: str | None) -> Any:
        return ratelimit("1/minute", store=store, name=name)(lambda: True)

    def other() -> bool:
        return True

    assert make(None)()
    assert ratelimit("1/minute", store=store)(other)()
    assert make("shared")()
    with pytest.raises(LimitExceeded):
        make("shared")()


def test_a_limiter_stands_for_its_limits() -> None:
    limiter = Limiter("1/minute")
    work = ratelimit(limiter, key="jobs")(lambda: True)
    assert work()
    assert not limiter.peek("jobs")
    with pytest.raises(OptionError, match="not both"):
        ratelimit(limiter, "5/minute")(lambda: True)


def test_exceptions_pass_and_the_function_is_called_once() -> None:
    calls = []

    @ratelimit("5/minute")
    def fail() -> None:
        calls.append(1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert calls == [1]


def test_what_cannot_be_limited_is_an_error() -> None:
    async def stream() -> Any:
        yield 1

    with pytest.raises(OptionError, match="asynchronous generator"):
        ratelimit("5/minute")(stream)
    with pytest.raises(OptionError, match=r"key must be a string, .* got 42"):
        ratelimit("5/minute", key=42)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="must be a string"):
        ratelimit("5/minute", key=lambda: None)(lambda: True)()  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("key", ["ip", "user", "global", "header:x-api-key"])
def test_a_key_of_web_rules_is_not_one_counter_for_all(key: str) -> None:
    with pytest.raises(OptionError, match="decorator of its framework"):
        ratelimit("5/minute", key=key)


def test_a_bare_decorator_and_an_unknown_option_are_errors() -> None:
    with pytest.raises(OptionError, match="needs limits"):
        ratelimit(lambda: True)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="has no option 'methods'"):
        ratelimit("5/minute", methods=["POST"])


def test_every_option_of_a_limiter_reaches_it() -> None:
    store = MemoryStore()
    old = ratelimit("5/minute", store=store, name="x", workers=1, inherit=False)(lambda: 1)
    new = ratelimit("7/minute", store=store, name="x", workers=1, inherit=False)(lambda: 1)
    assert [old() for _ in range(5)] == [1] * 5
    assert [new() for _ in range(7)] == [1] * 7
    own = set(inspect.signature(ratelimit).parameters) - {"limits", "key", "cost", "unknown"}
    assert own == set(inspect.signature(Limiter.__init__).parameters) - {"self", "limits"}
