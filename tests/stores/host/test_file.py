"""What may happen to a file of counters: it is removed, replaced, truncated, foreign, somebody else's, or there is no room."""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ratelimit_kit import Charge, HostStore, Limiter, SlidingWindow
from ratelimit_kit.errors import OptionError, StoreFullError, StoreUnavailableError, StoreURLError
from ratelimit_kit.stores import Scope, open_store
from ratelimit_kit.stores.host.files import boot, file, place
from ratelimit_kit.stores.host.files.layout import PAGE, Header, Layout
from ratelimit_kit.testing import ManualClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "limits"


def limiter_on(path: Path, limit: str = "2/day") -> Limiter:
    return Limiter(limit, store=HostStore(path=path))


def forget() -> None:
    """Open every file anew, as another process does."""
    file.opened.clear()
    gc.collect()


def used_up(path: Path) -> Limiter:
    limiter = limiter_on(path)
    assert [limiter.hit("key").allowed for _ in range(3)] == [True, True, False]
    return limiter


def look(limiter: Limiter) -> None:
    """Let the store look whether its file is still there, as it does four times a second."""
    limiter.store._access.check_at = 0.0


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    other = path.with_name("other")
    used_up(other).close()
    other.rename(path)


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def shorten(path: Path) -> None:
    os.truncate(path, PAGE)


