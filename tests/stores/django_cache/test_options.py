"""How the options of a Django project's caches translate to a store, and which are rejected."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from ratelimit_kit.errors import StoreURLError
from ratelimit_kit.stores.django_cache.options import django_redis_url, memcached_options, redis_url
from ratelimit_kit.stores.redis.url import read_address

SENTINEL = {"CLIENT_CLASS": "django_redis.client.SentinelClient", "SENTINELS": [("h1", 26379), ("::1", 26380)]}


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("redis://h/3", {}, ("redis://h/3", {})),
        ("redis://h", {"db": "3"}, ("redis://h/3", {})),
        ("redis://h/3", {"db": 4}, ("redis://h/3", {})),
        ("unix:///run/redis.sock", {"db": 4}, ("unix:///run/redis.sock?db=4", {})),
        ("redis://h", {"username": "u", "password": "p@/"}, ("redis://u:p%40%2F@h", {})),
        ("redis://u:own@h", {"username": "v", "password": "p"}, ("redis://u:own@h", {})),
        ("redis://h", {"socket_timeout": 2, "socket_connect_timeout": 1}, ("redis://h", {"timeout": 2.0})),
        ("redis://h?socket_timeout=1.5", {"socket_timeout": 2}, ("redis://h", {"timeout": 1.5})),
        ("redis://h?socket_connect_timeout=1.5", {}, ("redis://h", {})),
        ("rediss://h", {"ssl_ca_certs": "/ca.pem"}, ("rediss://h?ssl_ca_certs=%2Fca.pem", {})),
        ("redis://h", {"protocol": 3, "max_connections": 5, "serializer": "x"}, ("redis://h?protocol=3", {})),
    ],
)
def test_redis_is_reached_as_the_cache_reaches_it(url: str, options: dict[str, Any], expected: object) -> None:
    assert redis_url("ratelimit", url, options) == expected


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("redis://h/1", {"USERNAME": "u", "PASSWORD": "p", "SOCKET_TIMEOUT": 3}, ("redis://u:p@h/1", {"timeout": 3.0})),
        ("redis://h", {"CONNECTION_POOL_KWARGS": {"db": 2}}, ("redis://h/2", {})),
        ("rediss://h", {"CONNECTION_POOL_KWARGS": {"ssl_cert_reqs": None}}, ("rediss://h?ssl_cert_reqs=none", {})),
        (
            "rediss://h",
            {"CONNECTION_POOL_KWARGS": {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": False}},
            ("rediss://h?ssl_cert_reqs=required&ssl_check_hostname=False", {}),
        ),
        (
            "redis://h",
            {"PASSWORD": "a", "CONNECTION_POOL_KWARGS": {"password": "b"}, "IGNORE_EXCEPTIONS": True},
            ("redis://:b@h", {}),
        ),
        ("redis://site/1", SENTINEL, ("redis+sentinel://h1:26379,[::1]:26380/site/1", {})),
        (
            "rediss://site?is_master=1",
            {**SENTINEL, "PASSWORD": "p", "SENTINEL_KWARGS": {"password": "s", "socket_timeout": 1}},
            ("rediss+sentinel://:p@h1:26379,[::1]:26380/site/0?sentinel_password=s", {}),
        ),
        (
            "redis://site",
            {"CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory", "SENTINELS": [("h1", 1)]},
            ("redis+sentinel://h1:1/site/0", {}),
        ),
    ],
)
def test_django_redis_is_reached_as_the_cache_reaches_it(url: str, options: dict[str, Any], expected: object) -> None:
    found = django_redis_url("ratelimit", url, options)
    assert found == expected
    read_address(found[0])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"CLIENT_CLASS": "django_redis.client.ShardClient"}, "CLIENT_CLASS='django_redis.client.ShardClient'"),
        ({"CONNECTION_FACTORY": "mine.Factory"}, "CONNECTION_FACTORY='mine.Factory'"),
        ({"REDIS_CLIENT_CLASS": "redis.cluster.RedisCluster"}, "REDIS_CLIENT_CLASS"),
        ({"CONNECTION_POOL_KWARGS": {"credential_provider": "secret"}}, "credential_provider"),
        ({"CLIENT_CLASS": "django_redis.client.SentinelClient"}, "SENTINELS"),
        ({**SENTINEL, "SENTINEL_KWARGS": {"ssl": True}}, "option ssl"),
        ({"PASWORD": "secret"}, "PASWORD"),
    ],
)
def test_what_would_count_elsewhere_is_refused_without_its_value(options: dict[str, Any], named: str) -> None:
    with pytest.raises(StoreURLError, match="does not support") as caught:
        django_redis_url("ratelimit", "redis://h", options)
    assert named in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "the cache 'ratelimit'" in str(caught.value)


def test_unknown_options_of_other_caches_are_refused() -> None:
    with pytest.raises(StoreURLError, match="option credential_provider, which"):
        redis_url("ratelimit", "redis://h", {"credential_provider": object()})
    with pytest.raises(StoreURLError, match="option tls_context, which"):
        memcached_options("ratelimit", {"tls_context": object()})
    with pytest.raises(StoreURLError, match="option password, which"):
        memcached_options("ratelimit", {"binary": True, "password": "p"})
    assert memcached_options("ratelimit", {"no_delay": True, "timeout": 2, "ignore_exc": True}) == {"timeout": 2}
