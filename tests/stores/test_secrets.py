"""A password in any form of URL never shows: not in errors, reprs, logs, tools, or causes in a traceback."""

from __future__ import annotations

import json
import logging
import traceback
from pathlib import Path

import pytest

from ratelimit_kit import Limiter, MemcachedStore, Policy, RedisStore, Rule
from ratelimit_kit.cli import main
from ratelimit_kit.errors import RateLimitKitError, StoreURLError
from ratelimit_kit.stores import open_store
from ratelimit_kit.stores.urls import redacted

SECRET = ["s3cret", "w0rd"]

SCHEMES = ["redis", "rediss", "valkey", "redis+sentinel", "redis+cluster", "rediss+sentinel", "memcached", "reddis"]

LOGINS = [
    *(f":s3cret{mark}w0rd@127.0.0.1:1/0" for mark in "/#?@:,[]% +&="),
    *(f"user:s3cret{mark}w0rd@127.0.0.1:1/site" for mark in "/#?@"),
    *(f"s3cret{mark}w0rd@127.0.0.1:1" for mark in ("", "/", "#", "?", "@")),
    *(f"s3cret{mark}w0rd" for mark in ("?", "#")),
    ":s3cret",
    "user:s3cret",
    "user:s3cret/0",
    "s3cret:w0rd,127.0.0.1/site",
    "user:1?w0rd=s3cret@127.0.0.1:1/0",
    "127.0.0.1:1/site?sentinel_password=s3cret@w0rd",
    "127.0.0.1:1/0?password=s3cret",
    "127.0.0.1:1/0?s3cret",
    "[s3cret@127.0.0.1:1/0",
    "user:s3cret@[::1/0",
    "user:s3cret@127.0.0.1:1/0?timeout=w0rd@",
    ":s3cret@127.0.0.1:1/zero",
    "s3cret%2fw0rd@127.0.0.1:1/0",
]


def shows(text: str) -> bool:
    return any(part in text for part in SECRET)


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_error_and_no_representation_shows_a_password(scheme: str, login: str) -> None:
    url = f"{scheme}://{login}"
    plain = (
        login in {f"s3cret{mark}w0rd" for mark in "?#"} or login == "s3cret:w0rd,127.0.0.1/site"
    )  # these look like hosts
    assert plain or not shows(redacted(url))
    try:
        store = open_store(url)
    except RateLimitKitError as error:
        assert plain or not shows("".join(traceback.format_exception(error)))
        assert error.__cause__ is None
        assert error.rlk == "RLK104"
    else:
        assert not shows(repr(store))
        assert not shows(str(vars(Limiter("1/s", store=store))))


@pytest.mark.parametrize("mark", ["/", "#", "?"])
@pytest.mark.parametrize("scheme", ["redis", "redis+sentinel", "redis+cluster"])
def test_a_password_that_ends_its_url_is_told_to_be_encoded(scheme: str, mark: str) -> None:
    with pytest.raises(StoreURLError, match="percent-encode"):
        open_store(f"{scheme}://:s3cret{mark}w0rd@127.0.0.1:1/0")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:s3cret@host:6379/0", "redis://***@host:6379/0"),
        ("redis://s3cret@host:6379/0?protocol=3", "redis://***@host:6379/0?..."),
        ("redis://:p@s3cret@host", "redis://***@host"),
        ("redis+sentinel://u:p@h1:1,[::1]:2/site", "redis+sentinel://***@h1:1,[::1]:2/site"),
        ("redis+cluster://h1:1,[::1]:2", "redis+cluster://h1:1,[::1]:2"),
        ("redis://host:s3cret", "redis://***"),
        ("redis://h/0?x=s3cret@w0rd", "redis://***"),
        ("localhost:6379", "localhost:6379"),
        ("user:s3cret@localhost", "localhost"),
        ("redis:s3cret", "redis:***"),
    ],
)
def test_what_a_url_is_shown_as(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_a_store_given_as_something_else_is_named_by_its_type_only() -> None:
    for wrong in ({"host": "h", "password": "s3cret"}, b"redis://:s3cret@h", ["redis://:s3cret@h"]):
        with pytest.raises(StoreURLError) as caught:
            open_store(wrong)  # type: ignore[arg-type]
        assert not shows(str(caught.value))
        for kind in (RedisStore, MemcachedStore):
            with pytest.raises(StoreURLError) as caught:
                kind(wrong)  # type: ignore[arg-type]
            assert not shows(str(caught.value))


@pytest.mark.parametrize("url", ["redis://user:s3cret@127.0.0.1:1/0", "redis://:s3cret/w0rd@127.0.0.1:1/0"])
def test_neither_tools_nor_logs_show_a_password(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "ratelimit.toml"
    file.write_text(f'store = {json.dumps(url)}\n[[rules]]\nlimits = "5/minute"\n')
    for words in (
        ["check", str(file)],
        ["doctor", str(file)],
        ["doctor", "--store", url],
        ["inspect", "k", "--store", url],
    ):
        main(words)
        main([*words, "--json"])
    with caplog.at_level(logging.DEBUG):
        try:
            Policy(Rule("5/minute"), store=url, start_without_store=True).start()
        except StoreURLError as error:
            assert not shows("".join(traceback.format_exception(error)))
    printed = capsys.readouterr()
    assert not shows(printed.out + printed.err + caplog.text)
