"""Path patterns: an exact path, `"/prefix/*"`, or a compiled regular expression that is searched for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ratelimit_kit.errors import OptionError

Pattern = str | re.Pattern[str]


def read_paths(option: str, patterns: Iterable[Pattern]) -> Callable[[str], bool]:
    """A test for decoded paths: true when one of the patterns matches. `option` names them in errors."""
    if isinstance(patterns, str) or not isinstance(patterns, Iterable):
        raise OptionError(f"{option}={patterns!r} is no list of paths: write {option}=[{patterns!r}]")
    exact: set[str] = set()
    prefixes: list[str] = []
    expressions: list[re.Pattern[str]] = []
    for pattern in patterns:
        if isinstance(pattern, re.Pattern):
            expressions.append(pattern)
        elif not isinstance(pattern, str) or not pattern.startswith("/") or "*" in pattern[:-1]:
            raise _unreadable(option, pattern)
        elif pattern.endswith("/*"):
            prefixes.append(pattern[:-1])
            exact.add(pattern[:-2])
        elif pattern.endswith("*"):
            raise _unreadable(option, pattern)
        else:
            exact.add(pattern)
    starts = tuple(prefixes)

    def matches(path: str) -> bool:
        return path in exact or path.startswith(starts) or any(expression.search(path) for expression in expressions)

    return matches


def _unreadable(option: str, pattern: object) -> OptionError:
    return OptionError(
        f'{option}: {pattern!r} is no path pattern: write "/login", "/api/*", or a compiled regular expression'
    )
