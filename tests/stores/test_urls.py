"""How store URLs are parsed, and the errors for those that name no store."""

from __future__ import annotations

import struct
import zoneinfo
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratelimit_kit import Charge, FixedWindow, MemcachedStore, RedisStore
from ratelimit_kit.errors import OptionError, StoreURLError
from ratelimit_kit.stores import open_store
from ratelimit_kit.stores.memcached.protocol import MAX_RELATIVE_SECONDS, expiry
from ratelimit_kit.stores.redis.url import Address, read_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h/0", Address("single", "redis://h/0")),
        ("valkey://h/0", Address("single", "redis://h/0")),
        ("valkeys://h/0", Address("single", "rediss://h/0")),
        (
            "redis+sentinel://u:p%40ss@h1,h2:26380/site/3?sentinel_password=s",
            Address(
                "sentinel",
                nodes=(("h1", 26379), ("h2", 26380)),
                service="site",
                options={"username": "u", "password": "p@ss", "db": 3},
                sentinel_options={"password": "s"},
            ),
        ),
        (
            "redis+sentinel://h1/site?protocol=3",
            Address(
                "sentinel",
                nodes=(("h1", 26379),),
                service="site",
                options={"protocol": 3, "db": 0},
                sentinel_options={"protocol": 3},
            ),
        ),
        ("valkey+cluster://h1,[::1]:7000", Address("cluster", nodes=(("h1", 6379), ("::1", 7000)))),
        (
            "redis+sentinel://[::1]:26380,[2001:db8::1]/site/1",
            Address("sentinel", nodes=(("::1", 26380), ("2001:db8::1", 26379)), service="site", options={"db": 1}),
        ),
        ("redis://[::1]:7000/2", Address("single", "redis://[::1]:7000/2")),
        ("redis://:valkey@h/0", Address("single", "redis://h/0", options={"password": "valkey"})),
        ("redis://", Address("single", "redis://")),
        ("redis://h/0/?db=1&", Address("single", "redis://h/0/?db=1")),
        ("redis://:7000", Address("single", "redis://:7000")),
        (
            "unix://u:p@/run/a@b.sock?db=2",
            Address("single", "unix:///run/a@b.sock?db=2", options={"username": "u", "password": "p"}),
        ),
        (
            "rediss+cluster://:p@h1?ssl_ca_certs=/ca.pem",
            Address(
                "cluster", nodes=(("h1", 6379),), options={"ssl": True, "ssl_ca_certs": "/ca.pem", "password": "p"}
            ),
        ),
    ],
)
def test_an_address_is_read(url: str, address: Address) -> None:
    assert read_address(url) == address


SCHEMES = [("redis", "/0"), ("redis+cluster", ""), ("redis+sentinel", "/site"), ("memcached", "")]
"""Schemes with hosts, and what may stand after those."""


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis+sentinel://h1", "does not name a primary. For example:"),
        ("redis+cluster://h1/3", "a cluster has no databases"),
        ("redis+sentinel://h1/site/three", "is not a database number"),
        ("redis://host/zero", "is not a database number"),
        ("redis://host/0/1", "is not a database number"),
        ("redis://h1,h2/0", r"names several servers: use 'redis\+sentinel://'"),
        ("unix://host/path", "does not name a socket"),
        ("unix://", "does not name a socket"),
        ("redis+cluster://h1:port", "host 1 is not a host with a port"),
        ("redis+cluster://h1:65536", "host 1 has no port from 1 to 65535"),
        ("redis+cluster://h1,,h2", "host 2 is not a host with a port"),
        ("redis+cluster://h1,[::1", "host 2 is not a host with a port"),
        ("redis://[", "host 1 is not a host with a port"),
        ("redis://::1:6379/0", "host 1 is not a host with a port"),
        ("redis+cluster://h1?ssl_ca_cert=x", "did you mean 'ssl_ca_certs'"),
        ("redis+cluster://h1?ssl_ca_certs=x", r"ssl_ca_certs, which is about TLS: write rediss\+cluster://"),
        ("redis+cluster://h1?protocol=three", "has protocol='three': choose 2 or 3"),
        ("redis://h/0?tiemout=3", "has no option 'tiemout'; did you mean 'timeout'"),
        ("redis://h/0?socket_timeout=3", "has the option socket_timeout: write timeout="),
        ("unix:///s?socket_connect_timeout=3", "has the option socket_connect_timeout: write timeout="),
        ("redis://h/0?ssl_cert_reqs=none", "it is about TLS: write rediss://"),
        *(
            (f"{scheme}://{hosts}", "host 1 is not a host with a port")
            for scheme, end in SCHEMES
            for hosts in (
                f"h]{end}",
                f"[h{end}",
                f"h]:1{end}",
                f"[h]{end}",
                f"[]:1{end}",
                f"[v1.x]:1{end}",
                f"[::1]x{end}",
            )
        ),
        ("redis://h/0?db=[", "Invalid value for 'db'"),
        *(
            (f"{scheme}?{name}={value}", f"has {name}='{value}': choose {choices}")
            for scheme in ("rediss://h", "rediss+sentinel://h/site", "rediss+cluster://h")
            for name, value, choices in (
                ("ssl_cert_reqs", "nope", "none or optional or required"),
                ("ssl_cert_reqs", "", "none or optional or required"),
                ("ssl_check_hostname", "maybe", "false or true"),
                ("protocol", "4", "2 or 3"),
            )
        ),
        *(
            (f"redis://h?{name}=x", f"has the option {name}, which takes an object")
            for name in ("retry", "parser_class", "credential_provider", "event_dispatcher", "cache_config")
        ),
        ("redis://h:99999/0", "host 1 has no port from 1 to 65535"),
        ("127.0.0.1:6379", "did you mean 'redis://127.0.0.1:6379'"),
        ("localhost:6379/0", "did you mean 'redis://localhost:6379/0'"),
        ("redis+sentinels://h1/site", r"is not a store URL: did you mean 'redis\+sentinel://'"),
        ("memcached://", "is not a Memcached URL"),
        ("memcached://h:port", "host 1 is not a host with a port"),
        ("memcached://h,,i", "host 2 is not a host with a port"),
        ("memcached://user:secret@h", "is not a Memcached URL"),
        ("memcached://h?time=3", "is not a Memcached URL"),
    ],
)
def test_a_url_that_names_no_store_is_an_error_without_its_secrets(url: str, message: str) -> None:
    with pytest.raises(StoreURLError, match=message) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["rediss+sentinel://h/site", "rediss+cluster://h"])
