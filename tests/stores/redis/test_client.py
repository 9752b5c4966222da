from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ratelimit_kit import RedisStore
from ratelimit_kit.errors import StoreContendedError, StoreUnavailableError


def test_threads_wait_for_a_cluster_client_as_long_as_for_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """It connects while it is built; a lock of threads that is held meanwhile would stop all green threads."""
    begun, go_on = threading.Event(), threading.Event()

    def build(*_: object, **__: object) -> Any:
        begun.set()
        assert go_on.wait(20)
        raise ConnectionError("nobody is there")

    monkeypatch.setattr("ratelimit_kit.stores.redis.client.make_client", build)
    store = RedisStore("redis+cluster://127.0.0.1:1", timeout=0.01)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(store.ping)
        assert begun.wait(20)
        with pytest.raises(StoreContendedError, match="the connection stayed busy"):
            store.ping()
        go_on.set()
        with pytest.raises(StoreUnavailableError):
            first.result()
    with pytest.raises(StoreUnavailableError):
        store.ping()
