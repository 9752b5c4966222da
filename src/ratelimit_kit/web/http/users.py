"""What tells a signed-in user from the others, whichever framework has signed them in."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ratelimit_kit.errors import IdentityError


def user_text(user: Any) -> str | None:
    """What tells a signed-in user from the others; None for an anonymous visitor.

    That is the user's `pk`, `id`, `username` or (Starlette's own) `identity`, or the user itself where that is text or a
    number. What an object looks like as text is no identity: it may change with each request.
    """
    if user is None or not getattr(user, "is_authenticated", True):
        return None
    if isinstance(user, str | int) and not isinstance(user, bool):
        return str(user)
    for name in ("pk", "id", "username", "identity"):
        with suppress(NotImplementedError):  # Starlette's base class has an `identity` to be written
            value = getattr(user, name, None)
            if value is not None and _has_a_text(value):
                return str(value)
    raise IdentityError(
        f'key="user" finds nothing that tells one {type(user).__name__} from another: give the user a pk, an id, a username '
        'or an identity, or count by a callable such as key=lambda request: f"user:{request.user.email}"'
    )


def _has_a_text(value: object) -> bool:
    """Whether a value's text says more than where the object lies in memory."""
    return not callable(value) and type(value).__repr__ != object.__repr__