def test_a_switch_in_a_url_is_no_text(scheme: str) -> None:
    """The text "false" would be true to redis-py."""
    options = read_address(f"{scheme}?ssl_check_hostname=False&ssl_cert_reqs=NONE").options
    assert (options["ssl_check_hostname"], options["ssl_cert_reqs"]) == (False, "none")


@pytest.mark.parametrize("options", [{"timeout": 0}, {"skew": -1}, {"skew": True}, {"timeout": 61}], ids=str)
def test_options_of_the_memcached_store_are_checked(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="must be a number of seconds"):
        MemcachedStore(**options)


@pytest.fixture
def longest_zone(tmp_path: Path) -> Iterator[None]:
    """The longest time zone name is an old one, which newer Debian releases ship in a separate package."""
    file = tmp_path / "America" / "Argentina" / "ComodRivadavia"
    file.parent.mkdir(parents=True)
    file.write_bytes(struct.pack("!4s16x6l", b"TZif", 0, 0, 0, 0, 1, 4) + struct.pack("!lbb4s", 0, 0, 0, b"UTC"))
    zoneinfo.reset_tzpath([str(tmp_path)])
    yield
    zoneinfo.reset_tzpath()
    zoneinfo.ZoneInfo.clear_cache()


@pytest.mark.usefixtures("longest_zone")
def test_a_prefix_leaves_room_for_limit_and_key() -> None:
    limit = FixedWindow(10**9, per="month", tz="America/Argentina/ComodRivadavia")
    assert len(MemcachedStore(prefix="p" * 36)._conversations._states.key(Charge("k" * 150, limit))) <= 250
    with pytest.raises(OptionError, match="is too long: give at most 36"):
        MemcachedStore(prefix="p" * 37)


def test_beyond_thirty_days_an_expiry_is_a_time() -> None:
    assert expiry(MAX_RELATIVE_SECONDS) == MAX_RELATIVE_SECONDS
    assert expiry(MAX_RELATIVE_SECONDS + 1) > 1_700_000_000


@pytest.mark.parametrize(
    ("url", "seconds"),
    [
        ("redis://127.0.0.1:1/0", 0.25),
        ("redis://127.0.0.1:1/0?timeout=2", 2),
        ("redis://127.0.0.1:1?db=3&timeout=0.5", 0.5),
    ],
)
def test_the_deadline_may_stand_in_the_url(url: str, seconds: float) -> None:
    store = RedisStore(url)
    assert store._client._failures.timeout == seconds
    assert "timeout" not in store._client._address.url


def test_memcached_takes_a_deadline_and_a_skew_in_its_url() -> None:
    store = MemcachedStore("memcached://127.0.0.1:1,127.0.0.1:2?timeout=2&skew=3")
    assert (store._failures.timeout, store._conversations._states._skew) == (2, 3_000_000)
    assert repr(store) == "MemcachedStore('memcached://127.0.0.1:1,127.0.0.1:2')"


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1?timeout=soon", "memcached://127.0.0.1?skew="])
def test_a_deadline_that_is_no_number_is_an_error(url: str) -> None:
    with pytest.raises(StoreURLError, match="not a number of seconds"):
        open_store(url)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1?timeout=0", "memcached://127.0.0.1?timeout=99"])
def test_a_deadline_that_is_none_is_an_error(url: str) -> None:
    with pytest.raises(OptionError, match="timeout must be"):
        open_store(url)


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("redis://host:7/1?protocol=3", "redis://host:7/1"),
        ("unix:///run/redis.sock?db=2&protocol=3&client_name=a%26b", "unix:///run/redis.sock?db=2&client_name=a%26b"),
        ("rediss://user:secret@host/0", "rediss://host/0"),
    ],
)
def test_an_address_may_be_spoken_to_in_resp2(url: str, plain: str) -> None:
    assert read_address(url).in_resp2().url == plain


def test_so_may_sentinels() -> None:
    address = read_address("rediss+sentinel://a,b/main/3?protocol=3")
    assert dict(address.in_resp2().options) == {"ssl": True, "db": 3}
