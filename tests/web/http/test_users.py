"""Signed-in users: what distinguishes them, and the error for those that nothing distinguishes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.authentication import BaseUser, SimpleUser, UnauthenticatedUser

from ratelimit_kit import Policy, Rule
from ratelimit_kit.errors import IdentityError
from ratelimit_kit.web.http.users import user_text
from tests import integrations


class Member(BaseUser):
    is_authenticated = True
    identity = "42"


class Shown:
    def __init__(self, **values: Any) -> None:
        vars(self).update(values)


@dataclass
class Session:
    account: str
    seen: int


NUMBER = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("user", "text"),
    [
        (None, None),
        (UnauthenticatedUser(), None),
        (Shown(is_authenticated=False, pk=1), None),
        (Shown(pk=1, id=2, username="a"), "1"),
        (Shown(id=2, username="a"), "2"),
        (Shown(pk=None, id=0), "0"),
        (Shown(pk=NUMBER), str(NUMBER)),
        (SimpleUser("ann"), "ann"),
        (Member(), "42"),
        ("ann", "ann"),
        (42, "42"),
    ],
)
def test_a_user_is_told_by_what_does_not_change(user: Any, text: str | None) -> None:
    assert user_text(user) == text


@pytest.mark.parametrize(
    "user",
    [
        {"sub": "42", "iat": 1},
        Session("42", 1),
        Shown(name="ann"),
        Shown(pk=None),
        Shown(id=lambda: 42),
        Shown(pk=Shown()),
        True,
        SimpleNamespace(is_authenticated=True, number=1),
    ],
)
def test_nothing_else_is_an_identity(user: Any) -> None:
    with pytest.raises(IdentityError, match=r'key="user" cannot tell one .* from another: give the user a pk'):
        user_text(user)


def test_one_user_is_one_counter_under_asgi_and_an_unclear_one_is_an_error() -> None:
    with integrations.site("asgi", Rule("2/minute", key="user")) as site:
        assert [site.ask(user=Member()).status for _ in range(3)] == [200, 200, 429]
        assert site.ask(user=SimpleUser("ann")).status == 200
        with pytest.raises(IdentityError):
            site.ask(user={"sub": "42"})


def test_a_user_without_a_key_in_django_is_an_error() -> None:
    site = Policy(Rule("1/minute", key="user"), store="memory://", workers=1)
    from django.test import RequestFactory

    from ratelimit_kit.django.site import translate

    asked = RequestFactory().get("/")
    asked.user = Shown(is_authenticated=True, pk=None)
    with pytest.raises(IdentityError):
        site.check(translate(asked))
