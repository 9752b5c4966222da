"""Policies from plain data: one schema for Django's setting, a TOML file and the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ratelimit_kit.core.options import options_of, refuse_unknown
from ratelimit_kit.errors import OptionError
from ratelimit_kit.web.policy import Policy
from ratelimit_kit.web.rules import Rule


def read_policy(cls: type[Policy], config: Mapping[str, Any]) -> Policy:
    """The policy that a mapping describes; OptionError for what it cannot read."""
    if not isinstance(config, Mapping):
        raise OptionError(f'a policy is a mapping such as {{"rules": [...], "store": "redis://..."}}, not {config!r}')
    options = {name: value for name, value in config.items() if name != "rules"}
    refuse_unknown("the policy", config, [*options_of(cls.__init__), "rules"])
    rules = config.get("rules", [])
    if not isinstance(rules, list | tuple):
        raise OptionError('"rules" is a list of mappings such as {"limits": "100/minute", "key": "ip"}')
    return cls(*(_rule(number, rule) for number, rule in enumerate(rules, start=1)), **options)


def read_file(path: str | Path) -> Mapping[str, Any]:
    """What a TOML file says; OptionError where it cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OptionError(f"the policy file {str(path)!r} cannot be read: {reason}") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OptionError(f"the policy file {str(path)!r} is no TOML: {error}") from None


def _rule(number: int, config: Any) -> Rule:
    if isinstance(config, Rule):
        return config
    if not isinstance(config, Mapping) or "limits" not in config:
        raise OptionError(f'rule {number} needs "limits": write for example {{"limits": "100/minute", "key": "ip"}}')
    options = {name: value for name, value in config.items() if name != "limits"}
    refuse_unknown(f"rule {number}", config, [*options_of(Rule.__init__), "limits"])
    limits = config["limits"]
    return Rule(*(limits if isinstance(limits, list | tuple) else [limits]), **options)