def overwrite(path: Path) -> None:
    with path.open("r+b") as raw:
        raw.write(b"RLK-HOST" + bytes(100))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (remove, "it was removed"),
        (truncate, "it was truncated"),
        (shorten, "it was truncated"),
        (overwrite, "it was overwritten"),
    ],
)
def test_a_file_that_is_harmed_while_in_use_is_a_new_start_said_once(
    harm: Callable[[Path], None], reason: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = used_up(path)
    harm(path)
    look(limiter)
    assert [limiter.hit("key").allowed for _ in range(3)] == [True, True, False]
    assert caplog.text.count(f"begin anew, because {reason}") == 1
    other = limiter_on(path)
    assert not other.hit("key")


@pytest.mark.parametrize("harm", [truncate, shorten])
def test_it_is_noticed_at_once_where_it_must_be(harm: Callable[[Path], None], path: Path) -> None:
    limiter = used_up(path)
    harm(path)
    assert [limiter.hit("key").allowed for _ in range(3)] == [True, True, False]


def test_a_file_that_takes_its_place_is_used(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limiter = used_up(path)
    replace(path)
    look(limiter)
    assert not limiter.hit("key")
    assert "because it was replaced" in caplog.text


def test_processes_that_notice_at_the_same_time_agree_on_one_new_file(path: Path) -> None:
    limiters = [used_up(path)] + [limiter_on(path) for _ in range(3)]
    os.truncate(path, 0)
    results = path.with_name("results")
    children = []
    for limiter in limiters:
        pid = os.fork()
        if pid == 0:
            with results.open("ab", 0) as out:
                for _ in range(5):
                    out.write(b"1" if limiter.hit("key").allowed else b"0")
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert results.read_bytes().count(b"1") == 2
    assert sorted(one.name for one in path.parent.iterdir()) == ["limits", "results"]


def test_a_file_of_an_earlier_boot_is_a_new_start(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    used_up(path).close()
    forget()
    monkeypatch.setattr(boot, "identity", lambda: b"another boot".ljust(32))
    assert limiter_on(path).hit("key")
    assert "because it is from before this machine was started" in caplog.text


def foreign(path: Path) -> None:
    path.write_text("somebody's data")
    path.chmod(0o600)


def link(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))


def folder(path: Path) -> None:
    path.mkdir()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def other_format(path: Path) -> None:
    header = Header.of(10, bytes(16), boot.identity())._replace(format=2)
    path.touch(0o600)
    path.write_bytes(header.page())
    os.truncate(path, Layout(header).size)


def second_name(path: Path) -> None:
    used_up(path).close()
    path.with_name("second").hardlink_to(path)
    forget()


def writable(path: Path) -> None:
    used_up(path).close()
    path.chmod(0o666)
    forget()


@pytest.mark.parametrize(
    ("there", "error"),
    [
        (foreign, "is a file of another program"),
        (link, "is a symbolic link"),
        (folder, "is no regular file"),
        (fifo, "is no regular file"),
        (other_format, "has format 2, and this version of ratelimit-kit writes format 1"),
        (second_name, "has a second name"),
        (writable, r"has the mode 0666, and the store has mode=0o600: chmod 0600"),
    ],
)
def test_what_may_not_be_used_is_an_error_and_left_alone(there: Callable[[Path], None], error: str, path: Path) -> None:
    there(path)
    gc.collect()
    before = path.lstat()
    limiter = limiter_on(path)
    for call in (lambda: limiter.hit("key"), limiter.store.ping):
        with pytest.raises(StoreUnavailableError, match=error):
            call()
    assert path.lstat().st_ino == before.st_ino
    assert path.lstat().st_size == before.st_size


def as_user(user: int, groups: list[int], call: Callable[[], object]) -> str:
    """What a call returns, or the error it raises, in a child that runs as another user."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(groups)
            os.setgid(user)
            os.setuid(user)
            os.write(tell, str(call()).encode())
        except BaseException as error:  # noqa: BLE001 - the parent shows it
            os.write(tell, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(tell)
    with os.fdopen(told) as read:
        return read.read()


def open_to_all(path: Path) -> None:
    """Let other users come to a test's folder."""
    for parent in path.parents:
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_file_of_another_user_is_none_of_ours(path: Path) -> None:
    used_up(path).close()
    forget()
    open_to_all(path)
    said = as_user(12345, [], lambda: limiter_on(path).hit("key"))
    assert "belongs to user 0, and this process runs as user 12345" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_group_may_share_a_file_and_root_may_look(path: Path) -> None:
    open_to_all(path)
    os.chown(path.parent, 12345, 12399)
    path.parent.chmod(0o2770)  # files in it belong to its group

    def hit() -> int:
        return Limiter("2/day", store=HostStore(path=path, mode=0o660)).hit("key").remaining

    assert [as_user(user, [12399], hit) for user in (12345, 12346)] == ["1", "0"]
    assert "Permission denied" in as_user(12347, [], hit)
    assert path.stat().st_mode & 0o777 == 0o660
    assert not limiter_on(path).hit("key")


def test_without_room_for_the_file_it_is_full(path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(StoreFullError, match="there is no room for"):
            limiter_on(path).hit("key")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(path.parent.iterdir()) == []


def test_what_only_looks_makes_no_file(path: Path) -> None:
    limiter = limiter_on(path)
    assert limiter.peek("key").remaining == 2
    limiter.refund("key")
    limiter.reset("key")
    limiter.store.ping()
    limiter.store.clear()
    assert limiter.store.facts()["keys"] == 0
    assert not path.exists()


def test_a_file_shows_no_key_and_has_a_salt_of_its_own(path: Path) -> None:
    for name in ("limits", "other"):
        limiter = limiter_on(path.with_name(name))
        limiter.hit("192.0.2.7")
        assert b"192.0.2.7" not in path.with_name(name).read_bytes()
    salts = {Header.read(path.with_name(name).read_bytes()).salt for name in ("limits", "other")}  # type: ignore[union-attr]
    assert len(salts) == 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_one_descriptor_serves_all_stores_of_a_process_and_is_closed_when_the_file_is_gone(path: Path) -> None:
    stores = [HostStore(path=path) for _ in range(3)]
    for store in stores:
        store.decide([Charge("key", SlidingWindow(9, 60))])
    files = {store._access.opened for store in stores}
    assert len(files) == 1
    (one,) = files
    assert one is not None
    descriptor = one.descriptor
    del files, one, store
    for each in stores:
        each.close()
    gc.collect()
    os.fstat(descriptor)  # open still: closing it would end the locks of other threads
    path.unlink()
    limiter_on(path.with_name("other")).hit("key")
    gc.collect()
    open_files = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not any(name.startswith(str(path) + " ") for name in open_files)


def test_the_default_place_is_for_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "SHARED_MEMORY", tmp_path)
    store = HostStore("shop")
    assert store.path == tmp_path / f"ratelimit_kit-{os.geteuid()}" / "shop.1"
    store.decide([Charge("key", SlidingWindow(9, 60))])
    assert store.path.parent.stat().st_mode & 0o777 == 0o700
    store.path.parent.chmod(0o755)
    store.close()
    with pytest.raises(StoreUnavailableError, match="is not a folder that only this user may use"):
        store.decide([Charge("key", SlidingWindow(9, 60))])
    assert HostStore("shop", mode=0o660).path == tmp_path / "ratelimit_kit-shared-shop.1"


def test_a_network_file_system_is_refused_by_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = [("/", "ext4"), (str(path.parent), "nfs4")]
    monkeypatch.setattr(place, "_mounts", lambda: mounts)
    with pytest.raises(StoreUnavailableError, match="is on a file system of type nfs4"):
        limiter_on(path).hit("key")
    mounts.append((str(path.parent), "tmpfs"))  # mounted over it
    assert limiter_on(path).hit("key")


def test_without_a_folder_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="there is no folder"):
        limiter_on(tmp_path / "missing" / "limits").hit("key")


def test_a_name_and_options_are_checked(path: Path) -> None:
    for options in ({"name": "../x"}, {"name": ""}, {"name": 5}, {"path": "limits"}, {"path": "/"}, {"mode": 0o666}, {"max_keys": 0}, {"timeout": 0}, {"mode": True}, {"colour": 1}):  # fmt: skip
        with pytest.raises(OptionError):
            HostStore(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("host://", "HostStore('default')"),
        ("host://shop", "HostStore('shop')"),
        ("host:///run/shop/limits", "HostStore(path='/run/shop/limits')"),
        ("host:///run/shop/limits?mode=0660&max_keys=5&timeout=1", "HostStore(path='/run/shop/limits')"),
    ],
)
def test_urls(url: str, name: str) -> None:
    store = open_store(url)
    assert repr(store) == name
    assert store.scope is Scope.HOST


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("host://shop/limits", "is neither a name nor a path"),
        ("host://user:word@shop", "is neither a name nor a path"),
        ("host://?colour=red", "has no option 'colour': choose from max_keys, mode and timeout"),
        ("host://?mode=0777", "mode must be 0o600"),
        ("host://?max_keys=many", "max_keys must be a whole number"),
        ("host://?timeout=soon", "timeout must be a number of seconds"),
        ("host://sh%20op", "is no name for a host store"),
        ("host:////", "must be the absolute path of a file"),
    ],
)
def test_urls_that_name_none(url: str, error: str) -> None:
    with pytest.raises(StoreURLError, match=error):
        open_store(url)


