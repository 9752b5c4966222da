from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import multiprocessing
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
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


@ratelimit("2/minute")
def work(number: int) -> int:
    return number * 2


class Job:
    """Something with limited methods of every kind."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @ratelimit("2/minute", key=lambda self, _number: f"{self.factor}")
    def run(self, number: int) -> int:
        return number * self.factor

    @ratelimit("2/minute")
    @classmethod
    def of_class(cls, number: int) -> int:
        return number * 5

    @classmethod
    @ratelimit("2/minute")
    def inside_of_class(cls, number: int) -> int:
        return number * 6

    @ratelimit("2/minute")
    @staticmethod
    def static(number: int) -> int:
        return number * 7

    @staticmethod
    @ratelimit("2/minute")
    def inside_static(number: int) -> int:
        return number * 8


LIMITED = [work, Job(3).run, Job.of_class, Job.inside_of_class, Job.static, Job(4).static, Job.inside_static]


@pytest.mark.parametrize("call", LIMITED, ids=lambda call: call.__qualname__)
def test_a_decorated_function_is_pickled_and_copied_as_a_plain_one_is(call: Callable[[int], int]) -> None:
    for again in (pickle.loads(pickle.dumps(call)), copy.copy(call), copy.deepcopy(call)):
        assert (type(again), again.__qualname__) == (type(call), call.__qualname__)
        assert again.__wrapped__ == call.__wrapped__ or isinstance(again.__self__, Job)  # type: ignore[attr-defined]


def test_a_copied_object_has_its_own_methods() -> None:
    run = Job(3).run
    again = copy.deepcopy(run)
    assert again.__self__ is not run.__self__  # type: ignore[attr-defined]
    assert again.__self__.factor == 3  # type: ignore[attr-defined]


def test_a_function_inside_another_cannot_be_pickled() -> None:
    with pytest.raises(pickle.PicklingError, match="is inside a function"):
        pickle.dumps(ratelimit("5/minute")(lambda: True))


def executor(kind: str) -> AbstractContextManager[Any]:
    """A pool of one process with a method `apply(function, arguments)`."""
    library, _, method = kind.partition(" ")
    context = multiprocessing.get_context(method)
    if library == "multiprocessing":
        return context.Pool(1)
    pool: Any = ProcessPoolExecutor(1, mp_context=context)
    pool.apply = lambda function, arguments: pool.submit(function, *arguments).result(timeout=60)
    return pool  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "kind", [f"{library} {method}" for library in ("multiprocessing", "futures") for method in ("spawn", "forkserver")]
)
def test_a_pool_of_processes_enforces_the_limit_of_what_it_is_given(kind: str) -> None:
    with executor(kind) as pool:
        for call, factor in ((work, 2), (Job(3).run, 3), (Job.of_class, 5)):
            assert [pool.apply(call, (number,)) for number in (1, 2)] == [factor, factor * 2]
            with pytest.raises(LimitExceeded, match="was refused by the limit 2/minute") as caught:
                pool.apply(call, (3,))
            assert 0 < caught.value.decision.retry_after <= 60


def test_a_generator_function_stays_one_and_is_charged_when_it_begins() -> None:
    @ratelimit("1/minute")
    def count(start: int) -> Iterator[int]:
        """Count as told."""
        sent = yield start
        return sent

    assert inspect.isgeneratorfunction(count)
    never_begun = count(7)
    begun: Any = count(1)
    assert next(begun) == 1
    with pytest.raises(StopIteration) as end:
        begun.send("told")
    assert end.value.value == "told"
    with pytest.raises(LimitExceeded):
        next(never_begun)


async def test_an_asynchronous_generator_function_stays_one_and_its_key_may_be_awaited() -> None:
    async def key(user: str) -> str:
        await asyncio.sleep(0)
        return user

    @ratelimit("1/minute", key=key)
    async def told(user: str) -> AsyncIterator[Any]:
        try:
            while True:
                user = yield user
        except KeyError as error:
            yield error

    assert inspect.isasyncgenfunction(told)
    stream: Any = told("a")
    assert [await anext(stream), await stream.asend("b"), str(await stream.athrow(KeyError("c")))] == ["a", "b", "'c'"]
    assert [one async for one in stream] == []
    with pytest.raises(LimitExceeded):
        await anext(told("a"))
    assert await anext(told("d")) == "d"


async def test_an_asynchronous_generator_hears_of_its_end_and_of_exceptions() -> None:
    ends = []

    @asynccontextmanager
    @ratelimit("5/minute")
    async def opened() -> AsyncIterator[str]:
        try:
            yield "it"
        except ValueError:
            ends.append("failed")
        finally:
            ends.append("closed")

    async with opened():
        raise ValueError
    async with opened():
        pass
    assert ends == ["failed", "closed", "closed"]  # type: ignore[unreachable]


async def test_key_and_cost_of_a_coroutine_function_may_be_awaited() -> None:
    async def key(user: str, _weight: int) -> str:
        return user

    async def cost(_user: str, weight: int) -> int:
        return weight

    @ratelimit("3/minute", key=key, cost=cost)
    async def send(user: str, weight: int) -> str:
        return user

    assert [await send("a", 2), await send("b", 3), await send("a", 1)] == ["a", "b", "a"]
    with pytest.raises(LimitExceeded):
        await send("a", 1)


def test_a_plain_function_has_nobody_to_await_its_key() -> None:
    async def key() -> str:
        return "key"

    with pytest.raises(OptionError, match="use a plain function"):
        ratelimit("5/minute", key=key)(lambda: True)()


async def test_what_is_wrapped_is_of_the_kind_of_what_it_wraps() -> None:
    async def work(number: int) -> int:
        return number

    class Jobs:
        static = ratelimit("2/minute", key=lambda number: f"{number}", name="static")(staticmethod(work))

        @ratelimit("2/minute", name="class")
        @classmethod
        async def of_class(cls, number: int) -> int:
            return number

    partly = ratelimit("2/minute", name="partly")(functools.partial(work, 3))
    for call in (lambda: Jobs.static(3), lambda: Jobs().of_class(3), partly):
        for _ in range(2):
            assert await call() == 3
        with pytest.raises(LimitExceeded):
            await call()
