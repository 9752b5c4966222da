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
from pathlib import Path
from typing import Any, Final

from ratelimit_kit.core.validation import nearest
from ratelimit_kit.errors import OptionError
from ratelimit_kit.guard.workers.detection import tested
from ratelimit_kit.guard.workers.servers import reloads, server

Environment = Mapping[str, str]


class Kind(Enum):
    """What a platform does with instances."""

    MULTIPLIES = "starts further instances under load"
    SILENT = "may run several replicas, and does not say how many"
    NUMBERS = "numbers its replicas"


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform: its name for `--platform`, its title in messages, and the variables by which it is known.

    `number` finds evidence of a further replica: the variable that shows it, or "". `development` has variables, with
    values, by which the platform's own tools show that they run on a developer's machine. `further` is an example of a
    further replica. `runs_programs` if what it starts is no server.
    """

    name: str
    title: str
    kind: Kind
    marks: tuple[str, ...]
    number: Callable[[Environment], str] = lambda _: ""
    development: tuple[tuple[str, str], ...] = ()
    further: str = ""
    runs_programs: bool = False

    def runs(self, environment: Environment) -> bool:
        """Whether a process with these variables runs there."""
        return any(environment.get(mark, "").lower() not in NO for mark in self.marks) and not any(
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
    Platform(
        "cloud-run-job", "a Google Cloud Run job", Kind.NUMBERS, ("CLOUD_RUN_JOB",), _above("CLOUD_RUN_TASK_COUNT", 1),
        further="CLOUD_RUN_TASK_COUNT=2", runs_programs=True,
    ),
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
    Platform(
        "heroku", "Heroku", Kind.NUMBERS, ("DYNO",), _above("DYNO", 1, r"(?!run\.|release\.|scheduler\.)[\w-]+\.(\d+)"),
        further="DYNO=web.2",
    ),
    Platform(
        "nomad", "Nomad", Kind.NUMBERS, ("NOMAD_ALLOC_ID",), _above("NOMAD_ALLOC_INDEX", 0), further="NOMAD_ALLOC_INDEX=1"
    ),
    Platform(
        "swarm", "Docker Swarm", Kind.NUMBERS, ("SWARM_TASK_SLOT",), _above("SWARM_TASK_SLOT", 1), further="SWARM_TASK_SLOT=2"
    ),
    Platform("kubernetes", "Kubernetes", Kind.SILENT, ("KUBERNETES_SERVICE_HOST",), _above("HOSTNAME", 0, r".+-(\d{1,3})")),
)  # fmt: skip
"""The table; Kubernetes is last, because others run on it. Passenger is a server, which `workers` knows."""

ELSEWHERE: Final = (
    "CI", "TF_BUILD", "JENKINS_URL", "TEAMCITY_VERSION", "CODEBUILD_BUILD_ID",
    "CODESPACES", "REMOTE_CONTAINERS", "GITPOD_WORKSPACE_ID",
)  # fmt: skip
"""Variables of services that build and test, and of containers for development."""

NO: Final = ("", "0", "false", "no", "off")

ALIASES: Final = {
    "k8s": "kubernetes", "eks": "kubernetes", "gke": "kubernetes", "aks": "kubernetes", "openshift": "kubernetes",
    "aws-lambda": "lambda", "google-cloud-run": "cloud-run", "cloudrun": "cloud-run", "google-cloud-functions": "cloud-run",
    "cloud-functions": "cloud-run", "gcf": "cloud-run", "aws-ecs": "ecs", "aws-fargate": "ecs", "fargate": "ecs",
    "amazon-ecs": "ecs", "fly-io": "fly", "flyio": "fly", "docker-swarm": "swarm", "aca": "azure-container-apps",
    "container-apps": "azure-container-apps",
}  # fmt: skip
"""Other names of platforms."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a store that is not shared is unsafe: the platform, and the variable that shows a further replica, if one does."""

    platform: Platform
    evidence: str = ""

    @property
    def refuses(self) -> bool:
        """Whether a store that is not shared is refused there; where replicas are numbered the first one may use it."""
        return bool(self.evidence) or self.platform.kind is not Kind.NUMBERS

    @property
    def text(self) -> str:
        """Part of a sentence: what was found."""
        if self.evidence:
            return f"there are several replicas on {self.platform.title} ({self.evidence})"
        return f"{self.platform.title} {self.platform.kind.value}"


def named(name: str) -> Platform:
    """The platform with this name, or one of its usual other names; raises OptionError with the nearest name."""
    plain = re.sub(r"[\s._-]+", "-", name.strip().lower())
    known = {platform.name: platform for platform in PLATFORMS}
    if plain == "passenger":
        raise OptionError("Passenger is a server with several workers, not a platform: ask with --workers N")
    if ALIASES.get(plain, plain) not in known:
        raise OptionError(f"{name!r} is not a platform; {nearest(plain, known, ALIASES)}")
    return known[ALIASES.get(plain, plain)]


def found(*, serves: bool = False) -> Finding | None:
    """What this process shows of a platform, unless it is one of a developer or a test.

    A platform on which instances come and go is unsafe with any server, even one that cannot be seen, as that of a
    function. One that only may run replicas is so for a server without a reloader. `serves` asks what a server would
    be told that is started here.
    """
    environment: Environment = os.environ
    if tested() or any(environment.get(name, "").lower() not in NO for name in ELSEWHERE):
        return None
    platform = next((one for one in PLATFORMS if one.runs(environment)), None)
    if platform is None:
        return None
    unseen = platform.kind is Kind.MULTIPLIES or platform.runs_programs
    if not (serves or is_production() or (unseen and not is_tool())):
        return None
    return Finding(platform, platform.number(environment))


def is_tool() -> bool:
    """Whether this is a shell, a notebook, a line of code, or a command of Django's other than its server."""
    if hasattr(sys, "ps1") or sys.flags.interactive or "ipykernel" in sys.modules:
        return True
    program, *words = [*(sys.argv or [""]), ""]
    place = Path(program)
    if place.stem in {"manage", "django-admin"} or place.parts[-2:] == ("django", "__main__.py"):
        return not words[0].startswith("runserver")
    return program == "-c"


def is_production() -> bool:
    """Whether a server runs this process, without a reloader or a debug mode."""
    return server() is not None and not reloads() and not _debugs()


def _debugs() -> bool:
    django: Any = sys.modules.get("django.conf")
    if django is not None and django.settings.configured and django.settings.DEBUG:
        return True
    return os.environ.get("FLASK_DEBUG", "").lower() not in NO
