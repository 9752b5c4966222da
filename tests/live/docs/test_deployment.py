"""The deployment guide, step by step as written, and the rollback drill on a running site.

`ROLLBACK_TABLE=docs/how-to/rollback-table.md` lets the drill write its log into the guide.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ratelimit_kit.web.policy.reload import RECHECK_SECONDS
from tests.clusters import wait_until
from tests.live.docs.test_deploy import samples
from tests.processes import (
    EXAMPLES,
    Process,
    RedisServer,
    free_port,
    need,
    python_program,
    redis_server,
    request,
    running,
)

pytestmark = pytest.mark.live

GUIDE = EXAMPLES.parent / "docs" / "how-to" / "deploy.md"
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def steps() -> list[tuple[str, list[str]]]:
    """The commands of section 3 and the lines that each must print."""
    text = GUIDE.read_text()
    section = text[text.index("## 3. Step by step") : text.index("### With containers")]
    found: list[tuple[str, list[str]]] = []
    for block in CONSOLE.findall(section):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def test_every_step_of_the_guide_does_what_it_says(tmp_path: Path) -> None:
    need("curl")
    need("redis-cli")
    folder = tmp_path / "deploy"
    shutil.copytree(EXAMPLES / "deploy", folder)
    port, other = free_port(), free_port()
    with redis_server() as server:
        policy = folder / "ratelimit.toml"
        policy.write_text(policy.read_text().replace("127.0.0.1:6379", f"127.0.0.1:{server.port}"))
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "BIND": f"127.0.0.1:{port}",
        }
        try:
            for command, expected in steps():
                here = command.replace("-p 6379", f"-p {server.port}").replace("127.0.0.1:8000", f"127.0.0.1:{port}")
                here = here.replace("127.0.0.1:8001", f"127.0.0.1:{other}")
                ended = subprocess.run(
                    ["bash", "-c", here], cwd=folder, env=environment, capture_output=True, text=True, check=False
                )
                said = (ended.stdout + ended.stderr).replace(f"127.0.0.1:{server.port}", "127.0.0.1:6379")
                assert ended.returncode == 0, (command, said)
                for line in expected:
                    assert line in said, (command, line, said)
        finally:
            if (folder / "site.pid").exists():  # the last step failed or was not reached
                subprocess.run(["bash", "-c", "kill $(cat site.pid)"], cwd=folder, check=False)


def test_the_guide_has_its_eight_sections() -> None:
    heads = re.findall(r"^## (\d)\. (.+)$", GUIDE.read_text(), re.MULTILINE)
    assert [int(number) for number, _ in heads] == list(range(1, 9))
    assert len(steps()) >= 10


def switch(policy: Path, mode: str) -> None:
    """Replace the file in one step, as an editor or a deployment does."""
    new = policy.with_suffix(".new")
    new.write_text(re.sub(r"^mode = .*", f'mode = "{mode}"', policy.read_text(), flags=re.MULTILINE))
    new.replace(policy)


def hammer(port: int) -> Counter[int]:
    """A hundred concurrent logins, so that every worker gets some."""
    with ThreadPoolExecutor(16) as pool:
        return Counter(pool.map(lambda _: request(port, "/login").status, range(100)))


def follow(process: Process, status: int) -> float:
    """Send requests until all workers respond with this status; returns the seconds that it took."""
    begun = time.monotonic()
    found: Counter[int] = Counter()
    while time.monotonic() < begun + 10:
        seconds = time.monotonic() - begun
        found = hammer(process.port)
        if found == {status: 100} and seconds > RECHECK_SECONDS:  # each has checked the file, or does so first
            return seconds
    log = "\n".join(line for line in process.text().splitlines() if "HTTP/1.1" not in line)
    raise AssertionError(f"not every answer became {status}: {found}\n{log}")


def workers_of(master: int) -> set[int]:
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return {int(child) for child in children}


def test_the_rollback_drill(redis: RedisServer, tmp_path: Path) -> None:
    """Enforce, off, shadow, enforce: every worker follows, and none is restarted."""
    folder = tmp_path / "deploy"
    shutil.copytree(EXAMPLES / "deploy", folder)
    (tmp_path / "metrics").mkdir()
    policy, port, rows = folder / "ratelimit.toml", free_port(), []
    environment = {
        "BIND": f"127.0.0.1:{port}",
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics"),
        "RATELIMIT_KIT_STORE": redis.patient_url(),
    }
    command = [python_program("gunicorn"), "--config", "gunicorn.conf.py", "service:application"]
    with running(command, port, cwd=folder, env=environment) as process:
        assert Counter(request(port, "/login").status for _ in range(15)) == {200: 10, 429: 5}
        rows.append(("enforce", "at the start", "10 of 15 logins pass", "429"))
        wait_until(lambda: len(workers_of(process.popen.pid)) == 4)
        at_first = workers_of(process.popen.pid)
        for mode, status, seen in (
            ("off", 200, "every login passes, none is counted"),
            ("shadow", 200, "every login passes; what would be refused is counted as shadow-denied"),
            ("enforce", 429, "refused at once: the hits were counted all along"),
        ):
            switch(policy, mode)
            seconds = follow(process, status)
            before = samples(port)
            hammer(port)
            new = Counter(samples(port)) - Counter(before)
            assert (
                new
                == {
                    "off": {},
                    "shadow": {("site", "allowed"): 100, ("login", "shadow-denied"): 100},
                    "enforce": {("site", "allowed"): 100, ("login", "denied"): 100},
                }[mode]
            ), mode
            assert workers_of(process.popen.pid) == at_first
            rows.append((mode, f"within {seconds:.1f} s", seen, str(status)))
        policy.write_text("this is no policy")
        follow(process, 429)
        rows.append(("a broken file", "never", "the rules before it stay; policy-not-reloaded is logged", "429"))
        assert "has changed and cannot be applied" in process.text()
    write_down(rows)


def write_down(rows: list[tuple[str, str, str, str]]) -> None:
    target = os.environ.get("ROLLBACK_TABLE")
    if target:
        head = ("mode in the file", "all workers followed", "what the visitor of /login sees", "status")
        lines = [" | ".join(row) for row in [head, ("---",) * len(head), *rows]]
        Path(target).write_text("".join(f"| {line} |\n" for line in lines))
