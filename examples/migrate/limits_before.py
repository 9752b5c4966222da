"""A function that keeps to a limit, with limits."""

from limits import parse
from limits.storage import storage_from_string
from limits.strategies import MovingWindowRateLimiter

limiter = MovingWindowRateLimiter(storage_from_string("redis://127.0.0.1:6379/0"))
per_minute, per_day = parse("5/minute"), parse("100/day")


def send(user: str) -> bool:
    """Whether the message was sent."""
    if not limiter.hit(per_minute, "sms", user):
        return False
    return limiter.hit(per_day, "sms", user)  # the minute is charged even when the day refuses
