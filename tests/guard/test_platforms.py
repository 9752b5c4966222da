"""Platforms that multiply processes, each by the variables that it documents."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ratelimit_kit import Limiter, MemoryStore, Policy, Rule, Scope
from ratelimit_kit.cli import main
from ratelimit_kit.errors import OptionError, PlatformError
from ratelimit_kit.guard import abort, platforms
from ratelimit_kit.guard.platforms import ELSEWHERE, PLATFORMS, Kind

REFUSED = {
    "lambda": {"AWS_LAMBDA_FUNCTION_NAME": "shop", "AWS_EXECUTION_ENV": "AWS_Lambda_python3.12"},
    "cloud-run": {"K_SERVICE": "shop", "K_REVISION": "shop-00001-abc", "PORT": "8080"},
    "functions": {"K_SERVICE": "shop", "FUNCTION_TARGET": "main"},
    "cloud-run-job": {"CLOUD_RUN_JOB": "report", "CLOUD_RUN_TASK_INDEX": "0", "CLOUD_RUN_TASK_COUNT": "3"},
    "azure-functions": {"FUNCTIONS_WORKER_RUNTIME": "python", "WEBSITE_INSTANCE_ID": "a1"},
    "azure-container-apps": {"CONTAINER_APP_NAME": "shop", "CONTAINER_APP_REPLICA_NAME": "shop--0001-646779b4c5-bhc2v"},
    "vercel": {"VERCEL": "1", "VERCEL_ENV": "production"},
    "kubernetes": {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "web-7d4b9c6f5-x2x9z"},
    "stateful-set": {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "web-1"},
    "ecs": {"ECS_CONTAINER_METADATA_URI_V4": "http://169.254.170.2/v4/x"},
    "fargate": {"AWS_EXECUTION_ENV": "AWS_ECS_FARGATE", "ECS_CONTAINER_METADATA_URI": "http://169.254.170.2/v3/x"},
    "heroku": {"DYNO": "web.2"},
    "fly": {"FLY_APP_NAME": "shop", "FLY_MACHINE_ID": "148e272fe46d89", "FLY_ALLOC_ID": "148e272fe46d89"},
    "render": {"RENDER": "true", "RENDER_INSTANCE_ID": "srv-1-x"},
    "railway": {"RAILWAY_REPLICA_ID": "b9f1", "RAILWAY_SERVICE_ID": "a"},
    "nomad": {"NOMAD_ALLOC_ID": "5f3c", "NOMAD_ALLOC_INDEX": "1"},
    "swarm": {"SWARM_TASK_SLOT": "2"},
}
"""A name for each case, and its environment."""

STARTED = {
    "nothing": {},
    "heroku-first-dyno": {"DYNO": "web.1"},
    "heroku-one-off": {"DYNO": "run.4711"},
    "nomad-first": {"NOMAD_ALLOC_ID": "5f3c", "NOMAD_ALLOC_INDEX": "0"},
    "swarm-first": {"SWARM_TASK_SLOT": "1"},
    "job-of-one-task": {"CLOUD_RUN_JOB": "report", "CLOUD_RUN_TASK_COUNT": "1"},
    "sam-local": {"AWS_LAMBDA_FUNCTION_NAME": "shop", "AWS_SAM_LOCAL": "true"},
    "azure-core-tools": {"FUNCTIONS_WORKER_RUNTIME": "python", "AZURE_FUNCTIONS_ENVIRONMENT": "Development"},
    "vercel-dev": {"VERCEL": "1", "VERCEL_ENV": "development"},
    "hostname-elsewhere": {"HOSTNAME": "web-1"},
    **{
        f"kubernetes-{name}": {"KUBERNETES_SERVICE_HOST": "10.0.0.1", name: "https://ci" if "URL" in name else "true"}
        for name in ELSEWHERE
    },
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets variables in place of those of this machine; a server runs this process, and pytest does not."""

    def use(variables: dict[str, str]) -> None:
        for name in {*ELSEWHERE, "HOSTNAME", *(mark for platform in PLATFORMS for mark in platform.marks)}:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    monkeypatch.setattr(platforms, "tested", lambda: False)
    monkeypatch.setattr(platforms, "server", lambda: "gunicorn")
    monkeypatch.setattr(abort, "collected", lambda: False)
    return use


@pytest.mark.parametrize("case", REFUSED)
def test_a_store_that_is_not_shared_is_refused_where_instances_multiply(case: str, environment: Any) -> None:
    environment(REFUSED[case])
    with pytest.raises(PlatformError, match=r'MemoryStore counts per process.*Use store="redis.*workers=1 or .*RLK211'):
        Limiter("5/minute")
    Limiter("5/minute", workers=1)
    Limiter("5/minute", hosts=1)
    Limiter("5/minute", allow_per_process=True)
    with pytest.raises(PlatformError):
        Policy(Rule("5/minute")).check_workers()


