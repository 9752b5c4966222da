"""What the responses of a site prove about its limit: the results of `verify`, as findings.

Only what was measured is claimed. More than N admissions prove nothing by themselves if they took longer than the
window; then the closest N + 1 of them are examined.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from ratelimit_kit.cli.findings import Finding
from ratelimit_kit.cli.verify.fields import Told, told
from ratelimit_kit.cli.verify.site import SiteResponse

UNSHARED = "a store that all workers share: ratelimit-kit doctor ... --workers N; and make sure that nothing in front of the limit responds"

AWAY = "ratelimit-kit doctor FILE: if the store is away or full, each process counts on its own and sends no RateLimit fields"


def _silent(answers: Sequence[SiteResponse]) -> bool:
    """Whether no response says anything about limits, as while no process knows what the others have admitted."""
    return not any(told(answer.headers).family for answer in answers)


def count(answers: Sequence[SiteResponse], limit: int, *, in_turn: bool) -> Iterator[Finding]:
    """Whether exactly `limit` were admitted."""
    broken = Counter(answer.status for answer in answers if answer.status >= 500)
    if broken:
        said = ", ".join(f"{number} x {status}" for status, number in broken.items())
        yield Finding(
            "site",
            "fail",
            f"the site fails: {said}",
            "its log and ratelimit-kit doctor FILE; 503 without RateLimit fields is a store outage",
        )
        return
    admitted = [answer for answer in answers if not answer.refused]
    refused = len(answers) - len(admitted)
    said = f"{len(admitted)} of {len(answers)} requests were admitted and {refused} refused; the limit is {limit}"
    apart = AWAY if _silent(answers) else UNSHARED
    if len(admitted) == limit:
        yield Finding("count", "pass", said)
    elif len(admitted) > limit:
        yield _too_many(admitted, limit, said, refused, apart)
    else:
        yield _too_few(answers, len(admitted), limit, said)
    if in_turn and len(admitted) == limit and not all(answer.refused for answer in answers[limit:]):
        yield Finding("order", "fail", "a request passed after one was refused within the same quota", apart)


def _too_many(admitted: Sequence[SiteResponse], limit: int, said: str, refused: int, fix: str) -> Finding:
    """The finding for too many admissions; if they took longer than the window, the closest N + 1 decide."""
    windows = told(admitted[0].headers).windows.values()
    if windows and refused:
        window = min(windows)
        came = sorted(answer.came for answer in admitted)
        sent = sorted(answer.sent for answer in admitted)
        span = min(later - earlier for earlier, later in zip(sent, came[limit:], strict=False))
        if span > window:
            found = f"{said}, but any {limit + 1} of them took {span:.1f} s, longer than the window of {window} s"
            return Finding("count", "pass", found)
        if len(admitted) <= limit + limit * (came[-1] - sent[0]) / window:
            found = f"{said}: correct for a token bucket, which refilled meanwhile, but too many for a window"
            return Finding(
                "count", "warn", found, "ratelimit-kit verify ... --concurrency 16, to be quicker than the refill"
            )
    how = "the limit does not hold" if refused else "nothing was refused: there is no limit here, or a higher one"
    if fix == AWAY:
        how += ", or the store is away"
    return Finding("count", "fail", f"{said}: {how}", fix)


def _too_few(answers: Sequence[SiteResponse], admitted: int, limit: int, said: str) -> Finding:
    left = told(answers[0].headers).remaining.values()
    if left and not answers[0].refused and min(left) + 1 == admitted:
        found = f"{said}: {limit - admitted} units were used before, and exactly the rest was admitted"
        return Finding("count", "warn", found, "ratelimit-kit reset 127.0.0.1 --policy FILE, or wait, and verify again")
    fix = "a client with its whole quota (ratelimit-kit reset), or the right --limit"
    return Finding("count", "fail", f"{said}: too few", AWAY if _silent(answers) else fix)


def fields(answers: Sequence[SiteResponse], limit: int) -> Iterator[Finding]:
    """Whether the RateLimit fields are well-formed, name the limit, and count down without a gap."""
    read = [told(answer.headers) for answer in answers if answer.status < 500 and not 300 <= answer.status < 400]
    silent = sum(not one.family for one in read)
    if not read or silent == len(read):
        found = "the responses have no RateLimit fields: the policy sends none, no limit applies, or the store is away"
        yield Finding("fields", "warn", found, f'{AWAY}; else headers = "draft11" in the policy')
        return
    malformed = sorted({name for one in read for name in one.malformed})
    if malformed or silent:
        what = (
            f"cannot be read: {', '.join(malformed)}"
            if malformed
            else f"are missing from {silent} of {len(read)} responses"
        )
        fix = "nothing before the application that rewrites fields"
        yield Finding("fields", "fail", f"RateLimit fields {what}", fix if malformed else f"{fix}; or {AWAY}")
        return
    names = [name for name, quota in read[0].quotas.items() if quota == limit]
    if not names:
        quotas = ", ".join(str(quota) for quota in read[0].quotas.values())
        yield Finding("fields", "fail", f"the site says that its quota is {quotas}, not {limit}", "the right --limit")
        return
    yield Finding("fields", "pass", f"well-formed ({read[0].family}), and the quota is {limit}")
    yield _counts_down(read, names[0])


def _counts_down(read: Sequence[Told], name: str) -> Finding:
    """Whether the workers count together: each admission takes one unit, so no value of remaining occurs twice."""
    left = [one.remaining[name] for one in read if name in one.remaining]
    if not left:
        found = f"RateLimit-Policy names {name!r}, and RateLimit does not: nobody can tell what is left"
        return Finding("one counter", "fail", found, "the same names in both fields")
    above = [number for number in left if number > 0]
    if len(above) == len(set(above)):
        return Finding("one counter", "pass", f"remaining counted down from {left[0]} to {min(left)}, each value once")
    twice = next(number for number in above if above.count(number) > 1)
    found = f"remaining was {twice} in {above.count(twice)} responses: the workers do not count together"
    return Finding("one counter", "fail", found, UNSHARED)


def denial(refusal: SiteResponse) -> Iterator[Finding]:
    """Whether a refusal tells the client all that it needs, and is not cacheable."""
    text = refusal.headers.get("retry-after", "")
    seconds = refusal.retry_after
    if not seconds:
        what = f"is {text!r}" if text else "is missing"
        yield Finding(
            "Retry-After",
            "fail",
            f"Retry-After {what}, so clients do not know when to try again",
            "whole seconds, 1 or more",
        )
    else:
        said = told(refusal.headers)
        late = [name for name, after in said.after.items() if after > seconds and said.remaining.get(name) == 0]
        found = f"{seconds} s" + (f", but {', '.join(late)} has a later t" if late else "")
        yield Finding("Retry-After", "fail" if late else "pass", found)
    yield _body(refusal)
    cache = refusal.headers.get("cache-control", "")
    if "no-store" in cache.lower():
        yield Finding("caching", "pass", "refusals are not cacheable (no-store)")
    else:
        yield Finding(
            "caching", "warn", "a cache may keep a refusal, and serve it to others", "Cache-Control: no-store on 429"
        )


def _body(refusal: SiteResponse) -> Finding:
    kind = refusal.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/problem+json":
        return Finding("problem body", "warn", f"the refusal is {kind or 'of no type'}, not application/problem+json")
    try:
        problem = json.loads(refusal.body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or problem.get("status") != refusal.status:
        return Finding("problem body", "fail", "the body is not a problem document with status 429 (RFC 9457)")
    violated = problem.get("violated-policies")
    names = ", ".join(str(name) for name in violated) if isinstance(violated, list) else "no policy named"
    return Finding("problem body", "pass", f"application/problem+json: {names}")


def after_waiting(answer: SiteResponse, seconds: int) -> Finding:
    """Whether Retry-After was right: the request after it must pass."""
    if answer.refused:
        return Finding(
            "after waiting", "fail", f"the request after {seconds} s was refused: Retry-After came too early"
        )
    return Finding("after waiting", "pass", f"the request after {seconds} s was admitted ({answer.status})")
