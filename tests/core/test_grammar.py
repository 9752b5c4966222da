from __future__ import annotations

import re
from datetime import UTC, date, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_kit import UNLIMITED, CostError, FixedWindow, QuotaError, SlidingWindow, TokenBucket, parse
from ratelimit_kit.core.durations import CALENDAR, UNITS
from ratelimit_kit.core.grammar import read_limits


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
        ("2/sec, 100/MINUTE", [SlidingWindow(2, per=1), SlidingWindow(100, per=60)]),
        ("0/minute", [SlidingWindow(0, per=60)]),
        ("unlimited", [UNLIMITED]),
        ("Unlimited", [UNLIMITED]),
        ("5/20ms", [SlidingWindow(5, per=0.02)]),
        ("5 PER 20 us", [SlidingWindow(5, per=0.00002)]),
        ("100/H resolution 64", [SlidingWindow(100, per=3600, resolution=64)]),
        ("Token-Bucket: 10/M Burst 3", [TokenBucket(10, per=60, burst=3)]),
        ("fixed-window: 1000/day Asia/Shanghai", [FixedWindow(1000, per="day", tz="Asia/Shanghai")]),
        ("fixed-window: 1000/day asia/shanghai", [FixedWindow(1000, per="day", tz="Asia/Shanghai")]),
        ("fixed-window: 5/month anchor 31", [FixedWindow(5, per="month", anchor=31)]),
        (
            "fixed-window: 5/quarter Etc/GMT+5 anchor 2026-05-15",
            [FixedWindow(5, per="quarter", tz="Etc/GMT+5", anchor="2026-05-15")],
        ),
        (
            "fixed-window: 5/year anchor 2026-04-01 Europe/Paris",
            [FixedWindow(5, per="year", tz="Europe/Paris", anchor=date(2026, 4, 1))],
        ),
    ],
)
def test_text_names_limits(text: str, limits: list[object]) -> None:
    assert list(parse(text)) == limits


