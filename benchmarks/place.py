"""Where a scenario runs: servers of its own on free loopback ports, and all that has to be closed afterwards."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from functools import cached_property
from typing import Self


class Place:
    """Servers are started when a scenario first asks for them, and stopped at the end; `keys` is what many keys are."""

    def __init__(self, keys: int = 1_000_000) -> None:
        self.keys = keys
        self.stack = ExitStack()
        self._databases = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def redis_url(self) -> str:
        """The URL of a database that nobody else uses."""
        self._databases += 1
        return f"redis://127.0.0.1:{self.redis_port}/{self._databases}"

    def redis_socket_url(self) -> str:
        """The same, over the server's UNIX socket."""
        self._databases += 1
        port = self.redis_port
        return f"unix://{self.folder}/{port}?db={self._databases}"

    @cached_property
    def folder(self) -> str:
        """A folder for servers."""
        return self.stack.enter_context(tempfile.TemporaryDirectory())

    @cached_property
    def redis_port(self) -> int:
        """The port of a redis-server."""
        folder = self.folder
        port = free_port()
        self._start(
            [
                *f"redis-server --port {port} --bind 127.0.0.1 --databases 256 --appendonly no --dir {folder}".split(),
                "--save",
                "",
                "--unixsocket",
                f"{folder}/{port}",
            ],
            port,
        )
        return port

    @cached_property
    def memcached_port(self) -> int:
        """The port of a memcached."""
        port = free_port()
        self._start(["memcached", "-l", "127.0.0.1", "-p", f"{port}", "-U", "0", "-u", "nobody", "-m", "256"], port)
        return port

    def _start(self, command: list[str], port: int) -> None:
        if shutil.which(command[0]) is None:
            raise SystemExit(f"{command[0]} is not installed: run `make servers`")
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.stack.callback(server.wait, 10)
        self.stack.callback(server.terminate)
        end = time.monotonic() + 10
        while time.monotonic() < end and server.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.02)
        raise SystemExit(f"{command[0]} did not listen on port {port} within 10 s")


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
