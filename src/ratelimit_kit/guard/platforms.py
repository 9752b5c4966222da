"""Platforms that multiply processes, known by the variables that they document (docs/reference/platforms.md has the sources).

On some of them instances come and go with the load; some may run replicas and do not tell a container how many; some
number them. A store that counts per process, or per host, does not hold a limit there unless there is one instance.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from ratelimit_kit.guard.workers.detection import tested
from ratelimit_kit.guard.workers.servers import reloads, server

Environment = Mapping[str, str]


class Kind(Enum):
    """What a platform does with instances."""

    MULTIPLIES = "starts as many instances as there is load for"
    SILENT = "may run several replicas, and does not tell them how many"
    NUMBERS = "numbers its replicas"


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform: its name for `--platform`, its title in messages, and the variables by which it is known.

    `number` finds evidence of a further replica: the variable that shows it, or "". `development` has variables, with
    values, by which the platform's own tools show that they run on a developer's machine.
    """

    name: str
    title: str
    kind: Kind
    marks: tuple[str, ...]
    number: Callable[[Environment], str] = lambda _: ""
    development: tuple[tuple[str, str], ...] = ()

    def runs(self, environment: Environment) -> bool:
        """Whether a process with these variables runs there."""
        return any(environment.get(mark) for mark in self.marks) and not any(
            environment.get(name) == value for name, value in self.development
        )


def _above(name: str, first: int, pattern: str = r"(\d+)") -> Callable[[Environment], str]:
    """Finds a variable whose number is above that of the first replica."""
    form = re.compile(pattern)

    def evidence(environment: Environment) -> str:
        value = environment.get(name, "")
        found = form.fullmatch(value)
        return f"{name}={value}" if found and int(found[1]) > first else ""

    return evidence


PLATFORMS: Final = (
    Platform("lambda", "AWS Lambda", Kind.MULTIPLIES, ("AWS_LAMBDA_FUNCTION_NAME",), development=(("AWS_SAM_LOCAL", "true"),)),
    Platform("cloud-run", "Google Cloud Run (or Functions)", Kind.MULTIPLIES, ("K_SERVICE",)),
    Platform("cloud-run-job", "a Google Cloud Run job", Kind.NUMBERS, ("CLOUD_RUN_JOB",), _above("CLOUD_RUN_TASK_COUNT", 1)),
    Platform(
        "azure-functions", "Azure Functions", Kind.MULTIPLIES, ("FUNCTIONS_WORKER_RUNTIME",),
        development=(("AZURE_FUNCTIONS_ENVIRONMENT", "Development"),),
    ),
    Platform("vercel", "Vercel", Kind.MULTIPLIES, ("VERCEL",), development=(("VERCEL_ENV", "development"),)),
    Platform("azure-container-apps", "Azure Container Apps", Kind.SILENT, ("CONTAINER_APP_REPLICA_NAME", "CONTAINER_APP_NAME")),
    Platform("ecs", "Amazon ECS", Kind.SILENT, ("ECS_CONTAINER_METADATA_URI_V4", "ECS_CONTAINER_METADATA_URI")),
    Platform("fly", "Fly.io", Kind.SILENT, ("FLY_MACHINE_ID", "FLY_ALLOC_ID")),
    Platform("render", "Render", Kind.SILENT, ("RENDER_INSTANCE_ID", "RENDER")),
    Platform("railway", "Railway", Kind.SILENT, ("RAILWAY_REPLICA_ID",)),
    Platform("heroku", "Heroku", Kind.NUMBERS, ("DYNO",), _above("DYNO", 1, r"(?!run\.|release\.|scheduler\.)[\w-]+\.(\d+)")),
    Platform("nomad", "Nomad", Kind.NUMBERS, ("NOMAD_ALLOC_ID",), _above("NOMAD_ALLOC_INDEX", 0)),
    Platform("swarm", "Docker Swarm", Kind.NUMBERS, ("SWARM_TASK_SLOT",), _above("SWARM_TASK_SLOT", 1)),
    Platform("kubernetes", "Kubernetes", Kind.SILENT, ("KUBERNETES_SERVICE_HOST",), _above("HOSTNAME", 0, r".+-(\d{1,3})")),
)  # fmt: skip
"""The table; Kubernetes is last, because others run on it. Passenger is a server, which `workers` knows."""

ELSEWHERE: Final = (
    "CI", "TF_BUILD", "JENKINS_URL", "TEAMCITY_VERSION", "CODEBUILD_BUILD_ID",
    "CODESPACES", "REMOTE_CONTAINERS", "GITPOD_WORKSPACE_ID",
)  # fmt: skip
"""Variables of services that build and test, and of containers for development."""

NO: Final = ("", "0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a store that is not shared is unsafe: the platform, and the variable that shows a further replica, if one does."""

    platform: Platform
    evidence: str = ""

    @property
    def text(self) -> str:
        """Part of a sentence: what was found."""
        if self.evidence:
            return f"this is a further replica on {self.platform.title} ({self.evidence})"
        return f"{self.platform.title} {self.platform.kind.value}"


def named(name: str) -> Platform | None:
    """The platform with this name for `--platform`."""
    return next((platform for platform in PLATFORMS if platform.name == name), None)


def found() -> Finding | None:
    """What this process shows of a platform, unless it is one of a developer or a test.

    A platform on which instances come and go is unsafe with any server. One that only may run replicas is so for a
    server without a reloader: a shell or a notebook there is none.
    """
    environment: Environment = os.environ
    if tested() or any(environment.get(name, "").lower() not in NO for name in ELSEWHERE):
        return None
    platform = next((one for one in PLATFORMS if one.runs(environment)), None)
    if platform is None or (platform.kind is not Kind.MULTIPLIES and not is_production()):
        return None
    evidence = platform.number(environment)
    return Finding(platform, evidence) if evidence or platform.kind is not Kind.NUMBERS else None


def is_production() -> bool:
    """Whether a server runs this process, without a reloader or a debug mode."""
    return server() is not None and not reloads() and not _debugs()


def _debugs() -> bool:
    django: Any = sys.modules.get("django.conf")
    if django is not None and django.settings.configured and django.settings.DEBUG:
        return True
    return os.environ.get("FLASK_DEBUG", "").lower() not in NO
