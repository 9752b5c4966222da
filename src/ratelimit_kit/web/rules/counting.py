"""Which responses count: `count="failures"` and its like.

The hit is made before the response exists, and given back when the response does not count, so
that no number of requests at once can pass a limit of failures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ratelimit_kit.core.validation import nearest
from ratelimit_kit.errors import OptionError
from ratelimit_kit.web.callables import check_callable
from ratelimit_kit.web.http.messages import Response

Counts = Callable[[Response], Any]

_WORDS: dict[str, Counts | None] = {
    "all": None,
    "failures": lambda response: response.status >= 400,
    "successes": lambda response: response.status < 400,
}


@dataclass(frozen=True)
class Statuses:
    """A test of responses by their status; two of the same statuses are equal."""

    listed: frozenset[int]

    def __call__(self, response: Response) -> bool:
        """Whether the response counts."""
        return response.status in self.listed


def read_count(count: Any) -> Counts | None:
    """A test of responses, None where every request counts; OptionError for what is none."""
    if callable(count):
        own: Counts = check_callable("count", count, "response")
        return own
    if isinstance(count, list | tuple | set | frozenset) and count:
        statuses = frozenset(count)
        if all(type(status) is int and 100 <= status <= 599 for status in statuses):
            return Statuses(statuses)
    if not isinstance(count, str) or count not in _WORDS:
        raise OptionError(
            f"count={count!r} does not say which responses count; {nearest(str(count), _WORDS)}, give statuses such as "
            "[401, 403], or a callable of the response"
        )
    return _WORDS[count]
