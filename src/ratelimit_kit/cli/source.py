"""Where a command finds its rules and its store: a policy file, a Django project, or a store's URL.

Every command that needs them takes the same options. A URL in place of a file is treated as the store, so that a
password in it is never printed as part of a file name.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ratelimit_kit.errors import OptionError, RateLimitKitError
from ratelimit_kit.guard import platforms
from ratelimit_kit.web.policy.config import imports_of, read_file

DJANGO = "DJANGO_SETTINGS_MODULE"

PLATFORMS = textwrap.fill(
    "platforms: " + ", ".join(platform.name for platform in platforms.PLATFORMS),
    79,
    subsequent_indent="  ",
    break_on_hyphens=False,
)
"""What --platform takes, for the end of a command's help."""


def add_source(parser: argparse.ArgumentParser, *, positional: bool) -> None:
    """Add the options that name rules and store; the file is positional or `--policy FILE`."""
    help_file = "a TOML file as Policy.from_file reads it"
    if positional:
        parser.add_argument("file", nargs="?", metavar="FILE", help=help_file)
    else:
        parser.add_argument("--policy", dest="file", metavar="FILE", help=help_file)
    parser.add_argument(
        "--django", action="store_true", help=f"the setting RATELIMIT_KIT of the Django project that {DJANGO} names"
    )
    parser.add_argument("--store", metavar="URL", help="a store, such as redis://127.0.0.1:6379/0")
    add_allowance(parser)


def add_allowance(parser: argparse.ArgumentParser) -> None:
    """Add the option without which nothing is imported that a file names."""
    parser.add_argument(
        "--allow-imports",
        action="store_true",
        help="import what the file names, which runs its code, from this folder too",
    )


def add_platform(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a platform."""
    parser.add_argument(
        "--platform",
        type=_platform,
        metavar="NAME",
        help="what a start there would say: kubernetes, lambda, ... (see below)",
    )


def _platform(name: str) -> platforms.Finding:
    try:
        return platforms.Finding(platforms.named(name))
    except OptionError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def platform_of(options: argparse.Namespace) -> platforms.Finding | None:
    """The platform that was named, else the one that this command runs on, as a server that is started there finds it."""
    named: platforms.Finding | None = options.platform
    return named or platforms.found(serves=True)


def check_source(options: argparse.Namespace) -> None:
    """Raise OptionError unless the options name exactly one source."""
    if options.file is not None and "://" in options.file and options.store is None:
        options.file, options.store = None, options.file
    if sum(one is not None for one in (options.file, options.django or None, options.store)) != 1:
        raise OptionError("name one thing to look at: a policy file, --django, or --store URL")


def read_source(options: argparse.Namespace) -> Mapping[str, Any]:
    """The configuration that the options name; a bare store has no rules. OptionError if it cannot be read."""
    check_source(options)
    if options.django or (options.store or "").startswith("django-cache://"):
        _import_from_here()
        return _of_django(options.store)
    if options.store is not None:
        return {"store": options.store}
    return allowed(read_file(options.file), options.file, options)


def allowed(config: Mapping[str, Any], file: str, options: argparse.Namespace) -> Mapping[str, Any]:
    """The contents of a file; OptionError if it names code, which might be anybody's, and nobody has allowed to run it."""
    named = list(dict.fromkeys(imports_of(config)))
    if named and not options.allow_imports:
        more = f" and {len(named) - 1} more" if len(named) > 1 else ""
        raise OptionError(
            f"the policy file {file!r} names code, {named[0]!r}{more}, which would run if this command read the file. If you "
            f"trust it, type: ratelimit-kit {options.command} ... --allow-imports"
        )
    if named:
        _import_from_here()
    return config


def _import_from_here() -> None:
    """Let a file's "import:package.module:name" and a Django project be found in the current folder, as servers do."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def _of_django(store: str | None) -> Mapping[str, Any]:
    """The Django project's setting, or a store that is one of its caches; OptionError if it cannot be loaded."""
    if not os.environ.get(DJANGO):
        raise OptionError(f"{DJANGO} is not set: for example {DJANGO}=mysite.settings ratelimit-kit ...")
    try:
        from django.conf import settings

        import django

        if store is not None:
            return {"store": store} if settings.CACHES else {}
        django.setup()
        config = getattr(settings, "RATELIMIT_KIT", None)
    except RateLimitKitError:
        raise
    except Exception as error:  # a project's settings may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise OptionError(f"the Django project {os.environ[DJANGO]!r} cannot be loaded: {reason}") from error
    if config is None:
        raise OptionError(f"the settings {os.environ[DJANGO]!r} have no RATELIMIT_KIT")
    found: Mapping[str, Any] = config
    return found
