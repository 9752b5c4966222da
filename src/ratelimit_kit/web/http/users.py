"""The identity of a signed-in user, in any framework."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ratelimit_kit.errors import IdentityError


def user_text(user: Any) -> str | None:
    """The identity of a signed-in user as text; None for an anonymous visitor.

    It is the user's `pk`, `id`, `username` or (in Starlette) `identity`, or the user itself if that is text or an
    integer; IdentityError if there is none. An object's text form is not an identity: it may change with each request.
    """
    if user is None or not getattr(user, "is_authenticated", True):
        return None
    if isinstance(user, str | int) and not isinstance(user, bool):
        return str(user)
    for name in ("pk", "id", "username", "identity"):
        with suppress(NotImplementedError):  # Starlette's base class leaves `identity` to subclasses
            value = getattr(user, name, None)
            if value is not None and _has_a_text(value):
                return str(value)
    raise IdentityError(
        f'key="user" cannot tell one {type(user).__name__} from another: give the user a pk, an id, a username '
        'or an identity, or count by a callable such as key=lambda request: f"user:{request.user.email}"'
    )


def _has_a_text(value: object) -> bool:
    """Whether a value's text contains more than its memory address."""
    return not callable(value) and type(value).__repr__ != object.__repr__
