"""`ratelimit-kit simulate`: a log's own time, the library's own algorithms, and no line lost."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_kit import MemoryStore, Rule, SlidingWindow
from ratelimit_kit.cli import main
from ratelimit_kit.cli.simulate import EPILOG
from ratelimit_kit.cli.simulate.access_log import Hit, Malformed, read_line, seconds
from ratelimit_kit.cli.simulate.order import InOrder
from ratelimit_kit.cli.simulate.replay import Replay
from ratelimit_kit.guard.declarations import Processes
from ratelimit_kit.guarded_store import GuardedStore
from ratelimit_kit.stores import Charge
from ratelimit_kit.testing import ManualClock
from ratelimit_kit.web.policy.ruleset import RuleSet

START = 1_760_000_000


def line(second: int, address: str = "203.0.113.7", request: str = "GET / HTTP/1.1", *, tail: str = "") -> str:
    from datetime import UTC, datetime

    time = datetime.fromtimestamp(START + second, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return f'{address} - - [{time}] "{request}" 200 512{tail}'


@pytest.fixture
def simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def run(lines: list[str], *options: str, status: int = 0) -> dict[str, Any]:
        log = tmp_path / "access.log"
        log.write_text("\n".join(lines) + "\n")
        assert main(["simulate", str(log), "--json", *options]) == status
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


Simulated = Callable[..., dict[str, Any]]


def test_the_eleventh_request_within_a_minute_is_refused(simulated: Simulated) -> None:
    found = simulated([line(second) for second in range(15)], "--limit", "10/minute")
    assert found["requests"] == found["matched"] == 15
    assert found["denied"] == 5
    assert found["first_denied_line"] == 11
    assert found["top"] == [{"key": "ip:203.0.113.7", "requests": 15, "denied": 5}]
    assert (found["begin"], found["end"]) == (START, START + 14)


def test_the_window_slides_by_the_time_of_the_log(simulated: Simulated) -> None:
    lines = [line(0), line(59), line(60), line(61), line(119), line(120)]
    assert simulated(lines, "--limit", "2/minute")["denied"] == 1  # at 61; at 119 the hit at 59 is a minute old


def test_it_decides_as_a_store_does(simulated: Simulated) -> None:
    """The same random trace, passed to a store directly."""
    random.seed(7)
    trace = sorted((random.randrange(300), f"198.51.100.{random.randrange(4)}") for _ in range(400))
    clock, limit = ManualClock(), SlidingWindow(20, 60)
    store = MemoryStore(clock=clock)
    denied = 0
    for second, address in trace:
        clock.advance(second - clock.now)
        denied += not store.decide([Charge(address, limit, 1)])[0].allowed
    found = simulated([line(*one) for one in trace], "--limit", "20/minute")
    assert found["denied"] == denied > 0
    assert found["clients"] == 4


def test_several_limits_are_all_or_nothing(simulated: Simulated) -> None:
    found = simulated([line(second) for second in range(30)], "--limit", "5/minute", "--limit", "10/hour")
    assert found["denied"] == 25
    assert found["denied_by_limit"] == {"5/minute": 25}
    late = simulated([line(second * 20) for second in range(30)], "--limit", "5/minute; 10/hour")
    assert late["denied_by_limit"] == {"10/hour": 20}


def test_paths_and_methods_choose_what_is_judged(simulated: Simulated) -> None:
    lines = [line(second, request="POST /login?next=%2F HTTP/1.1") for second in range(4)]
    lines += [line(5, request="GET /login HTTP/1.1"), line(6, request="POST /log%69n HTTP/1.1")]
    found = simulated(lines, "--limit", "2/minute", "--path", "/login", "--method", "POST")
    assert (found["requests"], found["matched"], found["denied"]) == (6, 5, 3)


@pytest.mark.parametrize(("key", "clients"), [("ip", 3), ("user", 2), ("header:user-agent", 2), ("global", 1)])
def test_the_key_is_what_rules_count_by(simulated: Simulated, key: str, clients: int) -> None:
    lines = [
        line(0, "203.0.113.1", tail=' "-" "curl/8"').replace("- - [", "- ann ["),
        line(1, "203.0.113.2", tail=' "-" "curl/8"').replace("- - [", "- ann ["),
        line(2, "203.0.113.3", tail=' "http://x/" "Mozilla/5.0 (\\"odd\\")"').replace("- - [", "- bob ["),
    ]
    assert simulated(lines, "--limit", "1/minute", "--key", key)["clients"] == clients


def test_ipv6_clients_are_grouped_as_on_a_site(simulated: Simulated) -> None:
    lines = [line(0, "2001:db8::1"), line(1, "2001:db8::2"), line(2, "2001:db8:0:1::1")]
    assert simulated(lines, "--limit", "1/minute")["top"] == [{"key": "ip:2001:db8::/64", "requests": 2, "denied": 1}]


def test_a_policy_file_is_tried_as_a_whole(simulated: Simulated, tmp_path: Path) -> None:
    policy = tmp_path / "ratelimit.toml"
    policy.write_text('[[rules]]\nlimits = "3/minute"\n\n[[rules]]\nlimits = "1/minute"\npaths = ["/login"]\n')
    lines = [line(0, request="GET /login HTTP/1.1"), line(1, request="GET /login HTTP/1.1"), line(2), line(3), line(4)]
    found = simulated(lines, "--policy", str(policy))
    assert found["denied"] == 2
    assert found["denied_by_limit"] == {"1/minute": 1, "3/minute": 1}


def test_failures_are_counted_by_the_status_in_the_log(simulated: Simulated, tmp_path: Path) -> None:
    policy = tmp_path / "ratelimit.toml"
    policy.write_text('exempt = ["/healthz"]\n[[rules]]\nlimits = "2/minute"\ncount = "failures"\n')
    good, bad = line(1), line(1).replace('" 200 ', '" 401 ')
    health = line(2, request="GET /healthz HTTP/1.1")
    found = simulated([good] * 5 + [bad, good, bad, good, bad, health], "--policy", str(policy))
    assert (found["requests"], found["matched"], found["denied"]) == (
        11,
        10,
        2,
    )  # after the second failure nobody passes


def test_lines_that_are_none_are_counted_and_shown(simulated: Simulated) -> None:
    lines = [
        line(0),
        "",
        "\x1b[2Jhello",
        line(0).replace("Oct", "Okt"),
        line(0, "example.com:80"),
        line(0).replace("200", "2OO"),
    ]
    found = simulated(lines, "--limit", "1/minute")
    assert (found["requests"], found["malformed"]) == (1, 4)
    assert [(one["number"], one["reason"]) for one in found["malformed_lines"]] == [
        (3, "not in the common or combined log format"),
        (4, "its time is not valid"),
        (5, "it does not begin with an address"),
        (6, "not in the common or combined log format"),
    ]


def test_a_log_without_a_request_is_a_finding(simulated: Simulated) -> None:
    assert simulated(["hello"], "--limit", "1/minute", status=1)["requests"] == 0


def test_requests_are_judged_in_the_order_of_their_times(simulated: Simulated) -> None:
    """A server may write a line when a request ends, with the time when it began."""
    found = simulated([line(0), line(100), line(30), line(101)], "--limit", "2/minute")
    assert (found["out_of_order"], found["denied"]) == (1, 0)
    assert (found["begin"], found["end"]) == (START, START + 101)


@given(st.lists(st.tuples(st.integers(0, 200), st.sampled_from(["192.0.2.1", "192.0.2.2"])), min_size=1), st.randoms())
def test_the_order_of_the_lines_does_not_matter(trace: list[tuple[int, str]], chance: random.Random) -> None:
    def denied(lines: list[tuple[int, str]]) -> tuple[int, int]:
        replay = Replay(
            RuleSet([Rule("3/minute")], GuardedStore(MemoryStore(), None, Processes(workers=1)), "simulate").matching
        )
        for hit in InOrder([read_line(number, line(*one)) for number, one in enumerate(lines)]):
            assert isinstance(hit, Hit)
            replay.hit(hit)
        return replay.report.denied, replay.report.requests

    mixed = list(trace)
    chance.shuffle(mixed)
    assert denied(mixed) == denied(sorted(trace))


def test_a_device_without_a_clock_logs_in_order_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "access.log"
    line = '192.0.2.1 - - [01/Jan/1970:00:00:0{} +0100] "GET / HTTP/1.1" 200 5\n'
    log.write_text("".join(line.format(second) for second in range(5)))
    assert main(["simulate", str(log), "--limit", "2/minute"]) == 0
    assert "3" in capsys.readouterr().out


def test_a_mark_of_the_byte_order_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policy.toml").write_text('[[rules]]\nlimits = "2/minute"\n', encoding="utf-8-sig")
    (tmp_path / "access.log").write_text("\n".join(map(line, range(3))), encoding="utf-8-sig")
    assert main(["simulate", str(tmp_path / "access.log"), "--policy", str(tmp_path / "policy.toml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["requests"] == 3


def test_a_log_that_is_too_large_to_be_put_in_order_has_to_be_sorted_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ratelimit_kit.cli.simulate.order.MAX_WAITING", 3)
    log = tmp_path / "access.log"
    within = [line(second) for second in (2, 1, 0, 5, 4, 3, 8, 7, 6)]
    log.write_text("\n".join(within))
    assert main(["simulate", str(log), "--limit", "2/minute", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["out_of_order"] == 6
    log.write_text("\n".join([*within, line(9), line(10), line(0)]))
    assert main(["simulate", str(log), "--limit", "2/minute"]) == 2
    assert "line 12 of the log is of 2025-10-09 08:53:20 UTC" in (said := capsys.readouterr().err)
    assert "sort first" in said


def test_each_example_in_the_help_does_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "ratelimit.toml").write_text('[[rules]]\nlimits = "10/second"\n')
    for age, name in enumerate(["access.log", "access.log.1", "access.log.2.gz", "access.log.3.gz"]):
        text = "\n".join([line(second, request="POST /login HTTP/1.1") for second in range(-60 * age, 60 - 60 * age)])
        data = (text + "\n").encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        os.utime(path, (START - 60 * age, START - 60 * age))
    program = tmp_path / "ratelimit-kit"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ratelimit_kit "$@"\n')
    program.chmod(0o755)
    examples = [text.strip() for text in EPILOG.splitlines() if "ratelimit-kit simulate" in text]
    assert len(examples) == 5
    found = []
    for example in examples:
        command = f"PATH={tmp_path}:$PATH; {example.removesuffix(' --json')} --json"
        done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
        report = json.loads(done.stdout)
        found.append((report["requests"], report["denied"], report["out_of_order"]))
    assert found == [(60, 0, 0), (60, 0, 0), (60, 55, 0), (60, 0, 0), (240, 0, 0)]


def test_offsets_are_honoured() -> None:
    assert seconds("10/Oct/2000:13:55:36 -0700") == 971_211_336
    assert seconds("10/Oct/2000:20:55:36 +0000") == 971_211_336
    assert seconds("11/Oct/2000:02:25:36 +0530") == 971_211_336
    assert seconds("31/Jun/2000:00:00:00 +0000") is None
    assert seconds("30/Jun/2015:23:59:60 +0000") == seconds("30/Jun/2015:23:59:59 +0000")  # a leap second
    assert seconds("30/Jun/2015:23:59:61 +0000") is None


def test_odd_requests_are_read() -> None:
    tls = read_line(1, line(0, request=r"\x16\x03\x01"))
    assert isinstance(tls, Hit)
    quoted = read_line(1, line(0, request=r"GET /\"a b\" HTTP/1.1", tail=' "-" "x" "10.0.0.1" 0.003'))
    assert isinstance(quoted, Hit)
    assert (quoted.method, quoted.path) == ("GET", r"/\"a b\"")
    assert isinstance(read_line(1, line(0)[:-5] + '"'), Malformed)


@given(st.text() | st.from_regex(r'1\.2\.3\.4 \S+ \S+ \[[^\]]*\] "[^"]*" \d{3} -(?: "[^"]*"){0,3}'))
def test_no_line_breaks_the_reading(text: str) -> None:
    """The content of a line comes from whoever sent the request."""
    found = read_line(1, text)
    assert isinstance(found, Hit | Malformed)
    if isinstance(found, Hit):
        rules = RuleSet([Rule("5/minute")], GuardedStore(MemoryStore(), None, Processes(workers=1)), "simulate")
        Replay(rules.matching).hit(found)


def test_gzip_and_standard_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = gzip.compress("\n".join(line(second) for second in range(15)).encode())
    log = tmp_path / "access.log.1"  # recognised by its content, not its name
    log.write_bytes(data)
    assert main(["simulate", str(log), "--limit", "10/minute", "--json"]) == 0
    from_file = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["simulate", "-", "--limit", "10/minute", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == from_file
    assert from_file["denied"] == 5


def test_a_broken_gzip_file_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "access.log.gz"
    log.write_bytes(gzip.compress(random.Random(1).randbytes(200_000))[:-1000])
    assert main(["simulate", str(log), "--limit", "10/minute"]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_report_is_for_people_and_safe_to_print(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "access.log"
    lines = [line(second) for second in range(12)] + [line(5), "\x1b]0;owned\x07" + "x" * 200]
    log.write_text("\n".join(lines))
    assert main(["simulate", str(log), "--limit", "10/minute"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines() == [
        f"{log}: 13 requests from 2025-10-09 08:53:20 UTC to 2025-10-09 08:53:31 UTC",
        "  judged       13, of 1 client",
        "  refused      3 (23.08 %), of 1 client",
        "  by           10/minute: 3",
        "  first        line 10, at 2025-10-09 08:53:29 UTC",
        "  out of order 1 line: judged in the order of their times",
        "  malformed    1 line, skipped:",
        "    line 14: not in the common or combined log format: \\x1b]0;owned\\x07" + "x" * 90,
        "",
        "  refused  requests  client",
        "        3        13  ip:203.0.113.7",
    ]


def test_a_long_line_costs_no_more_than_its_bytes(simulated: Simulated) -> None:
    found = simulated([line(0), "x" * 200_000, line(1)], "--limit", "1/minute")
    assert (found["requests"], found["malformed"]) == (2, 4)