def test_where_there_are_no_record_locks_it_says_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "HAS_LOCKS", False)
    with pytest.raises(OptionError, match=r'use store="redis://'):
        HostStore()


def test_another_number_of_keys_is_that_of_the_file(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    HostStore(path=path, max_keys=50).decide([Charge("key", SlidingWindow(2, 60))])
    store = HostStore(path=path, max_keys=60)
    assert store.decide([Charge("key", SlidingWindow(2, 60))])[0].remaining == 0
    assert store.facts()["max_keys"] == 50


def test_facts_tell_who_has_the_file_open(path: Path) -> None:
    store = HostStore(path=path, clock=ManualClock(start=10))
    store.decide([Charge("key", SlidingWindow(2, 60))])
    facts = store.facts()
    assert facts["path"] == str(path)
    assert (facts["keys"], facts["sharing"], facts["processes"]) == (1, 0, [os.getpid()])
    assert 0 < facts["bytes"] < facts["max_bytes"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_root_makes_no_file_that_others_could_not_use(path: Path) -> None:
    os.chown(path.parent, 12345, 12345)
    limiter = limiter_on(path)
    assert limiter.peek("key").remaining == 2
    with pytest.raises(StoreUnavailableError, match=r"root makes no file in the folder .* of user 12345"):
        limiter.hit("key")
    open_to_all(path)
    assert as_user(12345, [], lambda: limiter_on(path).hit("key").remaining) == "1"
    assert limiter_on(path).hit("key").remaining == 0  # root's tools may use what is there
