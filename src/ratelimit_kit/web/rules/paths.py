"""Path patterns, and what they match.

Routers accept more spellings of a path than the one that a rule names. A rule is therefore compared with every
spelling, so that it limits at least what the router serves; an exemption only with the plain one, so that it exempts
at most that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from ratelimit_kit.errors import OptionError
from ratelimit_kit.web.http.spellings import canonical

Pattern = str | re.Pattern[str]

_TEMPLATE: Final = re.compile(r"\{[^{}]*\}|<[^<>]*>|(?<=/):[A-Za-z_]\w*")
"""A parameter as frameworks write it in a route: {id}, <int:id> or :id."""


class PathPatterns:
    """The paths that a rule limits: exact paths, prefixes that end in a slash, and regular expressions.

    A path is passed in all its spellings, and matches if one of them does. `option` names the patterns in errors.
    """

    __slots__ = ("exact", "expressions", "prefixes")

    def __init__(self, option: str, patterns: Iterable[Pattern]) -> None:
        exact, prefixes, self.expressions = _read(option, patterns)
        self.exact = exact | {canonical(path) for path in exact}
        self.prefixes = tuple({*prefixes, *(canonical(prefix).rstrip("/") + "/" for prefix in prefixes)})

    def match(self, spellings: Iterable[str]) -> bool:
        """Whether a pattern matches one of the spellings of a path."""
        if not self.exact.isdisjoint(spellings):
            return True
        if not self.prefixes and not self.expressions:
            return False
        return any(
            path.startswith(self.prefixes) or any(expression.search(path) for expression in self.expressions)
            for path in spellings
        )


def read_exempt_paths(option: str, patterns: Iterable[Pattern]) -> Callable[[str, str], bool]:
    """A test for a path as received: true if a pattern matches and the path is canonical, apart from a trailing slash.

    The path may be named with the mount point or, as the mounted application sees it, without. A pattern with it must match
    more than the mount point, because some servers let a client choose that (SCRIPT_NAME).
    """
    exact, prefixes, expressions = _read(option, patterns)

    def found(path: str, least: int) -> bool:
        return (
            (path in exact and len(path) > least)
            or any(path.startswith(prefix) and len(prefix) > least for prefix in prefixes)
            or any((match := expression.search(path)) and match.end() > least for expression in expressions)
        )

    def matches(path: str, mount: str) -> bool:
        mount = mount.rstrip("/")
        within = path[len(mount) :] if mount and path.startswith(f"{mount}/") else ""
        named = found(path, len(mount) + 1 if mount else 0) or (within != "" and found(within, 0))
        return named and canonical(path) in {path, path.removesuffix("/")}

    return matches


def _read(option: str, patterns: Iterable[Pattern]) -> tuple[set[str], list[str], list[re.Pattern[str]]]:
    """Exact paths, prefixes that end in a slash, and regular expressions; OptionError for an invalid pattern."""
    if isinstance(patterns, str) or not isinstance(patterns, Iterable):
        raise OptionError(f"{option}={patterns!r} is not a list of paths: write {option}=[{patterns!r}]")
    exact: set[str] = set()
    prefixes: list[str] = []
    expressions: list[re.Pattern[str]] = []
    for pattern in patterns:
        if isinstance(pattern, re.Pattern):
            expressions.append(pattern)
        elif not isinstance(pattern, str) or not pattern.startswith("/"):
            raise _unreadable(option, pattern)
        elif _TEMPLATE.search(pattern):
            raise _template(option, pattern)
        elif "?" in pattern or "\\" in pattern:
            raise _unreadable(option, pattern)
        elif "*" not in pattern:
            exact.add(pattern)
        elif pattern.endswith("/*") and "*" not in pattern[:-1]:
            prefixes.append(pattern[:-1])
            exact.add(pattern[:-2] or "/")
        else:
            raise _unreadable(option, pattern)
    return exact, prefixes, expressions


def _unreadable(option: str, pattern: object) -> OptionError:
    return OptionError(
        f'{option}: {pattern!r} is not a path pattern: write "/login", "/api/*", or a compiled regular expression, '
        'such as re.compile(r"^/items/\\d+$"), without a query'
    )


def _template(option: str, pattern: str) -> OptionError:
    """The error for a route's template, which would be compared literally and match no request."""
    before, _, after = _TEMPLATE.sub("*", pattern).partition("*")
    whole = "[^/]+".join(re.escape(part).replace(r"\-", "-") for part in _TEMPLATE.split(pattern))
    prefix = f'"{before}*", or ' if before.endswith("/") and not after.strip("/") else ""
    return OptionError(
        f"{option}: {pattern!r} is a route's template, but rules are compared with paths: write {prefix}"
        f're.compile(r"^{whole}$"), in a file "re:^{whole}$"'
    )
