"""What a policy leaves alone: paths that none of its own rules limits, or whatever a callable says."""

from __future__ import annotations

from ratelimit_kit.web.callables import acalled, called
from ratelimit_kit.web.http.messages import Request
from ratelimit_kit.web.rules.rule import Exempt, read_exempt


class Exemption:
    """The option `exempt` of a policy: paths free its own rules only, a callable frees decorated pages too."""

    __slots__ = ("_of_all", "_of_own", "exists")

    def __init__(self, exempt: Exempt) -> None:
        test = read_exempt(exempt)
        self._of_all = test if callable(exempt) else None
        self._of_own = None if callable(exempt) else test
        self.exists = self._of_all is not None or self._of_own is not None

    def frees(self, request: Request, *, own: bool) -> bool:
        """Whether a request is not limited: by the policy's `own` rules, or by others on its store."""
        if self._of_all is not None and called(self._of_all, request):
            return True
        return own and self._of_own is not None and bool(called(self._of_own, request))

    async def afrees(self, request: Request, *, own: bool) -> bool:
        """Do what `frees` does."""
        if self._of_all is not None and await acalled(self._of_all, request):
            return True
        return own and self._of_own is not None and bool(await acalled(self._of_own, request))

    def frees_path(self, request: Request) -> bool:
        """Whether the policy's own rules leave the path alone, as that of a health check."""
        return self._of_own is not None and bool(self._of_own(request))