@pytest.mark.parametrize("case", STARTED)
def test_no_false_alarm(case: str, environment: Any) -> None:
    environment(STARTED[case])
    Limiter("5/minute")
    Policy(Rule("5/minute")).check_workers()


@pytest.mark.parametrize(
    ("case", "evidence"),
    [
        ("heroku", "DYNO=web.2"),
        ("nomad", "NOMAD_ALLOC_INDEX=1"),
        ("swarm", "SWARM_TASK_SLOT=2"),
        ("stateful-set", "HOSTNAME=web-1"),
        ("cloud-run-job", "CLOUD_RUN_TASK_COUNT=3"),
    ],
)
def test_evidence_of_a_further_replica_is_named(case: str, evidence: str, environment: Any) -> None:
    environment(REFUSED[case])
    with pytest.raises(PlatformError, match=rf"there are several replicas on .* \({re.escape(evidence)}\)"):
        Limiter("5/minute")


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("reason", ["pytest", "no server", "reloader", "flask", "django"])
def test_what_is_no_server_in_production_starts(
    case: str, reason: str, environment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(REFUSED[case])
    monkeypatch.setattr(sys, "argv", ["main.py"])
    if reason == "pytest":
        monkeypatch.setattr(platforms, "tested", lambda: True)
    elif reason == "no server":
        monkeypatch.setattr(platforms, "server", lambda: None)
    elif reason == "reloader":
        monkeypatch.setattr(platforms, "reloads", lambda: True)
    elif reason == "flask":
        monkeypatch.setenv("FLASK_DEBUG", "1")
    else:
        settings = SimpleNamespace(configured=True, DEBUG=True)
        monkeypatch.setitem(sys.modules, "django.conf", SimpleNamespace(settings=settings))
    found = platforms.found()
    platform = next(one for one in PLATFORMS if one.runs(REFUSED[case]))
    multiplies = platform.kind is Kind.MULTIPLIES or platform.runs_programs
    assert (found is not None) == (multiplies and reason != "pytest")
    for command in (["manage.py", "migrate"], ["/opt/shop/manage.py", "check"], ["django-admin", "shell"], ["-c"]):
        monkeypatch.setattr(sys, "argv", command)
        if reason == "no server":
            assert platforms.found() is None


class HostStore(MemoryStore):
    """Stands for a store that the processes of a host share."""

    scope = Scope.HOST


def test_a_store_of_the_host_needs_one_declared_host(environment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(REFUSED["kubernetes"])
    with pytest.raises(
        PlatformError, match=r"counts per host, and Kubernetes may run.*hosts=1 or RATELIMIT_KIT_HOSTS=1"
    ):
        Limiter("5/minute", store=HostStore())
    Limiter("5/minute", store=HostStore(), hosts=1)
    Limiter("5/minute", store=HostStore(), workers=1)
    with pytest.raises(PlatformError):
        Limiter("5/minute", store=HostStore(), workers=4)
    monkeypatch.setenv("RATELIMIT_KIT_HOSTS", "1")
    Limiter("5/minute", store=HostStore())
    Limiter("5/minute", store=HostStore(), workers=4)


@pytest.mark.parametrize("store", [MemoryStore, HostStore])
def test_several_declared_hosts_are_refused_everywhere(store: type[MemoryStore]) -> None:
    with pytest.raises(PlatformError, match="hosts=3 is declared: each client would get 3 x its quota"):
        Limiter("5/minute", store=store(), hosts=3)
    Limiter("5/minute", store="redis://127.0.0.1:1", hosts=3)


@pytest.mark.parametrize("hosts", [0, -1, True, "1", 1.5])
def test_a_number_of_hosts_is_a_number(hosts: Any) -> None:
    with pytest.raises(OptionError, match="is not a number of hosts"):
        Limiter("5/minute", hosts=hosts)


@pytest.mark.parametrize("name", [platform.name for platform in PLATFORMS])
def test_check_says_what_a_start_there_would_say(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    file = tmp_path / "ratelimit.toml"
    file.write_text('[[rules]]\nlimits = "5/minute"\n')
    platform = platforms.named(name)
    assert platform is not None
    refused = platform.kind is not Kind.NUMBERS  # the first of numbered replicas starts
    assert main(["check", str(file)]) == 0
    assert main(["check", str(file), "--platform", name]) == refused
    assert ("error RLK211: MemoryStore counts per process, and " in capsys.readouterr().out) == refused
    assert main(["check", str(file), "--platform", name, "--workers", "1"]) == 0
    file.write_text('store = "redis://127.0.0.1:1"\n[[rules]]\nlimits = "5/minute"\n')
    assert main(["check", str(file), "--platform", name]) == 0


def test_the_page_has_every_platform_and_every_variable() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "platforms.md").read_text()
    for platform in PLATFORMS:
        assert f"| `{platform.name}` |" in page
        for mark in platform.marks:
            assert f"`{mark}`" in page
    for name in ELSEWHERE:
        assert f"`{name}`" in page
