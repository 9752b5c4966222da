"""A limit that is reported as unreachable never denies, tested with a greedy client on the oracles."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ratelimit_kit import FixedWindow, Limiter, MemoryStore, Policy, Rule, SlidingWindow, TokenBucket, parse
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.errors import UnreachableLimitError
from ratelimit_kit.guard.checks.unreachable_limits import unreachable
from ratelimit_kit.testing import ManualClock


def hidden(text: str) -> list[str]:
    return [str(error).split("the limit ")[1].split(" can never")[0] for error in unreachable(parse(text), "rule 'r'")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10/minute; 1000/hour", ["1000/hour"]),
        ("1000/hour; 10/minute", ["1000/hour"]),
        ("10/minute; 100/hour", []),
        ("10/second; 100/minute; 1000/hour", []),
        ("5/minute; 10/minute", ["10/minute"]),
        ("5/minute; 10/second", ["10/second"]),
        ("token-bucket: 1/second burst 10; 100/minute", ["100/minute"]),
        ("token-bucket: 1/second burst 10; 60/minute", []),
        ("10/minute; token-bucket: 1/second burst 10", ["token-bucket: 1/second burst 10"]),
        ("10/minute; token-bucket: 1/second burst 9", []),
        ("10/minute; fixed-window: 20000/day", ["fixed-window: 20000/day"]),
        ("10/minute; fixed-window: 10000/day", []),
        ("fixed-window: 100/day; fixed-window: 5000/month", ["fixed-window: 5000/month"]),
        ("fixed-window: 100/day; fixed-window: 200/day", ["fixed-window: 200/day"]),
        ("fixed-window: 100/day; 1000/hour", ["1000/hour"]),
        ("fixed-window: 100/day; 150/hour", []),
        ("5/minute; 10/2 minutes", ["10/2 minutes"]),
        ("100/minute", []),
        ("0/minute; 100/hour; token-bucket: 5/second", []),
        ("fixed-window: 5/month; fixed-window: 9/month anchor 15", []),
    ],
)
def test_a_limit_that_never_matters_is_found(text: str, expected: list[str]) -> None:
    assert hidden(text) == expected


def test_of_two_limits_that_are_the_same_one_is_named() -> None:
    limits = [SlidingWindow(10, 60), SlidingWindow(10, 60, resolution=64)]
    assert len(unreachable(limits, "rule")) == 1


counts = st.integers(1, 12)
spans = st.sampled_from([1, 2, 5, 60])
limits = st.one_of(
    st.builds(SlidingWindow, counts, spans, resolution=st.integers(1, 8)),
    st.builds(lambda n, per, burst: TokenBucket(n, per=per, burst=burst), counts, spans, counts),
    st.builds(lambda n, per: FixedWindow(n, per=per), counts, st.sampled_from(["minute", "hour"])),
)


@example((SlidingWindow(2, 1, resolution=1), SlidingWindow(2, 1, resolution=2)), [0, 0.5, 0.5])
@given(
    st.tuples(limits, limits).filter(lambda pair: pair[0] != pair[1]),
    st.lists(st.sampled_from([0, 1, 0.5, 5, 60]), max_size=60),
)
def test_what_is_called_unreachable_never_refuses(pair: tuple[Limit, Limit], pauses: list[float]) -> None:
    named = unreachable(pair, "rule")
    clock = ManualClock(start=1_800_000_000)
    store = MemoryStore(clock=clock)
    limiter = Limiter(*pair, store=store)
    for pause in itertools.chain(pauses, [0] * 20):
        clock.advance(pause)
        verdicts = limiter.hit("k").verdicts
        for verdict in verdicts:
            names = [f"the limit {word} can never" for word in (verdict.limit, repr(verdict.limit))]
            if any(name in str(error) for error in named for name in names):
                others = [one for one in verdicts if one is not verdict]
                assert verdict.allowed or not all(one.allowed for one in others)


def test_a_policy_with_such_a_limit_does_not_start() -> None:
    policy = Policy(Rule("10/minute", "1000/hour", name="login"))
    with pytest.raises(UnreachableLimitError, match=r"rule 'login': the limit 1000/hour can never refuse .*\[RLK207\]"):
        policy.start()


@pytest.mark.parametrize(
    ("limits", "fallback", "warned"),
    [
        ("5/minute", "100/minute", True),
        ("5/minute", "600/hour", True),
        ("5/minute", "token-bucket: 5/minute burst 10", True),
        ("0/minute", "1/minute", True),
        ("100/minute; 5000/day", "200/minute", True),
        ("5/minute", "5/minute", False),
        ("5/minute", "1/minute", False),
        ("5/minute", "100/minute; 1/second", False),
        ("100/minute; 5000/day", "20/minute", False),
        ("0/minute", "0/minute", False),
    ],
)
def test_a_fallback_that_would_loosen_a_rule_is_warned_of(limits: str, fallback: str, warned: bool) -> None:
    rule = Rule(limits, name="login")
    policy = Policy(rule, fallback=fallback.split("; "), workers=1)
    found = loose(policy)
    assert bool(found) is warned
    assert not warned or found[0].startswith(
        f"rule 'login': the fallback {fallback} admits more than the limit {limits}"
    )
    for other in (Rule(limits, fallback=[]), Rule(limits, on_outage="deny"), Rule(lambda _: limits)):
        assert not loose(Policy(other, fallback=fallback.split("; "), workers=1))


def loose(policy: Policy) -> list[str]:
    return [str(one) for one in policy.findings(live=False) if one.rlk == "RLK263"]
