"""The outage policies: `on_outage` and `fallback`, and which of several applies to rules that are decided together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

from ratelimit_kit.core.grammar import read_limits
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.core.validation import nearest
from ratelimit_kit.errors import OptionError, QuotaError

OnOutage = Literal["raise", "deny", "local-share", "local", "allow"]
"""What decides in an outage, the strictest first."""

Fallback = str | Limit | Sequence[str | Limit]
"""The limits that local counters apply instead of a rule's own."""

Limits = tuple[Limit, ...]

_ORDER: Final[tuple[OnOutage, ...]] = get_args(OnOutage)

_LOCAL: Final = frozenset({"local", "local-share"})

_OTHER_WORDS: Final[dict[str, OnOutage]] = {
    **dict.fromkeys(["open", "fail-open", "fail_open", "ignore", "admit"], "allow"),
    **dict.fromkeys(["closed", "fail-closed", "fail_closed", "block", "refuse", "reject"], "deny"),
    **dict.fromkeys(["fail-local", "fail_local", "memory", "in-memory"], "local"),
    **dict.fromkeys(["error", "exception"], "raise"),
}
"""What people and other libraries call the outage policies."""

_MEANWHILE: Final[dict[OnOutage, str]] = {
    "raise": "StoreError is raised",
    "deny": "requests are refused",
    "local-share": "each process applies its share of {} on its own",
    "local": "each process applies {} on its own",
    "allow": "requests are admitted without a count",
}


class Meanwhile(NamedTuple):
    """What happens in an outage: a word, and the limits that replace each rule's in local counters (none: its own).

    `by_charge` holds those of each charge, where rules with different ones are decided together.
    """

    on_outage: OnOutage
    fallback: Limits = ()
    by_charge: tuple[Limits, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether local counters decide."""
        return self.on_outage in _LOCAL

    @property
    def admits(self) -> bool:
        """Whether requests are served, by a count of their own or without one."""
        return self.is_local or self.on_outage == "allow"

    def __str__(self) -> str:
        limits = "the full limits" if self.on_outage == "local" else "the limits"
        if self.fallback and not self.by_charge:
            limits = f"the fallback {'; '.join(map(str, self.fallback))}"
        return _MEANWHILE[self.on_outage].format(limits)

    def fallbacks(self, number: int) -> Sequence[Limits]:
        """The limits that replace those of each of a number of charges."""
        return self.by_charge or [self.fallback] * number

    def changed_by(self, on_outage: OnOutage | None, fallback: Limits | None) -> Meanwhile:
        """What a rule makes of its policy's, by its own `on_outage` and `fallback`; None means the policy's."""
        word = self.on_outage if on_outage is None else on_outage
        if fallback and word not in _LOCAL:
            whose = "the policy's " if on_outage is None else ""
            raise _without_effect(f"{whose}on_outage={word!r}")
        limits = self.fallback if fallback is None else fallback
        return Meanwhile(word, limits if word in _LOCAL else ())


RAISE: Final = Meanwhile("raise")
ALLOW: Final = Meanwhile("allow")
LOCAL: Final = Meanwhile("local")


def outage_policy(word: Any) -> OnOutage:
    """The word itself if it is an outage policy; else raises OptionError."""
    if word not in _ORDER:
        raise OptionError(f"on_outage={word!r} is not an outage policy; {nearest(word, _ORDER, _OTHER_WORDS)}")
    known: OnOutage = word
    return known


def fallback_limits(fallback: Fallback | None) -> Limits | None:
    """The limits of a `fallback`; none for an empty list, None if it is not given."""
    if fallback is None:
        return None
    if not isinstance(fallback, str | Limit | list | tuple):
        raise OptionError(f'fallback must be a list of limits, got {fallback!r}. For example: fallback=["1/minute"]')
    given = [fallback] if isinstance(fallback, str | Limit) else fallback
    try:
        limits = read_limits(given) if given else ()
    except QuotaError as error:
        raise QuotaError(f"fallback: {error}") from error
    if given and not limits:
        raise OptionError(f'fallback={fallback!r} limits nothing: write on_outage="allow" for that, or a limit')
    return limits


def meanwhile(on_outage: OnOutage | None, fallback: Fallback | None = None, default: Meanwhile = RAISE) -> Meanwhile:
    """What these options say, with None for the `default`'s; OptionError if one is not known or they contradict."""
    word = default.on_outage if on_outage is None else outage_policy(on_outage)
    limits = fallback_limits(fallback)
    if limits and word not in _LOCAL:
        raise _without_effect(f"on_outage={word!r}{' (the default)' if word == default.on_outage else ''}")
    return default.changed_by(word, limits)


def _without_effect(option: str) -> OptionError:
    return OptionError(
        f'{option} counts nothing, so a fallback has no effect: write on_outage="local", or remove fallback'
    )


def strictest(wanted: Sequence[tuple[Meanwhile, int]]) -> Meanwhile:
    """What applies to rules that are decided together, each with the number of its charges."""
    word = min([one.on_outage for one, _ in wanted], key=_ORDER.index)
    fallbacks = {one.fallback for one, _ in wanted}
    if word not in _LOCAL or fallbacks == {()}:
        return Meanwhile(word)
    if len(fallbacks) == 1:
        return Meanwhile(word, fallbacks.pop())
    return Meanwhile(word, by_charge=tuple([one.fallback for one, number in wanted for _ in range(number)]))
