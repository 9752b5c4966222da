"""A verdict carries the time of its hit, so that exactly this hit can be refunded."""

from __future__ import annotations

import pytest

from ratelimit_kit import FixedWindow, MemoryStore, SlidingWindow
from ratelimit_kit.errors import StoreUnavailableError
from ratelimit_kit.guarded_store import GuardedStore
from ratelimit_kit.stores import Charge
from ratelimit_kit.testing import ManualClock

DAY, MINUTE = FixedWindow(3, per="day"), SlidingWindow(3, per=60)


def test_exactly_the_refused_hit_is_given_back() -> None:
    clock = ManualClock(start=1_800_000_000)
    guarded = GuardedStore(MemoryStore(clock=clock))
    charges = [Charge("key", MINUTE), Charge("key", DAY)]
    guarded.decide(charges, "raise")
    clock.advance(50)
    later = guarded.decide(charges, "raise")
    guarded.refund(charges, later)
    clock.advance(10)
    assert guarded.decide([Charge("key", MINUTE, 0)], "raise").remaining == 3  # the older hit was kept
    assert guarded.decide([Charge("key", DAY, 0)], "raise").remaining == 2


def test_each_clock_has_its_own_stamp() -> None:
    guarded = GuardedStore(MemoryStore())
    charges = [Charge("key", MINUTE), Charge("key", DAY)]
    decision = guarded.decide(charges, "raise")
    assert decision.verdicts[0].charged_at != decision.verdicts[1].charged_at
    guarded.refund(charges, decision)
    assert [verdict.remaining for verdict in guarded.decide(charges, "raise").verdicts] == [2, 2]


def test_a_refund_that_fails_is_said_and_does_not_fail_the_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = GuardedStore(MemoryStore())
    charges = [Charge("key", MINUTE)]
    decision = guarded.decide(charges, "raise")

    def refund(*_: object) -> None:
        raise StoreUnavailableError("no answer")

    monkeypatch.setattr(guarded.store, "refund", refund)
    guarded.refund(charges, decision)
    assert "stays counted" in caplog.text
