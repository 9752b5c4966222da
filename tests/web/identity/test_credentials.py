"""One key, token or session, however a client writes it: repeated, padded, quoted, escaped, on several lines."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from ratelimit_kit import Policy, Rule
from ratelimit_kit.web.http.asgi import request_of
from ratelimit_kit.web.http.cookies import cookie_values, read_cookies
from ratelimit_kit.web.http.messages import Request
from ratelimit_kit.web.identity.address import ClientAddress
from ratelimit_kit.web.identity.keys import aidentify, credentials, identify, read_key
from tests import integrations
from tests.integrations import Fields

BASIC = b64encode(b"user:password").decode()


def sent(*fields: tuple[str, str]) -> Request:
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in fields]
    return request_of({"method": "GET", "path": "/", "headers": headers, "client": ("203.0.113.9", 1)})


async def identities(key: Any, *fields: tuple[str, str]) -> list[str]:
    parts, address = read_key(key), ClientAddress()
    found = identify(parts, sent(*fields), address)
    assert await aidentify(parts, sent(*fields), address) == found
    return list(found)


@pytest.mark.parametrize(
    ("key", "plain", "others"),
    [
        (
            "header:x-api-key",
            [("X-API-Key", "valid")],
            [
                [("x-api-key", " valid\t")],
                [("X-Api-Key", "valid"), ("X-API-KEY", "valid ")],
                [("X-Api-Key", "valid"), ("X-API-KEY", "")],
            ],
        ),
        (
            "header:authorization",
            [("Authorization", "Bearer valid")],
            [
                [("Authorization", "bearer valid")],
                [("Authorization", "BEARER   valid ")],
                [("Authorization", "Bearer\tvalid")],
                [("Authorization", "Bearer\r\n valid")],
                [("Authorization", "Bearer \xa0valid\x1f")],
            ],
        ),
        (
            "header:authorization",
            [("Authorization", f"Basic {BASIC}")],
            [
                [("Authorization", f"basic {BASIC[:4]}*{BASIC[4:]}")],
                [("Authorization", f"basic {BASIC[:4]}\xe9{BASIC[4:]}")],
                [("Authorization", f"Basic  {BASIC}")],
            ],
        ),
        (
            "cookie:session",
            [("Cookie", "session=abcdef")],
            [
                [("Cookie", 'session="abcdef"')],
                [("Cookie", r'session="\141bcde\146"')],
                [("Cookie", r'session="abc\def"')],
                [("Cookie", "session=%61bcdef")],
                [("Cookie", " session = abcdef ;x=1")],
                [("Cookie", "x=1"), ("Cookie", "session=abcdef")],
                [("Cookie", "session=abcdef"), ("Cookie", "x=1")],
                [("Cookie", "session=abcdef; session=abcdef")],
                [("Cookie", "Session=other; session=abcdef")],
                [("Cookie", "session=\u3000abcdef\xa0".encode().decode("latin-1"))],
            ],
        ),
    ],
)
async def test_one_value_is_one_client(key: str, plain: Fields, others: list[Fields]) -> None:
    expected = await identities(key, *plain)
    assert len(expected) == 1
    assert not expected[0].startswith("ip:")
    for fields in others:
        assert await identities(key, *fields) == expected, fields


@pytest.mark.parametrize(
    ("key", "fields", "number"),
    [
        ("header:x-api-key", [("x-api-key", "valid"), ("x-api-key", "b")], 2),
        ("header:x-api-key", [("x-api-key", "valid"), *(("x-api-key", letter) for letter in "bcd")], 4),
        ("cookie:session", [("cookie", "session=a; session=valid")], 2),
        (["header:x-api-key", "ip"], [("x-api-key", "valid"), ("x-api-key", "b")], 2),
        (["header:x-api-key", "cookie:a"], [("x-api-key", "valid"), ("x-api-key", "b"), ("cookie", "a=1; a=2")], 4),
    ],
)
async def test_several_values_are_all_counted(key: Any, fields: Fields, number: int) -> None:
    found = await identities(key, *fields)
    assert len(found) == number
    word = key if isinstance(key, str) else key[0]
    (valid,) = await identities(
        word, (word.partition(":")[2], "valid") if "header" in word else ("cookie", "session=valid")
    )
    assert any(valid in identity for identity in found)


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("header:x-api-key", [("x-api-key", str(number)) for number in range(5)]),
        ("cookie:session", [("cookie", "; ".join(f"session={number}" for number in range(5)))]),
        ("cookie:session", [("cookie", "x" * 20_000 + "; session=abcdef")]),
        ("cookie:session", [("cookie", "session=")]),
        ("header:x-api-key", [("x-api-key", " ")]),
        ("header:authorization", []),
    ],
)
async def test_what_is_too_much_or_nothing_is_counted_by_the_address(key: str, fields: Fields) -> None:
    assert await identities(key, *fields) == ["ip:203.0.113.9"]


async def test_too_many_combinations_are_counted_by_the_address() -> None:
    fields = [("x-api-key", "a"), ("x-api-key", "b"), ("x-api-key", "c"), ("cookie", "a=1; a=2")]
    assert await identities(["header:x-api-key", "cookie:a", "global"], *fields) == [
        "ip:203.0.113.9|ip:203.0.113.9|global"
    ]


def test_credentials_have_one_form() -> None:
    assert credentials("Basic " + BASIC) == "basic user:password"
    assert credentials("Basic not*base64:a") == "basic not*base64:a"
    assert credentials("Token") == "token "
    assert credentials("Bearer Valid") != credentials("Bearer valid")


@pytest.mark.parametrize("name", integrations.MAKERS)
@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("header:x-api-key", lambda n: [("x-api-key", "valid"), ("x-api-key", str(n))]),
        ("header:authorization", lambda n: [("authorization", "Bearer" + " " * (n + 1) + "valid")]),
        ("header:authorization", lambda n: [("authorization", "bEARER"[: n % 6] + "Bearer"[n % 6 :] + " valid")]),
        ("cookie:session", lambda n: [("cookie", f"session={n}; session=valid")]),
        ("cookie:session", lambda n: [("cookie", 'session="' + "valid".replace("v", f"\\{ord('v'):03o}") + '"')]),
    ],
    ids=["a second line", "blanks", "the scheme's case", "a second cookie", "octal"],
)
def test_a_client_has_its_limit_in_every_integration(name: str, key: str, fields: Any) -> None:
    """Under WSGI, a field that was sent twice becomes one text, which no framework accepts as the valid key."""
    with integrations.site(name, Rule("3/minute", key=key, name="api")) as site:
        answers = [site.ask(fields=fields(number)) for number in range(8)]
        joined = not site.asgi and [one for one in fields(0) if one[0] == "x-api-key"][1:]
        assert [answer.status for answer in answers].count(200) == (8 if joined else 3)
        if site.asgi and key == "header:x-api-key":
            assert answers[3].fields["ratelimit"].count('"api"') == 1
            assert answers[0].fields["ratelimit"].startswith('"api";r=2')


def test_the_second_value_of_another_client_uses_up_only_that_clients_quota() -> None:
    site = Policy(Rule("1/minute", key="header:x-api-key"), store="memory://", workers=1)
    assert not site.check(sent(("x-api-key", "a"), ("x-api-key", "b"))).denied
    assert site.check(sent(("x-api-key", "b"))).denied
    assert not site.check(sent(("x-api-key", "c"))).denied


@pytest.mark.parametrize(
    ("text", "cookies"),
    [
        ("a=1; b=2; a=3", {"a": "1", "b": "2"}),
        (' a = "x\\"y" ;flag; =empty', {"a": 'x"y', "": "empty"}),
        ("", {}),
        ('a="', {"a": '"'}),
    ],
)
def test_cookies_are_read_as_frameworks_do(text: str, cookies: dict[str, str]) -> None:
    assert read_cookies(text) == cookies
    assert sent(("cookie", text)).cookies == cookies


def test_a_name_is_no_pattern() -> None:
    assert cookie_values("a.b=1; axb=2", "a.b", loosely=True) == ["1"]


LOOSE: list[tuple[str, list[str]]] = [
    ("session=valid x=1", ["valid x=1", "valid"]),
    ("session=valid,x=1", ["valid,x=1", "valid"]),
    ("session=valid[0", ["valid[0", "valid"]),
    (r'session= session="vali\144"', [r'session="vali\144"', "session=", "valid"]),
    ("x=1 session=valid", ["valid"]),
    ("x=1\x01session=valid\x01y", ["valid"]),
    ("session=valid\xe9", ["valid\xe9", "valid"]),
]


@pytest.mark.parametrize(("text", "values"), LOOSE)
def test_bottle_and_pyramid_end_a_cookie_elsewhere(text: str, values: list[str]) -> None:
    assert cookie_values(text, "session", loosely=True) == values


def test_a_cookie_of_text_with_commas_is_one_value_where_the_framework_is_known() -> None:
    """Otherwise all clients with the same beginning would share a counter."""
    text = 'state={"id": 5, "a": [1]}'
    assert cookie_values(text, "state", loosely=False) == ['{"id": 5, "a": [1]}']
