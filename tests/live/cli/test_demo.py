from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.processes import free_port, request, running

pytestmark = pytest.mark.live


def test_the_demo_serves_its_page_and_limits_its_paths() -> None:
    port = free_port()
    with running([sys.executable, "-m", "ratelimit_kit", "demo", "--port", str(port)], port) as process:
        page = request(port, method="GET")
        assert page.status == 200
        assert b"<title>" in page.body
        for name, kind in (("/demo.css", "text/css"), ("/demo.js", "text/javascript")):
            assert request(port, name, method="GET").headers["content-type"] == f"{kind}; charset=utf-8"
        assert request(port, "/else", method="GET").status == 404
        assert [request(port, "/hit/sliding-window").status for _ in range(12)] == [200] * 10 + [429] * 2
        assert f"http://127.0.0.1:{port}/" in process.text()
        process.popen.send_signal(signal.SIGINT)
        assert process.wait_until_ended(5) == 0
        assert "Traceback" not in process.text()


def test_a_busy_port_and_a_bad_one_are_said() -> None:
    port = free_port()
    command = [sys.executable, "-m", "ratelimit_kit", "demo", "--port"]
    with running([*command, str(port)], port):
        busy = subprocess.run([*command, str(port)], capture_output=True, text=True, check=False)
        assert busy.returncode == 3
        assert f"cannot listen on 127.0.0.1:{port}" in busy.stderr
    bad = subprocess.run([*command, "99999"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert "'99999' is not a port" in bad.stderr


def test_the_help_names_the_commands() -> None:
    text = subprocess.check_output([sys.executable, "-m", "ratelimit_kit", "--help"], text=True)
    assert "demo" in text
