from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_kit import CostError, FixedWindow, QuotaError, SlidingWindow, TokenBucket, parse
from ratelimit_kit.core.durations import UNITS


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("100/minute", [SlidingWindow(100, per=60)]),
        ("100 per minute", [SlidingWindow(100, per=60)]),
        (" 5 / 10 minutes ", [SlidingWindow(5, per=600)]),
        ("5/10s", [SlidingWindow(5, per=10)]),
        ("1/m", [SlidingWindow(1, per=60)]),
        ("sliding-window: 3/h", [SlidingWindow(3, per=3600)]),
        ("token-bucket: 10/second burst 50", [TokenBucket(10, per=1, burst=50)]),
        ("token-bucket:10/second", [TokenBucket(10, per=1, burst=10)]),
        ("fixed-window: 1000/day", [FixedWindow(1000, per="day")]),
        ("fixed-window: 1000 per month", [FixedWindow(1000, per="month")]),
        ("100/minute; 1000/day", [SlidingWindow(100, per=60), SlidingWindow(1000, per=86_400)]),
        ("2/week;token-bucket: 1/sec burst 9", [SlidingWindow(2, per=604_800), TokenBucket(1, per=1, burst=9)]),
    ],
)
def test_text_names_limits(text: str, limits: list[object]) -> None:
    assert list(parse(text)) == limits


@pytest.mark.parametrize(
    ("text", "position", "hint"),
    [
        ("100/mnth", 4, "did you mean 'month'?"),
        ("100/minutse", 4, "did you mean 'minute'?"),
        ("5/", 2, "expected a unit of time but found the end"),
        ("5", 1, "expected '/' or 'per'"),
        ("1/m m", 4, "'m' is not expected here"),
        ("-1/s", 0, "a whole number, but found '-'"),
        ("0/s", 0, "must be 1 or more"),
        ("5/0 s", 2, "must be 1 or more"),
        ("1.5/s", 1, "expected '/' or 'per'"),
        ("100/H", 4, "did you mean 'h'?"),
        ("100/M", 4, "did you mean 'm'?"),
        ("100/month", 4, "fixed-window: N/month"),
        ("100/2 month", 6, "fixed-window: N/month"),
        ("5/s burst 3", 4, "only a token bucket has a burst"),
        ("token-bucket: 5/s burst", 23, "expected the burst"),
        ("token-bucket 5/s", 13, "expected ':' after token-bucket"),
        ("tokn-bucket: 5/s", 0, "did you mean 'token-bucket'?"),
        ("fixed-window: 5/2 days", 16, "one calendar unit"),
        ("fixed-window: 5/second", 14, "not a calendar window"),
        ("100/minute; 5/secnd", 14, "did you mean 'second'?"),
        ("100/minute;", 11, "found the end"),
        ("", 0, "found the end"),
        ("100/minute\n5/s", 11, "'5' is not expected here"),
        ("100/١ minute", 4, "expected a unit of time"),
        ("100/99999 weeks", 4, "ten years"),
        ("99999999999999/s", 0, "must be from 1 to 2**40"),
        ("token-bucket: 60013/day", 14, "numbers above 2**53"),
    ],
)
def test_anything_else_is_an_error_that_shows_the_position(text: str, position: int, hint: str) -> None:
    with pytest.raises(QuotaError) as caught:
        parse(text)
    message = str(caught.value)
    assert f"at position {position}:" in message
    assert hint in message
    assert message.endswith("[RLK101]")
    assert message.splitlines()[2].index("^") == 4 + position


@given(st.text(max_size=30))
def test_no_text_raises_anything_but_a_quota_error(text: str) -> None:
    try:
        limits = parse(text)
    except QuotaError:
        return
    assert limits


