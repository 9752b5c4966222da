"""What clients and proxies may send, under every setting, and the resulting key."""

from __future__ import annotations

from typing import Any

import pytest

from ratelimit_kit.errors import OptionError
from ratelimit_kit.web.identity.address import ClientAddress
from ratelimit_kit.web.identity.forwarded import HOPS, forwarded
from tests.web.identity.test_address import request

PEER = "10.1.1.1"
NETWORK = {"trusted_proxies": ["10.0.0.0/8"]}
ONE_HOP = {"trusted_proxies": 1}
TWO_HOPS = {"trusted_proxies": 2}
FORWARDED = {**NETWORK, "client_header": "Forwarded"}
EDGE = {**NETWORK, "client_header": "CF-Connecting-IP"}
NOBODY: dict[str, Any] = {}

XFF, FWD, CF, REAL = "x-forwarded-for", "forwarded", "cf-connecting-ip", "x-real-ip"

TABLE: list[tuple[str, dict[str, Any], str | None, dict[str, str], str]] = [
    ("nobody is trusted", NOBODY, PEER, {XFF: "6.6.6.6"}, PEER),
    ("nobody is trusted, nor an edge", NOBODY, PEER, {CF: "6.6.6.6", REAL: "6.6.6.6", FWD: "for=6.6.6.6"}, PEER),
    ("a client that is no proxy", NETWORK, "203.0.113.9", {XFF: "6.6.6.6"}, "203.0.113.9"),
    ("a client that claims to be a proxy", NETWORK, "203.0.113.9", {XFF: "10.0.0.1"}, "203.0.113.9"),
    ("one proxy", NETWORK, PEER, {XFF: "203.0.113.9"}, "203.0.113.9"),
    ("a forged first item", NETWORK, PEER, {XFF: "6.6.6.6, 203.0.113.9"}, "203.0.113.9"),
    ("a forged chain of proxies", NETWORK, PEER, {XFF: "6.6.6.6, 10.9.9.9, 203.0.113.9"}, "203.0.113.9"),
    ("rubbish before the truth", NETWORK, PEER, {XFF: "<script>, , 203.0.113.9"}, "203.0.113.9"),
    ("rubbish at the end", NETWORK, PEER, {XFF: "203.0.113.9, <script>"}, PEER),
    ("an empty field", NETWORK, PEER, {XFF: ""}, PEER),
    ("no field", NETWORK, PEER, {}, PEER),
    ("the field that is not read", NETWORK, PEER, {FWD: "for=6.6.6.6", REAL: "6.6.6.6"}, PEER),
    ("a port for each connection", NETWORK, PEER, {XFF: "203.0.113.9:5001"}, "203.0.113.9"),
    ("a host name", NETWORK, PEER, {XFF: "evil.example.org"}, PEER),
    ("a number", NETWORK, PEER, {XFF: "3405803785"}, PEER),
    ("octal", NETWORK, PEER, {XFF: "0313.0.113.9"}, PEER),
    ("a mapped address", NETWORK, "::ffff:10.1.1.1", {XFF: "::ffff:203.0.113.9"}, "203.0.113.9"),
    ("another address of one network", NETWORK, PEER, {XFF: "2001:db8:1:2:dead::1"}, "2001:db8:1:2::/64"),
    ("too many items", NETWORK, PEER, {XFF: ", ".join(["6.6.6.6"] * 5 + ["10.2.2.2"] * HOPS)}, "10.2.2.2"),
    ("one hop", ONE_HOP, PEER, {XFF: "6.6.6.6, 203.0.113.9"}, "203.0.113.9"),
    ("one hop, rubbish", ONE_HOP, PEER, {XFF: "203.0.113.9, unknown"}, PEER),
    ("two hops", TWO_HOPS, PEER, {XFF: "6.6.6.6, 203.0.113.9, 10.2.2.2"}, "203.0.113.9"),
    ("two hops, one bypassed", TWO_HOPS, PEER, {XFF: "203.0.113.9"}, PEER),
    ("two hops, both bypassed", TWO_HOPS, "203.0.113.9", {}, "203.0.113.9"),
    ("Forwarded", FORWARDED, PEER, {FWD: "for=203.0.113.9;proto=https"}, "203.0.113.9"),
    ("Forwarded, other field forged", FORWARDED, PEER, {FWD: "for=203.0.113.9", XFF: "6.6.6.6"}, "203.0.113.9"),
    ("Forwarded, forged first", FORWARDED, PEER, {FWD: "for=6.6.6.6, for=203.0.113.9"}, "203.0.113.9"),
    ("Forwarded, IPv6 with a port", FORWARDED, PEER, {FWD: 'For="[2001:db8:1:2::7]:4711"'}, "2001:db8:1:2::/64"),
    ("Forwarded, obfuscated", FORWARDED, PEER, {FWD: "for=203.0.113.9, for=_hidden"}, PEER),
    ("Forwarded, unknown", FORWARDED, PEER, {FWD: "for=unknown"}, PEER),
    ("Forwarded, no for", FORWARDED, PEER, {FWD: "for=6.6.6.6, by=10.1.1.1"}, PEER),
    ("Forwarded, a comma in quotes", FORWARDED, PEER, {FWD: 'for="6.6.6.6, for=7.7.7.7", for=203.0.113.9'}, "203.0.113.9"),
    ("Forwarded, a quote left open", FORWARDED, PEER, {FWD: 'for=6.6.6.6, for=", for="[2001:db8::9]:80"'}, "2001:db8::/64"),
    ("Forwarded, a quote left open before plain", FORWARDED, PEER, {FWD: 'for=6.6.6.6;x=", for=203.0.113.9'}, "203.0.113.9"),
    ("an edge", EDGE, PEER, {CF: "203.0.113.9"}, "203.0.113.9"),
    ("an edge, from elsewhere", EDGE, "203.0.113.9", {CF: "6.6.6.6"}, "203.0.113.9"),
    ("an edge, two values", EDGE, PEER, {CF: "6.6.6.6, 203.0.113.9"}, PEER),
    ("an edge, other fields forged", EDGE, PEER, {XFF: "6.6.6.6", REAL: "6.6.6.6"}, PEER),
    ("a UNIX socket that is not trusted", NETWORK, None, {XFF: "6.6.6.6"}, "unknown"),
    ("a UNIX socket that is", {"trusted_proxies": ["unix"]}, None, {XFF: "6.6.6.6, 203.0.113.9"}, "203.0.113.9"),
    ("a server that wrote text for a peer", NETWORK, "unknown", {XFF: "6.6.6.6"}, "unknown"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "peer", "fields", "key"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_a_client_cannot_choose_its_address(
    options: dict[str, Any], peer: str | None, fields: dict[str, str], key: str
) -> None:
    assert ClientAddress(**options).key(request(peer=peer, fields=fields)) == key


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"trusted_proxies": ["0.0.0.0/1", "128.0.0.0/1"]}, "let every client choose"),
        ({"trusted_proxies": ["::/1", "8000::/1"]}, "let every client choose"),
        ({"trusted_proxies": 1, "client_header": "cf-connecting-ip"}, "list their networks"),
        ({"client_header": "x forwarded for"}, "not a field name"),
        ({"client_header": None}, "not a field name"),
        ({"trusted_proxies": -1}, "number of proxies"),
        ({"trusted_proxies": HOPS + 1}, "number of proxies"),
    ],
)
def test_settings_that_would_trust_too_much_are_errors(options: dict[str, Any], hint: str) -> None:
    with pytest.raises(OptionError, match=hint):
        ClientAddress(**options)


@pytest.mark.parametrize(
    ("field", "nodes"),
    [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", ["192.0.2.60"]),
        ('for="_mdn"', ["_mdn"]),
        ('For="[2001:db8:cafe::17]:4711"', ["[2001:db8:cafe::17]:4711"]),
        ("for=192.0.2.43, for=198.51.100.17", ["192.0.2.43", "198.51.100.17"]),
        (r'for="a\"b\\c"', [r'a"b\c']),
        ("proto=https", [""]),
        ("for=192.0.2.43 nonsense", [""]),
        ("", []),
    ],
)
def test_forwarded_is_read_as_rfc_7239_writes_it(field: str, nodes: list[str]) -> None:
    assert forwarded(field) == nodes
