"""What Windows does not have: it is not used there, and the refusals are the same as elsewhere."""

from __future__ import annotations

import ast
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ratelimit_kit
from ratelimit_kit import Limiter, Policy, Rule
from ratelimit_kit.errors import StoreURLError, UnsafeWorkersError
from ratelimit_kit.guard import announce, claims, socket_locks
from ratelimit_kit.guard.abort import refuse
from ratelimit_kit.guard.workers.count import Workers
from ratelimit_kit.stores import open_store
from ratelimit_kit.wsgi import RateLimitMiddleware
from tests.test_wsgi import call, hello

ABSENT: dict[ModuleType, str] = {
    os: """chown chroot fchdir fchmod fchown fork forkpty geteuid getegid getgid getgroups getloadavg getpgid getpgrp
        getpriority getresgid getresuid getsid getuid killpg lchown lockf mkfifo mknod nice openpty pathconf pipe2
        posix_fadvise posix_fallocate posix_openpt posix_spawn posix_spawnp pread preadv pwrite pwritev readv
        register_at_fork sched_getaffinity sched_setaffinity sched_yield sendfile setegid seteuid setgid setgroups setpgid
        setpriority setsid setuid statvfs sync sysconf tcgetpgrp ttyname uname wait wait3 wait4 writev WNOHANG WIFEXITED
        O_CLOEXEC O_DIRECTORY O_NOCTTY O_NOFOLLOW O_NONBLOCK O_SYNC get_blocking set_blocking""",
    signal: """SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2 SIGWINCH alarm
        pause pthread_kill pthread_sigmask setitimer sigpending sigwait""",
    socket: "AF_UNIX SO_REUSEPORT MSG_DONTWAIT MSG_NOSIGNAL SCM_RIGHTS TCP_USER_TIMEOUT recv_fds send_fds",
    select: "epoll kqueue poll",
    time: "CLOCK_BOOTTIME CLOCK_MONOTONIC CLOCK_REALTIME clock_gettime clock_gettime_ns clock_settime tzset",
}
"""Names that exist on Linux or macOS and not on Windows; `get_blocking` came there with Python 3.12."""

MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}

GUARDED = {
    "guard/claims.py": "asks nothing of the system without fcntl",
    "guard/listening.py": "likewise",
    "core/fork.py": "looks first",
    "stores/pool.py": "likewise",
    "stores/host/files/boot.py": "the store has been refused",
    "stores/host/files/file.py": "likewise",
    "stores/host/files/opening.py": "likewise",
    "stores/host/files/place.py": "likewise",
    "stores/host/fast_path.py": "likewise",
    "stores/host/access.py": "likewise",
    "stores/host/inspection.py": "likewise",
    "stores/memcached/connection.py": "the URL of a UNIX socket has been refused",
}
"""The files that use such names, and why they may."""


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        for module, names in ABSENT.items():
            for name in names.split():
                patch.delattr(module, name, raising=False)
        for name in MODULES:
            patch.setitem(sys.modules, name, None)
        patch.setattr(claims, "fcntl", None)
        patch.setattr(claims, "_take", claims._by_file)
        yield


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("serving", [True, False])
def test_a_process_counts_and_looks_for_no_siblings(serving: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) if serving else socket.socket():
        application = RateLimitMiddleware(hello, Policy(Rule("1/minute", key="ip"), store="memory://"))
        assert [call(application)[0] for _ in range(2)] == ["200 OK", "429 Too Many Requests"]
        limiter = Limiter("1/minute")
        assert [limiter.hit("key").allowed for _ in range(2)] == [True, False]
        assert socket_locks.listening_addresses() == []
        with pytest.raises(claims.NoProofError, match="this system has no record locks"):
            claims.claim("name")


@pytest.mark.usefixtures("windows")
def test_several_workers_are_refused_as_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnsafeWorkersError, match="RLK201"):
        Limiter("5/minute", workers=2)
    two = Workers(2, "uvicorn is starting 2 workers (--workers 2)", number=1)
    for place in ("abort", "declarations", "process_guard"):
        monkeypatch.setattr(f"ratelimit_kit.guard.{place}.detected", lambda: two)
    monkeypatch.setattr("ratelimit_kit.guard.abort.is_child", lambda: True)
    assert announce.is_first("no") is None
    with pytest.raises(UnsafeWorkersError, match="uvicorn is starting 2 workers"):
        Limiter("5/minute")
    assert capsys.readouterr().err.count("[RLK201]") == 2
    with pytest.raises(UnsafeWorkersError):
        refuse(UnsafeWorkersError("found"))


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize(
    "url", ["unix:///run/redis.sock", "unix://user:secret@/run/redis.sock?db=1", "memcached:///run/memcached.sock"]
)
def test_a_unix_socket_is_refused_with_the_address_to_write(url: str) -> None:
    with pytest.raises(
        StoreURLError, match=r"a UNIX socket, which this system does not have.*127\.0\.0\.1.*RLK104"
    ) as found:
        open_store(url)
    assert "secret" not in str(found.value)


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "redis+cluster://127.0.0.1:1", "memcached://127.0.0.1:1"])
def test_a_store_without_its_server_is_an_ordinary_outage(url: str) -> None:
    limiter = Limiter("1/minute", store=url, on_outage="local")
    assert [limiter.hit("key").allowed for _ in range(2)] == [True, False]


PACKAGE = Path(ratelimit_kit.__file__).parent


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=str)
def test_what_windows_does_not_have_is_used_where_it_has_been_looked_for(path: Path) -> None:
    absent = {module.__name__: set(names.split()) for module, names in ABSENT.items()}
    used: set[Any] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used |= {node.attr} & absent.get(node.value.id, set())
        elif isinstance(node, ast.ImportFrom):
            used |= {alias.name for alias in node.names} & absent.get(node.module or "", set())
        elif isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names} & MODULES
    assert not used or path.relative_to(PACKAGE).as_posix() in GUARDED, used


@pytest.mark.usefixtures("windows")
def test_a_store_of_the_host_is_refused_with_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("ratelimit_kit.stores.host")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(StoreURLError, match=r'needs record locks \(fcntl\).*use store="redis://..."'):
        open_store("host://")