@given(
    st.integers(1, 10**6),
    st.integers(1, 50),
    st.sampled_from(sorted(set(UNITS) - {"month"})),
    st.sampled_from(["/", " per ", " / "]),
)
def test_every_spelling_of_a_limit_is_read(limit: int, count: int, unit: str, slash: str) -> None:
    (read,) = parse(f"{limit}{slash}{count} {unit}")
    assert isinstance(read, SlidingWindow)
    assert read == SlidingWindow(limit, per=f"{count} {unit}")


@given(st.one_of(st.builds(SlidingWindow, st.integers(1, 10**6), per=st.integers(1, 10**7)),
                 st.builds(TokenBucket, st.integers(1, 1000), per=st.integers(1, 1000), burst=st.integers(1, 1000)),
                 st.builds(FixedWindow, st.integers(1, 10**6), per=st.sampled_from(["minute", "day", "month"]))))  # fmt: skip
def test_the_text_of_a_limit_reads_back(limit: SlidingWindow | TokenBucket | FixedWindow) -> None:
    assert parse(str(limit)) == (limit,)


def test_a_span_is_seconds_a_timedelta_or_text() -> None:
    assert SlidingWindow(5, per=300) == SlidingWindow(5, per=timedelta(minutes=5)) == SlidingWindow(5, per="5 minutes")
    assert FixedWindow(5, per=86_400) == FixedWindow(5, per="day") == FixedWindow(5, per=timedelta(days=1))
    assert SlidingWindow(5, per=0.1).window == 100_000


@pytest.mark.parametrize(
    "make",
    [
        lambda: SlidingWindow(0, per=60),
        lambda: SlidingWindow(-1, per=60),
        lambda: SlidingWindow(1.5, per=60),  # type: ignore[arg-type]
        lambda: SlidingWindow(True, per=60),
        lambda: SlidingWindow(5, per=0),
        lambda: SlidingWindow(5, per=-1),
        lambda: SlidingWindow(5, per=1e-9),
        lambda: SlidingWindow(5, per=float("nan")),
        lambda: SlidingWindow(5, per=float("inf")),
        lambda: SlidingWindow(5, per="month"),
        lambda: SlidingWindow(5, per="5 fortnights"),
        lambda: SlidingWindow(5, per="soon-ish"),
        lambda: SlidingWindow(5, per=None),  # type: ignore[arg-type]
        lambda: SlidingWindow(5, per=60, resolution=0),
        lambda: TokenBucket(5, per=60, burst=0),
        lambda: TokenBucket(60_013, per="1 day"),
        lambda: FixedWindow(5, per="second"),
        lambda: FixedWindow(5, per=90),
        lambda: FixedWindow(5, per="day", tz="Mars/Olympus"),
        lambda: FixedWindow(5, per="day", tz="../../etc/passwd"),
    ],
)
def test_impossible_limits_cannot_be_made(make: object) -> None:
    with pytest.raises(QuotaError, match="RLK101"):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("cost", [-1, 1.5, True, "1", None, 6])
def test_a_cost_that_no_wait_can_satisfy_is_an_error(cost: object) -> None:
    for limit in (SlidingWindow(5, per=60), TokenBucket(100, per=60, burst=5), FixedWindow(5, per="day")):
        with pytest.raises(CostError, match="RLK102"):
            limit.check_cost(cost)  # type: ignore[arg-type]


def test_limits_are_frozen_values() -> None:
    limit = SlidingWindow(5, per=60)
    assert limit == SlidingWindow(5, per=60.0)
    assert hash(limit) == hash(SlidingWindow(5, per=60))
    assert limit != SlidingWindow(5, per=60, resolution=5)
    with pytest.raises(AttributeError):
        limit.limit = 6  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "hint"),
    [("100/mo", "did you mean 'month'?"), ("5/mnth", "did you mean 'month'?"), ("1/year", "a year is '365 days'")],
)
def test_a_unit_is_suggested_by_its_beginning(text: str, hint: str) -> None:
    with pytest.raises(QuotaError, match=re.escape(hint)):
        parse(text)
