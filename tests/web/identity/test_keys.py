"""Cookies, path values and segments as keys."""

from __future__ import annotations

from typing import Any

import pytest

from ratelimit_kit.errors import IdentityError
from ratelimit_kit.web.identity.address import ClientAddress
from ratelimit_kit.web.identity.keys import aidentify, hashed, identify, read_key
from tests.web.identity.test_address import request


@pytest.mark.parametrize(
    ("key", "options", "identity"),
    [
        ("cookie:sid", {"fields": {"cookie": "a=1; sid=s3cret; other=sid"}}, f"cookie:sid={hashed('s3cret')}"),
        ("cookie:sid", {"fields": {"cookie": "SID=s3cret; broken"}}, "ip:192.0.2.7"),
        ("path:1", {"path": "/acme/users"}, "path:1=acme"),
        ("path:2", {"path": "/acme/users"}, "path:2=users"),
        ("path:3", {"path": "/acme/users"}, "path:3="),
        ("path:tenant", {"path_params": lambda: {"tenant": "acme"}}, "path:tenant=acme"),
        (["ip", "path:tenant"], {"path_params": lambda: {"tenant": 7}}, "ip:192.0.2.7|path:tenant=7"),
    ],
)
async def test_cookies_and_paths_are_keys(key: Any, options: Any, identity: str) -> None:
    parts = read_key(key)
    assert identify(parts, request(**options), ClientAddress()) == [identity]
    assert await aidentify(parts, request(**options), ClientAddress()) == [identity]


@pytest.mark.parametrize("options", [{}, {"path_params": lambda: None}, {"path_params": lambda: {"other": 1}}])
def test_a_path_value_that_routing_has_not_found_is_an_error(options: Any) -> None:
    with pytest.raises(IdentityError, match=r'key="path:tenant" finds no value.*number of the segment'):
        identify(read_key("path:tenant"), request(**options), ClientAddress())
