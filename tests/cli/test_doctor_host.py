"""What `doctor` says of a store that the processes of one machine share."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratelimit_kit import HostStore, Limiter
from ratelimit_kit.cli import main
from ratelimit_kit.cli.doctor import host


@pytest.fixture(autouse=True)
def _no_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "CONTAINER_MARKS", ())


def test_it_shows_the_file_and_who_uses_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Limiter("5/minute", store=HostStore(path=tmp_path / "limits", max_keys=1000)).hit("key")
    assert main(["doctor", f"host://{tmp_path}/limits", "--strict"]) == 0
    said = capsys.readouterr().out
    assert f"pass  file            {tmp_path}/limits: 1 of 1000 keys of 1360 bytes" in said
    assert "open in 1 processes" in said
    assert "record locks work" in said
    assert "shared by all workers of this machine" in said
    assert "redis" not in said


def test_before_the_first_hit_there_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", f"host://{tmp_path}/limits"]) == 0
    said = capsys.readouterr().out
    assert "limits is made with the first hit" in said
    assert "skip  counting" in said
    assert list(tmp_path.iterdir()) == []


def test_keys_that_share_counters_are_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limiter = Limiter("5/minute", store=HostStore(path=tmp_path / "limits", max_keys=1))
    for key in ("a", "b"):
        limiter.hit(key)
    assert (
        main(["doctor", f"host://{tmp_path}/limits"]) == 1
    )  # its own key is one of them, and the first hit is refused
    assert "keys without room share 1 strict counters" in capsys.readouterr().out


def test_a_container_is_told_that_its_counters_are_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mark").touch()
    monkeypatch.setattr(host, "CONTAINER_MARKS", (str(tmp_path / "mark"),))
    Limiter("5/minute", store=HostStore(path=tmp_path / "limits")).hit("key")
    assert main(["doctor", f"host://{tmp_path}/limits", "--strict"]) == 0
    assert "LOW   host            this is a container" in capsys.readouterr().out


def test_what_is_wrong_with_the_folder_is_said_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", f"host://{tmp_path}/missing/limits"]) == 1
    said = capsys.readouterr().out
    assert "there is no folder" in said
    assert "redis-server" not in said
    assert "primary" not in said
