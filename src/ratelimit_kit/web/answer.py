"""What a front door has to do with a request, as one neutral value."""

from __future__ import annotations

from dataclasses import dataclass, field

from ratelimit_kit.web.headers import Header


@dataclass(frozen=True, slots=True)
class Answer:
    """What a front door has to do: add `headers` to the response, or send this denial instead.

    `status` is 0 when the request may pass.
    """

    headers: list[Header] = field(default_factory=list)
    status: int = 0
    reason: str = ""
    body: bytes = b""

    @property
    def denied(self) -> bool:
        """Whether the front door answers by itself."""
        return self.status != 0


PASS = Answer()
