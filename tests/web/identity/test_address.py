from __future__ import annotations

from typing import Any

import pytest

from ratelimit_kit.errors import IdentityError, OptionError
from ratelimit_kit.web.http.messages import Headers, Request
from ratelimit_kit.web.identity.address import ClientAddress, parse_address
from ratelimit_kit.web.identity.keys import aidentify, hashed, identify, read_key

PROXIES = ["10.0.0.0/8", "2001:db8:aaaa::/48"]


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "proxies", "key"),
    [
        ("198.51.100.7", "", [], "198.51.100.7"),
        ("198.51.100.7", "203.0.113.9", [], "198.51.100.7"),
        ("198.51.100.7", "203.0.113.9", PROXIES, "198.51.100.7"),
        ("10.1.1.1", "203.0.113.9", PROXIES, "203.0.113.9"),
        ("10.1.1.1", "", PROXIES, "10.1.1.1"),
        ("10.1.1.1", "1.1.1.1, 203.0.113.9", PROXIES, "203.0.113.9"),
        ("10.1.1.1", "1.1.1.1, 203.0.113.9, 10.2.2.2", PROXIES, "203.0.113.9"),
        ("10.1.1.1", "10.3.3.3, 10.2.2.2", PROXIES, "10.3.3.3"),
        ("10.1.1.1", "203.0.113.9, unknown", PROXIES, "10.1.1.1"),
        ("10.1.1.1", "203.0.113.9, <script>, 10.2.2.2", PROXIES, "10.2.2.2"),
        ("10.1.1.1", "203.0.113.9:4711", PROXIES, "203.0.113.9"),
        ("10.1.1.1", "[2001:db8:1:2::3]:443", PROXIES, "2001:db8:1:2::/64"),
        ("10.1.1.1", "::ffff:203.0.113.9", PROXIES, "203.0.113.9"),
        ("10.1.1.1", "64:ff9b::203.0.113.9", PROXIES, "203.0.113.9"),
        ("10.1.1.1", "[64:ff9b::cb00:7109]:443", PROXIES, "203.0.113.9"),
        ("64:ff9b::10.1.1.1", "203.0.113.9", PROXIES, "203.0.113.9"),
        ("64:ff9b::203.0.113.9", "", [], "203.0.113.9"),
        ("64:ff9b:0:0:0:1:cb00:7109", "", [], "64:ff9b::/64"),
        ("64:ff9b:1::203.0.113.9", "", [], "64:ff9b:1::cb00:7109"),
        ("10.1.1.1", "64:ff9b:1:cb00:71:900::", PROXIES, "64:ff9b:1:cb00:71:900::"),
        ("::ffff:10.1.1.1", "203.0.113.9", PROXIES, "203.0.113.9"),
        ("2001:db8:aaaa::1", "203.0.113.9", PROXIES, "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "", [], "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "", [], "fe80::/64"),
        (None, "", [], "unknown"),
        (None, "203.0.113.9", PROXIES, "unknown"),
        (None, "203.0.113.9", ["unix"], "203.0.113.9"),
        (None, "1.1.1.1, 203.0.113.9", ["unix"], "203.0.113.9"),
        ("not an address", "203.0.113.9", PROXIES, "unknown"),
        ("10.1.1.1", ", ".join(["203.0.113.9"] + ["10.0.0.1"] * 50), PROXIES, "10.0.0.1"),
    ],
)
def test_the_address_is_the_first_that_no_trusted_proxy_has(
    peer: str | None, forwarded_for: str, proxies: list[str], key: str
) -> None:
    fields = {"x-forwarded-for": forwarded_for}
    assert ClientAddress(proxies).key(request(peer=peer, fields=fields)) == key


def test_the_ipv6_prefix_is_an_option() -> None:
    assert ClientAddress(ipv6_prefix=56).key(request(peer="2001:db8:1:2ff::1")) == "2001:db8:1:200::/56"
    assert ClientAddress(ipv6_prefix=128).key(request(peer="2001:db8::1")) == "2001:db8::1"


@pytest.mark.parametrize(
    "text", ["", "unknown", "_hidden", "1.2.3", "1.2.3.4.5", "01.2.3.4", "example.org", "1.2.3.4, 5.6.7.8"]
)
def test_what_is_no_address_is_never_one(text: str) -> None:
    assert parse_address(text) is None


