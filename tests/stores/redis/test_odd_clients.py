"""What is given as a client and is none: an error when the store is made, not with the first hit."""

from __future__ import annotations

from typing import Any

import pymemcache
import pytest
import redis
import redis.asyncio

from ratelimit_kit import MemoryStore, RedisStore
from ratelimit_kit.errors import OptionError

SECRET = "open-sesame"


def of_another_library(name: str) -> Any:
    return type("Valkey", (), {"__module__": f"{name}.client", "execute_command": lambda self: None})()


CASES: dict[str, tuple[str, Any, str]] = {
    "a URL": ("client", f"redis://:{SECRET}@h/0", r"of the type str .* RedisStore\('redis://127.0.0.1:6379/0'\)"),
    "a number": ("client", 5, "of the type int and not a client of redis-py"),
    "nothing but false": ("client", False, "of the type bool"),
    "a mapping": ("client", {"password": SECRET}, "of the type dict"),
    "a function": ("client", redis.from_url, "of the type function"),
    "a class": ("client", redis.Redis, r"the class Redis and not a client\. Write client=redis\.Redis\(\.\.\."),
    "an async class": ("async_client", redis.asyncio.Redis, r"Write async_client=redis\.asyncio\.Redis\("),
    "a pool": ("client", redis.ConnectionPool(password=SECRET), "of the type ConnectionPool"),
    "a connection": ("client", redis.Connection(password=SECRET), "of the type Connection"),
    "a pipeline": ("client", redis.Redis().pipeline(), "a Pipeline, which cannot decide single calls"),
    "a subscription": ("client", redis.Redis().pubsub(), "a PubSub, which cannot"),
    "Sentinels": ("client", redis.Sentinel([("h", 1)]), r"a Sentinel, .* or its \.master_for\(name\)"),
    "async Sentinels": ("async_client", redis.asyncio.Sentinel([("h", 1)]), r"\.master_for\(name\)"),
    "an async client": ("client", redis.asyncio.Redis(), "an async client: write async_client="),
    "a sync client": ("async_client", redis.Redis(retry=None), "a sync client: write client="),
    "Memcached's": ("client", pymemcache.Client(("h", 1)), "of the type Client"),
    "a store": ("client", MemoryStore(), "of the type MemoryStore"),
    "another library's": ("client", of_another_library("valkey"), "a client of valkey, and it takes redis-py's only"),
    "coredis": ("async_client", of_another_library("coredis"), "a client of coredis"),
}


@pytest.mark.parametrize(("option", "client", "message"), CASES.values(), ids=CASES)
def test_it_is_refused_with_what_to_write(option: str, client: Any, message: str) -> None:
    with pytest.raises(OptionError, match=rf"RedisStore was given {option}=, which is .*{message}.*RLK103") as caught:
        RedisStore(**{option: client})
    assert SECRET not in str(caught.value)


class Proxy:
    """Hands on to a client that does not exist yet, as an application's own may do."""

    connection_pool = retry = None

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def test_clients_and_proxies_for_them_are_taken() -> None:
    options = {"socket_timeout": 1, "socket_connect_timeout": 1, "retry": None}
    for client in (redis.Redis(**options), redis.StrictRedis(**options), Proxy(redis.Redis(**options))):
        assert repr(RedisStore(client=client)) == "RedisStore(client=...)"
    for client in (redis.asyncio.Redis(**options), Proxy(redis.asyncio.Redis(**options))):
        assert RedisStore(async_client=client).async_flaw is None
