"""Real servers for tests: started on free loopback ports and stopped by pid, with their output kept."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def need(program: str) -> str:
    """The program's path; if it is missing, the test fails in CI and is skipped elsewhere."""
    path = shutil.which(program)
    if path is None:
        message = f"{program} is not installed: run `make servers`"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


def python_program(name: str) -> str:
    """The path of a console script in the environment that runs the tests."""
    return str(Path(sys.executable).with_name(name))


RESET = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"


def interruptible(command: Sequence[str]) -> Sequence[str]:
    """The command with SIGINT enabled, because children inherit that a shell ignores it for background jobs.

    It is reset in the child, before the program starts: a handler in this process would interrupt the tests themselves,
    and `preexec_fn` is not safe with threads.
    """
    return [sys.executable, "-c", RESET, *command] if signal.getsignal(signal.SIGINT) is signal.SIG_IGN else command


class Process:
    """A running server: its port, its output, its exit."""

    def __init__(self, command: Sequence[str], port: int, *, cwd: Path, env: Mapping[str, str]) -> None:
        self.port = port
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("WEB_", "GUNICORN_", "PYTEST_XDIST"))
        }
        self.popen = subprocess.Popen(
            interruptible(command),
            cwd=cwd,
            env={**inherited, "PYTHONUNBUFFERED": "1", **env},
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def text(self) -> str:
        self.output.seek(0)
        return self.output.read().decode(errors="replace")

    def wait_until_up(self, seconds: float = 15) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.popen.poll() is not None:
                raise AssertionError(f"ended with {self.popen.returncode} before it listened:\n{self.text()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.02)
        raise AssertionError(f"did not listen on {self.port} within {seconds} s:\n{self.text()}")

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Make the server hang: it keeps its connections but does not respond."""
        os.kill(self.popen.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.popen.pid, signal.SIGCONT)

    def wait_until_ended(self, seconds: float) -> int:
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds} s:\n{self.text()}") from None

    def stop(self) -> None:
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.popen.pid, signal.SIGKILL)
                self.popen.wait()


@contextlib.contextmanager
def running(
    command: Sequence[str],
    port: int,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    wait: bool = True,
) -> Iterator[Process]:
    process = Process(command, port, cwd=cwd or Path.cwd(), env=env or {})
    try:
        if wait:
            process.wait_until_up()
        yield process
    finally:
        process.stop()
        process.output.close()


@dataclass
class RedisServer:
    """A redis-server for the tests."""

    process: Process
    port: int
    databases: int = 0

    def url(self) -> str:
        """The URL of a database that no other test has used."""
        self.databases += 1
        return f"redis://127.0.0.1:{self.port}/{self.databases % 1024}"

    def patient_url(self) -> str:
        """The same with a long timeout, for exact counts on a busy machine: a late reply makes limits fail open."""
        return self.url() + "?timeout=5"


@contextlib.contextmanager
def redis_server(*options: str, port: int = 0) -> Iterator[RedisServer]:
    port = port or free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            need("redis-server"),
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--databases",
            "1024",
        ]
        with running([*command, *options], port, cwd=Path(folder)) as process:
            yield RedisServer(process, port)


@contextlib.contextmanager
def memcached_server(*options: str, port: int = 0) -> Iterator[Process]:
    port = port or free_port()
    user = ["-u", "root"] if os.getuid() == 0 else []
    command = [need("memcached"), "-l", "127.0.0.1", "-p", str(port), "-U", "0", *user, *options]
    with running(command, port) as process:
        yield process


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


def request(port: int, path: str = "/", *, method: str = "POST", headers: Mapping[str, str] | None = None) -> Response:
    """One request over a new connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        answer = connection.getresponse()
        fields = {}
        for name, value in answer.getheaders():
            lower = name.lower()
            fields[lower] = f"{fields[lower]}, {value}" if lower in fields else value
        return Response(answer.status, fields, answer.read())
    finally:
        connection.close()