@pytest.mark.parametrize(
    "proxies", ["10.0.0.0/8", ["*"], ["10.0.0.1/8"], ["0.0.0.0/0"], ["::/0"], [8], -1, 33, True, ["proxy.example.org"]]
)
def test_networks_that_cannot_be_trusted_are_errors(proxies: Any) -> None:
    with pytest.raises(OptionError, match="trusted_proxies"):
        ClientAddress(proxies)


@pytest.mark.parametrize("prefix", [0, 31, 129, True, "64"])
def test_the_prefix_is_a_number_of_bits(prefix: Any) -> None:
    with pytest.raises(OptionError, match="ipv6_prefix"):
        ClientAddress(ipv6_prefix=prefix)


def request(**options: Any) -> Request:
    fields = options.pop("fields", {})
    defaults: dict[str, Any] = {
        "method": "GET",
        "path": "/",
        "peer": "192.0.2.7",
        "headers": Headers(fields.items),
        "raw": None,
        "user": lambda: None,
    }
    return Request(**{**defaults, **options})


@pytest.mark.parametrize(
    ("key", "options", "identity"),
    [
        ("ip", {}, "ip:192.0.2.7"),
        ("global", {}, "global"),
        ("user", {"user": lambda: "42"}, "user:42"),
        ("user", {}, "ip:192.0.2.7"),
        ("header:X-Api-Key", {"fields": {"x-api-key": "s3cret"}}, f"header:x-api-key={hashed('s3cret')}"),
        ("header:X-Api-Key", {}, "ip:192.0.2.7"),
        (lambda request: request.path, {"path": "/a"}, "key:/a"),
        (["ip", "global"], {}, "ip:192.0.2.7|global"),
        (["user", lambda _: "a|b"], {"user": lambda: "x|y"}, "user:x%7Cy|key:a%7Cb"),
    ],
)
async def test_a_key_names_who_is_counted(key: Any, options: dict[str, Any], identity: str) -> None:
    parts = read_key(key)
    assert identify(parts, request(**options), ClientAddress()) == [identity]
    assert await aidentify(parts, request(**options), ClientAddress()) == [identity]


async def test_an_async_key_works_in_async_integrations_and_is_an_error_in_others() -> None:
    async def key(_: Request) -> str:
        return "later"

    parts = read_key(key)  # type: ignore[arg-type]
    assert await aidentify(parts, request(), ClientAddress()) == ["key:later"]
    with pytest.raises(IdentityError, match="this integration is synchronous"):
        identify(parts, request(), ClientAddress())


@pytest.mark.parametrize("value", [None, 42, b"text"])
def test_a_key_that_yields_nothing_is_an_error_and_never_no_limit(value: Any) -> None:
    with pytest.raises(IdentityError, match="RLK106"):
        identify(read_key(lambda _: value), request(), ClientAddress())


@pytest.mark.parametrize(
    "key",
    [
        "ipp",
        "header:",
        "header:a b",
        "cookie:",
        "cookie:a b",
        "path:",
        "path:0",
        "path:a/b",
        "paths:2",
        "",
        None,
        7,
        [],
        ["ip", "usr"],
    ],
)
def test_an_unknown_key_is_an_error(key: Any) -> None:
    with pytest.raises(OptionError, match="key="):
        read_key(key)


def test_fields_are_found_in_any_case_and_repeated_ones_joined() -> None:
    headers = Headers(lambda: [("X-Forwarded-For", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2"), ("Accept", "*/*")])
    assert headers["X-FORWARDED-FOR"] == "1.1.1.1, 2.2.2.2"
    assert "accept" in headers
    assert len(headers) == 2
    assert sorted(headers) == ["accept", "x-forwarded-for"]


@pytest.mark.parametrize(
    "proxy", ["::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "64:ff9b::a00:1", "64:ff9b::a00:0/104", "10.0.0.1"]
)
@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1"])
def test_a_proxy_is_trusted_under_every_spelling_of_its_address(proxy: str, peer: str) -> None:
    asked = request(peer=peer, fields={"x-forwarded-for": "203.0.113.9"})
    assert ClientAddress([proxy]).key(asked) == "203.0.113.9"


def test_a_mapped_network_that_is_everything_is_refused_as_such() -> None:
    with pytest.raises(OptionError, match="escape every limit"):
        ClientAddress(["::ffff:0:0/96"])
