"""What a policy does not limit: paths, which its own rules ignore, or whatever a callable chooses."""

from __future__ import annotations

from ratelimit_kit.web.callables import acalled, called
from ratelimit_kit.web.http.messages import Request
from ratelimit_kit.web.rules.rule import Exempt, read_exempt


class Exemption:
    """A policy's option `exempt`: paths are exempt from its own rules only, a callable exempts decorated pages too."""

    __slots__ = ("_of_all", "_of_own", "exists")

    def __init__(self, exempt: Exempt) -> None:
        test = read_exempt(exempt)
        self._of_all = test if callable(exempt) else None
        self._of_own = None if callable(exempt) else test
        self.exists = self._of_all is not None or self._of_own is not None

    def frees(self, request: Request, *, own: bool) -> bool:
        """Whether a request is exempt: from the policy's `own` rules, or else from a decorator's."""
        if self._of_all is not None and called(self._of_all, request):
            return True
        return own and self._of_own is not None and bool(called(self._of_own, request))

    async def afrees(self, request: Request, *, own: bool) -> bool:
        """Do what `frees` does."""
        if self._of_all is not None and await acalled(self._of_all, request):
            return True
        return own and self._of_own is not None and bool(await acalled(self._of_own, request))

    def frees_path(self, request: Request) -> bool:
        """Whether the path is exempt from the policy's own rules, as that of a health check may be."""
        return self._of_own is not None and bool(self._of_own(request))