@pytest.mark.parametrize(
    ("text", "position", "hint"),
    [
        ("100/mnth", 4, "did you mean 'month'?"),
        ("100/minutse", 4, "did you mean 'minute'?"),
        ("1/mnute", 2, "did you mean 'minute'?"),
        ("1/mnutes", 2, "did you mean 'minute"),
        ("5/", 2, "expected a unit of time but found the end"),
        ("5", 1, "expected '/' or 'per'"),
        ("1/m m", 4, "'m' is not expected here"),
        ("-1/s", 0, "a whole number, but found '-'"),
        ("5/s resolution 0", 0, "must be from 1 to 2**40"),
        ("token-bucket: 5/s burst 0", 14, "must be from 1 to 2**40"),
        ("token-bucket: 0/s burst 3", 14, "its burst must be 0"),
        ("5/s Europe/Paris", 4, "is not expected here"),
        ("fixed-window: 5/day Europe/Pari", 20, "did you mean 'Europe/Paris'?"),
        ("fixed-window: 5/day anchor 3", 14, "is for months, quarters and years"),
        ("fixed-window: 5/month anchor 32", 14, "is not a day from 1 to 31"),
        ("fixed-window: 5/month anchor 2026-02-30", 14, "is not a day from 1 to 31"),
        ("fixed-window: 5/month anchor", 28, "expected a day or a date"),
        ("fixed-window: 5/month UTC UTC", 26, "is not expected here"),
        ("5/s burst 3 burst 4", 4, "only a token bucket has a burst"),
        ("unlimited 5/s", 10, "is not expected here"),
        ("1,000/minute", 1, "write 1000"),
        ("10/s, burst 5", 6, "without a comma"),
        ("10/fortnight", 3, "choose from 'day', 'hour'"),
        ("5/0 s", 2, "must be 1 or more"),
        ("1.5/s", 1, "expected '/' or 'per'"),
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
        ("99999999999999/s", 0, "must be from 0 to 2**40"),
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
    st.sampled_from(sorted(unit for unit, name in UNITS.items() if name not in CALENDAR)),
    st.sampled_from(["/", " per ", " / "]),
)
def test_every_spelling_of_a_limit_is_read(limit: int, count: int, unit: str, slash: str) -> None:
    (read,) = parse(f"{limit}{slash}{count} {unit}")
    assert isinstance(read, SlidingWindow)
    assert read == SlidingWindow(limit, per=f"{count} {unit}")


spans = st.one_of(st.integers(1, 10**7), st.integers(1, 10**13).map(lambda span: timedelta(microseconds=span)))
ZONES = ["UTC", "Asia/Shanghai", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "Australia/Lord_Howe"]


@given(st.one_of(st.builds(SlidingWindow, st.integers(0, 10**6), per=spans, resolution=st.integers(1, 99)),
                 st.builds(TokenBucket, st.integers(1, 1000), per=st.integers(1, 1000), burst=st.integers(1, 1000)),
                 st.builds(TokenBucket, st.integers(0, 5), per=spans),
                 st.builds(FixedWindow, st.integers(0, 10**6), per=st.sampled_from(["minute", "day", "month"])),
                 st.builds(FixedWindow, st.integers(1, 9), per=st.sampled_from(["month", "quarter", "year"]),
                           tz=st.sampled_from(ZONES), anchor=st.one_of(st.none(), st.integers(1, 31), st.dates()))))  # fmt: skip
def test_the_text_of_a_limit_reads_back(limit: SlidingWindow | TokenBucket | FixedWindow) -> None:
    assert parse(str(limit)) == (limit,)


def test_a_span_is_seconds_a_timedelta_or_text() -> None:
    assert SlidingWindow(5, per=300) == SlidingWindow(5, per=timedelta(minutes=5)) == SlidingWindow(5, per="5 minutes")
    assert FixedWindow(5, per=86_400) == FixedWindow(5, per="day") == FixedWindow(5, per=timedelta(days=1))
    assert SlidingWindow(5, per=0.1).window == 100_000


@pytest.mark.parametrize(
    "make",
    [
        lambda: SlidingWindow(-1, per=60),
        lambda: SlidingWindow(10**5000, per=60),
        lambda: SlidingWindow(5, per=1e308),
        lambda: SlidingWindow(5, per=10**5000),
        lambda: SlidingWindow(5, per="9" * 5000 + " seconds"),
        lambda: SlidingWindow(5, per="year"),
        lambda: parse("9" * 5000 + "/minute"),
        lambda: parse("5/" + "9" * 900 + " minutes"),
        lambda: TokenBucket(0, per=60, burst=1),
        lambda: FixedWindow(5, per="day", anchor=3),
        lambda: FixedWindow(5, per="month", anchor=0),
        lambda: FixedWindow(5, per="month", anchor=True),
        lambda: FixedWindow(5, per="year", anchor="2026-13-01"),
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
        lambda: FixedWindow(5, per="day", tz=5),  # type: ignore[arg-type]
        lambda: read_limits([None]),  # type: ignore[list-item]
        lambda: read_limits([["5/minute"]]),  # type: ignore[list-item]
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
    [("100/mo", "did you mean 'month'?"), ("5/mnth", "did you mean 'month'?"), ("1/year", "write '365 days'")],
)
def test_a_unit_is_suggested_by_its_beginning(text: str, hint: str) -> None:
    with pytest.raises(QuotaError, match=re.escape(hint)):
        parse(text)


def test_limits_that_would_share_a_counter_are_told_apart() -> None:
    texts = ["10/minute; 5/minute", "token-bucket: 3/minute", SlidingWindow(7, per=60, resolution=1), UNLIMITED]
    counters = [limit.counter for limit in read_limits(texts)]
    assert counters == ["sw-60000000", "sw-60000000#2", "tb-60000000", "sw-60000000#3"]
    assert len({limit.counter for limit in read_limits(texts, inherit=False)}) == 4
    assert read_limits(["5/minute"], inherit=False)[0].counter != read_limits(["6/minute"], inherit=False)[0].counter


def test_a_limit_of_zero_refuses_any_cost_and_never_by_an_error() -> None:
    for limit in (SlidingWindow(0, per=60), TokenBucket(0, per=60), FixedWindow(0, per="day")):
        limit.check_cost(5)
        assert limit.try_charge(None, 0, 1) is None
        assert limit.peek(None, 0, 5)[:2] == (False, 0)
        with pytest.raises(CostError, match="RLK102"):
            limit.check_cost(-1)


def test_a_time_zone_may_be_an_object() -> None:
    assert FixedWindow(5, per="day", tz=ZoneInfo("Europe/Paris")) == FixedWindow(5, per="day", tz="Europe/Paris")
    assert FixedWindow(5, per="day", tz=UTC) == FixedWindow(5, per="day")
