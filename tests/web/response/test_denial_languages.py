"""Lazy translations are words: a refusal in the client's language, in every integration."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
from django.utils import translation
from django.utils.translation import gettext_lazy

from ratelimit_kit.errors import OptionError
from ratelimit_kit.web.response.denial import Reply
from tests.integrations import WAYS, limited


class Lazy:
    """A lazy text in the manner of Flask-Babel, Babel and speaklater: what it does not have, its text has."""

    def __init__(self, text: Callable[[], str]) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._text(), name)


DAY = gettext_lazy("Monday")
MANNERS = {"django": DAY, "flask-babel": Lazy(lambda: str(DAY))}


@pytest.fixture(params=WAYS)
def refusal(request: pytest.FixtureRequest) -> Callable[[Any], tuple[int, str, bytes]]:
    """Asks twice under a limit of 1, where a refusal is worded as given; returns the status, the type and the body."""

    def ask(words: Any) -> tuple[int, str, bytes]:
        with (
            limited(request.param, "1/minute", {"denial": lambda _: words}, key="ip") as site,
            translation.override("de"),
        ):
            site.ask()
            answer = site.ask()
        return answer.status, answer.fields["content-type"], answer.body

    return ask


@pytest.mark.parametrize("words", MANNERS.values(), ids=MANNERS)
def test_a_lazy_translation_is_text(refusal: Callable[[Any], Any], words: Any) -> None:
    assert refusal(words) == (429, "text/plain; charset=utf-8", b"Montag")
    assert refusal(Reply(words, "text/html; charset=utf-8")) == (429, "text/html; charset=utf-8", b"Montag")


@pytest.mark.parametrize("words", MANNERS.values(), ids=MANNERS)
def test_lazy_translations_are_text_within_json(refusal: Callable[[Any], Any], words: Any) -> None:
    body = {"error": words, "days": [words, (words,)], "more": MappingProxyType({words: words, "n": 1}), "none": None}
    status, kind, sent = refusal(body)
    assert (status, kind) == (429, "application/json")
    assert json.loads(sent) == {
        "error": "Montag",
        "days": ["Montag", ["Montag"]],
        "more": {"Montag": "Montag", "n": 1},
        "none": None,
    }
    assert json.loads(refusal(Reply(body))[2])["error"] == "Montag"


def test_what_json_cannot_hold_is_an_error_with_a_code(refusal: Callable[[Any], Any]) -> None:
    with pytest.raises(OptionError, match=r"cannot be sent as JSON .* \[RLK103\]"):
        refusal({"at": object()})
