"""Checks of options, in code and in plain data: an unknown one is an error that suggests the nearest known one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from ratelimit_kit.errors import CostError, IdentityError, OptionError, QuotaError

LIKENESS = 0.65
"""How alike (0 to 1) a word and its suggestion must be: a far-fetched one misleads more than the list of all choices."""

_ELSEWHERE = {
    "fail_open": 'on_outage="allow"',
    "fail_closed": 'on_outage="deny"',
    "swallow_errors": 'on_outage="allow"',
    "in_memory_fallback": "fallback=[...]",
    "in_memory_fallback_enabled": 'on_outage="local"',
    "key_func": "'key'",
}
"""What options of other libraries are called here."""

S = TypeVar("S")
P = ParamSpec("P")


def known_options(init: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """Make a constructor raise OptionError, not TypeError, for an unknown keyword."""
    known = options_of(init)

    @wraps(init)
    def checked(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        refuse_unknown(type(self).__name__, kwargs, known)
        init(self, *args, **kwargs)

    return checked


def options_of(init: Callable[..., Any]) -> list[str]:
    """The names that a constructor accepts as keywords."""
    kinds = {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return [name for name, one in inspect.signature(init).parameters.items() if one.kind in kinds and name != "self"]


def refuse_unknown(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise OptionError for the first name in `given` that is not `known`."""
    for name in given:
        if name not in known:
            meant = _ELSEWHERE.get(str(name).lower(), "")
            hint = f"did you mean {meant}?" if meant.partition("=")[0].strip("'") in known else nearest(name, known)
            raise OptionError(f"{what} has no option {name!r}; {hint}")


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Put what an error is about in front of its message, such as the rule of a policy."""
    try:
        yield
    except (OptionError, QuotaError, CostError, IdentityError) as error:
        raise type(error)(f"{what}: {error}") from error


def check_switch(option: str, value: object) -> bool:
    """The value if it is True or False; else raises OptionError."""
    if not isinstance(value, bool):
        raise OptionError(f"{option} must be True or False, got {value!r}")
    return value


def read_digits(text: str) -> int | None:
    """The number that a text of ASCII digits spells; None for other text, and for more digits than any option has."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def alike(word: str, choices: Iterable[str], least: float) -> str | None:
    """The choice most similar to the word, with a similarity (0 to 1) of at least `least`; else None."""
    import difflib  # needed only for errors

    found = difflib.get_close_matches(word, choices, n=1, cutoff=least)
    return found[0] if found else None


def nearest(word: object, choices: Iterable[str], others: Mapping[str, str] | None = None) -> str:
    """Part of a sentence that names the nearest valid spelling, or all choices; `others` are further words for them."""
    options = sorted(choices)
    lower = {**(others or {}), **{option.lower(): option for option in options}}
    close = alike(word.lower(), lower, LIKENESS) if isinstance(word, str) else None
    if close is not None:
        return f"did you mean {lower[close]!r}?"
    return "choose from " + ", ".join(repr(option) for option in options)
