"""What clients send is read in linear time, and only up to a length that no honest client exceeds."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import pytest

from ratelimit_kit import parse
from ratelimit_kit.cli.simulate.access_log import read_line
from ratelimit_kit.errors import QuotaError
from ratelimit_kit.web.http.cookies import cookie_values, read_cookies
from ratelimit_kit.web.http.spellings import canonical
from ratelimit_kit.web.identity.address import ClientAddress, parse_address
from ratelimit_kit.web.identity.forwarded import HOPS, comma_separated, forwarded
from ratelimit_kit.web.identity.keys import credentials, identify, read_key
from ratelimit_kit.web.response.denial import preferred
from ratelimit_kit.web.response.headers import is_shared
from tests.web.identity.test_address import request


def refused(text: str) -> None:
    with pytest.raises(QuotaError):
        parse(text)


def addressed(field: str, text: str) -> None:
    ClientAddress(["10.0.0.0/8"], client_header=field).key(request(peer="10.1.1.1", fields={field: text}))


def by(key: str, field: str, text: str) -> None:
    identify(read_key(key), request(fields={field: text}), ClientAddress())


READERS: dict[str, Callable[[str], Any]] = {
    "forwarded": forwarded,
    "x-forwarded-for": comma_separated,
    "address": parse_address,
    "Forwarded behind a proxy": lambda text: addressed("forwarded", text),
    "X-Forwarded-For behind a proxy": lambda text: addressed("x-forwarded-for", text),
    "accept": preferred,
    "cookies": read_cookies,
    "a cookie": lambda text: cookie_values(text, "a", loosely=True),
    "a cookie as key": lambda text: by("cookie:a", "cookie", text),
    "credentials": credentials,
    "a field as key": lambda text: by("header:authorization", "authorization", text),
    "path": canonical,
    "cache-control": lambda text: is_shared({"cache-control": text}),
    "limits": refused,
    "access log": lambda text: read_line(1, text),
    "access log, a request": lambda text: read_line(
        1, f'1.2.3.4 - - [10/Oct/2025:13:55:36 -0700] "{text}" 200 1 "{text}'
    ),
}

HOSTILE = [
    '"',
    '\\"',
    '"\\',
    "a=",
    'a="',
    'a="\\',
    'a="\\ ',
    ";",
    ",",
    ", ",
    "for=,",
    'for="a',
    "for=1.2.3.4;",
    "a ",
    " ",
    "\t",
    "a\t=",
    "/",
    "/.",
    "/..",
    "%",
    "%2f",
    "%25",
    ":",
    "[",
    "1.",
    "9",
    "1/s;",
    "1/",
    "q=",
    "a;q=1,",
    "*/*,",
    "Basic ",
    "=",
    "max-age=1,",
    'x="',
    "\\",
    "(",
    "|",
]


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_reading_takes_time_in_proportion(reader: str) -> None:
    """Eight times the length takes at most ten times as long, or no time; with 64 times, a client blocks a worker."""
    read = READERS[reader]
    for pattern in HOSTILE:
        for before, after in (("", ""), ('"', ""), ("a=", ', for=1.2.3.4"'), (" ", "x")):
            small, large = (before + pattern * (size // len(pattern)) + after for size in (8_000, 64_000))
            for _ in range(5):  # a busy machine must not look like a slow parser
                short, long = (min(_seconds(read, text) for _ in range(3)) for text in (small, large))
                if long <= max(10 * short, 0.02):
                    break
            else:
                pytest.fail(
                    f"{pattern!r} after {before!r}: {short * 1000:.2f} ms for 8 kB, {long * 1000:.2f} ms for 64 kB"
                )


def _seconds(read: Callable[[str], Any], text: str) -> float:
    begun = perf_counter()
    read(text)
    return perf_counter() - begun


def test_no_more_than_an_honest_length_is_read() -> None:
    assert len(forwarded("for=1.2.3.4, " * 10_000)) <= HOPS
    assert len(comma_separated("1.2.3.4, " * 10_000)) <= HOPS
    assert parse_address("1.2.3.4" + " " * 200) is None
    with pytest.raises(QuotaError, match="the text of a limit may have"):
        parse("1/s;" * 1000)
    with pytest.raises(QuotaError, match="is above") as caught:
        parse("9" * 500 + "/s")
    assert len(str(caught.value)) < 2000


def test_no_client_fills_the_memory_of_a_rule() -> None:
    from ratelimit_kit import MemoryStore, Policy, Rule

    site = Policy(Rule("9/minute", key=lambda one: one.headers["x"]), store=MemoryStore(), workers=1)
    for number in range(5):
        site.check(request(fields={"x": f"{number}" * 10_000}))
    site.check(request(fields={"x": "short"}))
    assert list(site.rules[0]._known) == ["key:short"]
    texts = [charge for one in site.rules for charge in _keys(site, "y" * 10_000)]
    assert all(len(text) < 100 for text in texts)
    peers = Policy(Rule("9/minute"), store=MemoryStore(), workers=1)
    peers.check(request(peer="x" * 10_000))
    assert list(peers.rules[0]._known) == ["ip:unknown"]


def _keys(site: Any, text: str) -> list[str]:
    claim = site.rules[0].charges(request(fields={"x": text}), ClientAddress())
    return [charge.key for charge in claim.charges]


def test_long_keys_of_a_limiter_are_hashed_in_every_store() -> None:
    from ratelimit_kit import Limiter

    limiter = Limiter("2/minute", name="l")
    long, other = "x" * 300, "x" * 301
    assert [bool(limiter.hit(long)) for _ in range(3)] == [True, True, False]
    assert limiter.hit(other)
    assert all(len(charge.key) < 100 for charge in limiter._charges(long, 1))
    limiter.reset(long)
    assert limiter.hit(long)


def test_quotes_that_a_client_leaves_open_hide_no_proxy() -> None:
    for opened in ('"', 'for="', 'for="\\', "for=\\", 'a="b", for="'):
        assert forwarded(f"{opened}, for=203.0.113.9")[-1] == "203.0.113.9"
        assert forwarded(f'{opened}, for="[2001:db8::9]:80"')[-1] == "[2001:db8::9]:80"
