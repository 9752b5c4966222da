"""gunicorn that is told to have more workers while it serves, in every way: one worker goes on, and the site stays up."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.live.guard.test_guard import GUNICORN, serving, until
from tests.live.servers import APPS, WSGI
from tests.processes import Process, free_port, python_program, request, running

pytestmark = pytest.mark.live


def statuses(port: int, count: int) -> list[int]:
    found = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            found.append(request(port, method="GET").status)
    return found


def configured(folder: Path, **settings: object) -> Path:
    file = folder / "conf.py"
    file.write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()))
    return file


@pytest.mark.parametrize("options", [[], ["--preload"], ["--threads", "2"]], ids=["plain", "preload", "threads"])
def test_after_a_reload_with_more_workers_one_of_them_serves(options: list[str], tmp_path: Path) -> None:
    port = free_port()
    file = configured(tmp_path, workers=1)
    with running([*serving(port, *options), "-c", str(file)], port, cwd=APPS) as process:
        assert statuses(port, 1) == [200]
        configured(tmp_path, workers=4)
        process.popen.send_signal(signal.SIGHUP)
        until(lambda: "[RLK202]" in process.text(), process, 20)
        assert "was told to have 4 workers: all but one of them may not decide" in process.text()
        begun, found = time.monotonic(), []
        while time.monotonic() < begun + 7:  # those that went are started again every five seconds
            found += statuses(port, 1)
            time.sleep(0.1)
        assert len(found) >= 12, process.text()
        assert found.count(200) <= 2 * 10  # the last ones of the old worker, and its successor's
        assert set(found) <= {200, 429}
        assert process.popen.poll() is None
        assert process.text().count("[RLK202]") <= 4, process.text()
        configured(tmp_path, workers=1)
        process.popen.send_signal(signal.SIGHUP)
        until(lambda: 200 in statuses(port, 1), process)  # a new worker, with new counters


@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["plain", "preload"])
def test_a_worker_added_over_the_control_socket_is_one_too_many(options: list[str], tmp_path: Path) -> None:
    port, control = free_port(), str(tmp_path / "control")
    with running([*serving(port, *options), "--control-socket", control], port, cwd=APPS) as process:
        assert statuses(port, 1) == [200]
        until(lambda: Path(control).exists(), process)
        command = [python_program("gunicornc"), "-s", control, "-c", "worker add 1"]
        subprocess.run(command, check=True, capture_output=True, timeout=10)
        until(lambda: "[RLK202]" in process.text(), process)
        found = statuses(port, 12)
        assert found == [200] * 9 + [429] * 3
        assert process.popen.poll() is None


def test_two_servers_of_one_user_share_no_control_socket(tmp_path: Path) -> None:
    """The path of the socket is the same by default; a reloaded worker inherits it from its arbiter."""
    ports = free_port(), free_port()
    home = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    with contextlib.ExitStack() as servers:
        processes: list[Process] = []
        for number, port in enumerate(ports):
            env = {**home, "SITE": "ab"[number]}
            processes.append(
                servers.enter_context(running([GUNICORN, WSGI, "--bind", f"127.0.0.1:{port}"], port, cwd=APPS, env=env))
            )
            until(lambda: "Control socket listening" in processes[-1].text(), processes[-1])
            processes[-1].popen.send_signal(signal.SIGHUP)
            until(lambda: processes[-1].text().count("Booting worker") == 2, processes[-1])
        end = time.monotonic() + 7
        while time.monotonic() < end:
            assert set(statuses(ports[0], 1) + statuses(ports[1], 1)) <= {200, 429}
            time.sleep(0.1)
        assert all("RLK202" not in process.text() for process in processes)


def test_an_upgrade_that_takes_its_time_is_no_false_alarm(tmp_path: Path) -> None:
    """USR2 starts a second master beside the first; an operator may look at it for a while before ending the old one."""
    port, pids = free_port(), tmp_path / "pid"
    with running([*serving(port), "--pid", str(pids)], port, cwd=APPS) as process:
        assert statuses(port, 1) == [200]
        process.popen.send_signal(signal.SIGUSR2)
        until(lambda: process.text().count("Booting worker") == 2, process)
        end, found = time.monotonic() + 7, []
        while time.monotonic() < end:  # longer than the wait for a sibling
            found += statuses(port, 1)
            time.sleep(0.1)
        assert set(found) <= {200, 429}, process.text()
        upgraded = int((tmp_path / "pid.2").read_text())
        try:
            process.popen.send_signal(signal.SIGQUIT)
            process.wait_until_ended(10)
            assert set(statuses(port, 3)) <= {200, 429}
            assert "RLK2" not in process.text()
        finally:
            os.kill(upgraded, signal.SIGQUIT)
