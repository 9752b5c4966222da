"""Waiting under whatever runs the code at that moment: patched functions of the standard library, asyncio or trio."""

from __future__ import annotations

import ast
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import ratelimit_kit
from ratelimit_kit import BaseStore, Charge, Limiter, MemcachedStore, Policy, RedisStore, Rule, Scope, Verdict
from ratelimit_kit.asgi import RateLimitMiddleware
from ratelimit_kit.errors import ConfigurationError, StoreUnavailableError
from ratelimit_kit.stores import open_store
from ratelimit_kit.stores.memory.store import MemoryStore

ASYNCIO_ONLY = ["redis://127.0.0.1:1/0", "redis+cluster://127.0.0.1:1", "memcached://127.0.0.1:1"]


@pytest.fixture
def trio() -> Any:
    return pytest.importorskip("trio")


async def hello(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def status_of(application: Any, scope: dict[str, Any]) -> list[Any]:
    """What an application sends, with the statuses of responses and the messages of a failed start."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("status") or message.get("message"))

    await application(scope, receive, send)
    return sent


HTTP = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "client": ("192.0.2.1", 5)}


def test_a_wait_is_the_one_that_is_in_force_when_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """As gevent replaces it: with `gunicorn --preload` after this library was imported."""
    now = [0]
    limiter = Limiter("1/second", store=MemoryStore(clock=lambda: now[0]))
    waits = []

    def green_sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += int(seconds * 1_000_000_000)

    assert limiter.acquire("key")  # the first decision may also wait until the guard has looked for siblings
    monkeypatch.setattr(time, "sleep", green_sleep)
    assert limiter.acquire("key")
    assert waits == [1.0]


WAITS = {
    "time": {"sleep"},
    "threading": {"Barrier", "Condition", "Event", "RLock", "Semaphore", "Thread", "Timer"},
    "queue": {"LifoQueue", "PriorityQueue", "Queue", "SimpleQueue"},
    "select": {"poll", "select"},
    "socket": {"create_connection", "getaddrinfo", "socket"},
    "_queue": {"SimpleQueue"},
}
"""What gevent and eventlet replace. A Lock may be imported: none is held while anything waits."""


@pytest.mark.parametrize("path", sorted(Path(ratelimit_kit.__file__).parent.rglob("*.py")), ids=str)
def test_what_waits_is_looked_up_when_it_is_used(path: Path) -> None:
    """With `gunicorn --preload` a name that was imported is what it was before gevent replaced it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not WAITS.get(node.module or "", set()) & {alias.name for alias in node.names}


def test_a_memory_store_counts_under_trio_and_waits_there(trio: Any) -> None:
    async def main() -> list[bool]:
        now = [0]
        limiter = Limiter("2/second", store=MemoryStore(clock=lambda: now[0]))
        hits = [(await limiter.ahit("key")).allowed for _ in range(3)]
        now[0] = 999_999_000
        return [*hits, (await limiter.aacquire("key", timeout=0)).allowed, (await limiter.aacquire("other")).allowed]

    assert trio.run(main) == [True, True, False, False, True]


def test_waiting_for_a_quota_lets_other_tasks_of_trio_run(trio: Any) -> None:
    now = [0]

    async def main() -> list[str]:
        limiter = Limiter("1/second", store=MemoryStore(clock=lambda: now[0]))
        await limiter.ahit("key")
        order = []

        async def other() -> None:
            now[0] = 1_000_000_000
            order.append("other")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            await limiter.aacquire("key")
            order.append("acquired")
        return order

    clock = pytest.importorskip("trio.testing").MockClock(autojump_threshold=0)
    assert trio.run(main, clock=clock) == ["other", "acquired"]


def test_a_site_that_counts_in_memory_is_limited_under_trio(trio: Any) -> None:
    async def main() -> list[Any]:
        application = RateLimitMiddleware(hello, Policy(Rule("2/minute"), store="memory://"))
        return [(await status_of(application, HTTP))[0] for _ in range(3)]

    assert trio.run(main) == [200, 200, 429]


class Blocking(BaseStore):
    """A store of somebody's own whose sync methods wait for a disk."""

    scope = Scope.SHARED
    blocking = True

    def __init__(self) -> None:
        self.inner = MemoryStore()

    def decide(self, charges: Sequence[Charge]) -> Sequence[Verdict]:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return self.inner.decide(charges)

    def refund(self, charges: Sequence[Charge], charged_at: int | None = None) -> None:
        self.inner.refund(charges, charged_at)

    def reset(self, charges: Sequence[Charge]) -> None:
        self.inner.reset(charges)


def test_a_blocking_store_of_ones_own_waits_in_a_thread(trio: Any) -> None:
    limiter = Limiter("3/minute", store=Blocking())

    async def main() -> bool:
        decision = await limiter.ahit("key")
        await limiter.arefund("key")
        await limiter.areset("key")
        return decision.allowed

    assert trio.run(main)
    assert asyncio.run(main())


CALLS: list[Callable[[Limiter], Awaitable[Any]]] = [
    lambda limiter: limiter.ahit("key"),
    lambda limiter: limiter.arefund("key"),
    lambda limiter: limiter.areset("key"),
    lambda limiter: limiter.store.aping(),
]


@pytest.mark.parametrize("url", ASYNCIO_ONLY)
def test_a_store_that_needs_asyncio_has_its_ordinary_outages_under_trio(trio: Any, url: str) -> None:
    limiter = Limiter("2/minute", store=url)

    async def main() -> None:
        for call in CALLS:
            with pytest.raises(StoreUnavailableError):
                await call(limiter)
        await limiter.aclose()

    trio.run(main)
    local = Limiter("2/minute", store=url, on_outage="local")

    async def hits() -> list[bool]:
        return [(await local.ahit("key")).allowed for _ in range(3)]

    assert trio.run(hits) == [True, True, False]


def test_under_trio_an_async_client_alone_is_not_enough(trio: Any) -> None:
    client = pytest.importorskip("redis").asyncio.Redis(port=1, retry=None, socket_timeout=1, socket_connect_timeout=1)
    store = RedisStore(async_client=client)

    async def main() -> None:
        with pytest.raises(ConfigurationError, match="has only an async_client: give it a client too"):
            await store.aping()

    trio.run(main)


async def test_nothing_is_wrong_with_asyncio() -> None:
    for store in (*map(open_store, ASYNCIO_ONLY), MemcachedStore()):
        assert store.async_flaw is None  # type: ignore[attr-defined]
