"""`ratelimit-kit verify URL --limit N`: does a running site hold its limit, over all its workers?

Sends N requests and a few more, each over a connection of its own, and counts exactly. Then it reads the
refusal as a client does: Retry-After, the RateLimit fields, the problem body. If Retry-After is short, it
waits that long, and the next request must pass. Use it only on your own sites.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from ratelimit_kit.cli import exits
from ratelimit_kit.cli.findings import Finding, as_json, print_line, status_of, summary
from ratelimit_kit.cli.terminal import complain, print_json, progress
from ratelimit_kit.cli.verify.judgement import after_waiting, count, denial, fields
from ratelimit_kit.cli.verify.site import Site, SiteError, SiteResponse
from ratelimit_kit.core.validation import read_digits
from ratelimit_kit.errors import OptionError

EPILOG = f"""\
examples:
  ratelimit-kit verify http://127.0.0.1:8000/ --limit 10
  ratelimit-kit verify http://127.0.0.1:8000/login --limit 5 --method POST
  ratelimit-kit verify https://staging.example.org/api --limit 100 --concurrency 8 --header "X-API-Key: ..."

It sends at most N + margin + 1 requests. One after the other they show the exact order; at once
(--concurrency) they reach more of the workers, because one worker of an idle site may serve all of them. Start with
a client that has its whole quota left: `ratelimit-kit reset 127.0.0.1 --policy FILE` gives it back.

{exits.SAID}"""


def add_to(commands: Any) -> None:
    """Add the subcommand to a parser."""
    parser = commands.add_parser(
        "verify",
        help="does a running site hold its limit?",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="URL", help="the page to request, at most N + margin + 1 times")
    parser.add_argument(
        "--limit", type=_whole, required=True, metavar="N", help="the number of requests that the limit admits"
    )
    parser.add_argument("--method", default="GET", help="the method of the requests (default: GET)")
    parser.add_argument(
        "--header", action="append", default=[], metavar="'NAME: VALUE'", help="a field to send (repeatable)"
    )
    parser.add_argument("--margin", type=_whole, default=5, metavar="N", help="requests beyond the limit (default: 5)")
    parser.add_argument("--concurrency", type=_whole, default=1, metavar="N", help="requests at once (default: 1)")
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=65.0,
        metavar="SECONDS",
        help="the longest Retry-After to wait for (default: 65)",
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=10.0, metavar="SECONDS", help="to wait for a response (default: 10)"
    )
    parser.add_argument("--strict", action="store_true", help="let warnings fail as well")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Send the requests and print every finding; the exit status is 1 if one fails, 3 if the site does not respond."""
    site = Site(options.url, options.method.upper(), _headers(options.header), options.timeout)
    number = options.limit + options.margin
    try:
        with progress(f"asking {site.name}", number) as advance:
            answers = site.ask_often(number, options.concurrency, advance)
        findings = [*count(answers, options.limit, in_turn=options.concurrency == 1), *fields(answers, options.limit)]
        refusal = next((one for one in reversed(answers) if one.refused), None)
        if refusal is not None:
            findings += denial(refusal)
            findings.append(_wait_out(site, refusal, options.wait))
    except SiteError as error:
        complain(f"{site.name} did not respond: {error}. Check that it runs and that the URL is right")
        return exits.FAILED
    return _report(site, answers, findings, options)


def _report(site: Site, answers: list[SiteResponse], findings: list[Finding], options: argparse.Namespace) -> int:
    status = status_of(findings, strict=options.strict)
    if options.json:
        statuses = [answer.status for answer in answers]
        admitted = sum(not answer.refused for answer in answers)
        print_json({
            "url": site.name, "limit": options.limit, "sent": len(answers), "admitted": admitted,
            "statuses": statuses, "ok": status == exits.FINE, "findings": as_json(findings),
        })  # fmt: skip
        return status
    for finding in findings:
        print_line(finding)
    print(summary(findings))
    return status


def _wait_out(site: Site, refusal: SiteResponse, longest: float) -> Finding:
    """Wait as long as the refusal says, and not a moment less; then send one more request."""
    seconds = refusal.retry_after
    if seconds is None:
        return Finding("after waiting", "skip", "there is no Retry-After in seconds to wait for")
    if seconds > longest:
        found = f"Retry-After is {seconds} s, more than --wait {longest:g}"
        return Finding("after waiting", "skip", found, f"ratelimit-kit verify ... --wait {seconds}")
    end = refusal.came + seconds
    with progress(f"waiting {seconds} s, as Retry-After says", seconds) as advance:
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(1.0, left))
            advance(1)
    return after_waiting(site.ask(), seconds)


def _headers(given: list[str]) -> dict[str, str]:
    """The fields to send; their values may be secret, so they appear in no message."""
    found = {}
    for one in given:
        name, mark, value = one.partition(":")
        if not mark or not name.strip() or not one.isprintable():
            raise OptionError("--header takes a field such as 'X-API-Key: ...': a name, a colon and a value")
        found[name.strip()] = value.strip()
    return found


def _whole(text: str) -> int:
    number = read_digits(text)
    if number is not None and 1 <= number <= 1_000_000:
        return number
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1000000")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 0 <= value <= 86_400:
        return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 86400")
