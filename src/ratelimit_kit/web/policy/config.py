"""Policies from plain data: one schema for the settings of Django and Flask, TOML files and the command line.

Plain data cannot hold callables or compiled expressions: "import:package.module:name" stands for a callable, and a
path such as "re:..." for an expression.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any, Final

from ratelimit_kit.core.validation import naming, options_of, refuse_unknown
from ratelimit_kit.errors import OptionError
from ratelimit_kit.web.policy.ruleset import RuleSet
from ratelimit_kit.web.rules.rule import Rule

IMPORT: Final = "import:"
EXPRESSION: Final = "re:"

CHANGEABLE: Final = frozenset(options_of(RuleSet.__init__)) - {"rules", "store", "name", "reports"}
"""Options that may change while a server runs."""


def read_config(config: Mapping[str, Any], known: Iterable[str]) -> tuple[list[Rule], dict[str, Any]]:
    """The rules and options in a mapping; OptionError for an option that cannot be read or is not `known`."""
    if not isinstance(config, Mapping):
        raise OptionError(
            f'a policy must be a mapping such as {{"rules": [...], "store": "redis://..."}}, got {config!r}'
        )
    refuse_unknown("the policy", config, [*known, "rules"])
    options = {name: _meant(name, value) for name, value in config.items() if name != "rules"}
    return _rules(config), options


def renewed_by(config: Mapping[str, Any], known: Iterable[str], ruleset: RuleSet) -> RuleSet:
    """The rule set with the rules and the changeable options of a new configuration, on the same store."""
    rules, options = read_config(config, known)
    return ruleset.renewed(rules, **{name: value for name, value in options.items() if name in CHANGEABLE})


def fixed_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a configuration that cannot change while a server runs."""
    return {name: value for name, value in config.items() if name not in CHANGEABLE and name != "rules"}


def check_path(path: str | Path) -> Path:
    """The path; OptionError if it is none."""
    if not isinstance(path, str | PathLike):
        raise OptionError(
            f"a policy file must be a path such as 'ratelimit.toml', got {path!r}; a mapping is read by Policy.from_config"
        )
    return Path(path)


def read_file(path: str | Path) -> Mapping[str, Any]:
    """The contents of a TOML file; OptionError if it cannot be read."""
    try:
        text = check_path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OptionError(f"the policy file {str(path)!r} cannot be read: {reason}") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OptionError(f"the policy file {str(path)!r} is not valid TOML: {error}") from None


def imports_of(value: Any) -> Iterator[str]:
    """What plain data names to import, at any depth: reading it as a policy would run that code."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from imports_of(one)
    elif isinstance(value, str) and value.startswith(IMPORT):
        yield value


def _rules(config: Mapping[str, Any]) -> list[Rule]:
    rules = config.get("rules", [])
    if not isinstance(rules, list | tuple):
        raise OptionError('"rules" must be a list of mappings such as {"limits": "100/minute", "key": "ip"}')
    return [_rule(number, rule) for number, rule in enumerate(rules, start=1)]


def _rule(number: int, config: Any) -> Rule:
    if isinstance(config, Rule):
        return config
    if isinstance(config, Mapping):
        refuse_unknown(f"rule {number}", config, [*options_of(Rule.__init__), "limits"])
    if not isinstance(config, Mapping) or "limits" not in config:
        raise OptionError(f'rule {number} needs "limits". For example: {{"limits": "100/minute", "key": "ip"}}')
    name = config.get("name")
    with naming(f"rule {number}" if name is None else f"rule {number} ({name!r})"):
        options = {name: _meant(name, value) for name, value in config.items()}
        limits = options.pop("limits")
        return Rule(*(limits if isinstance(limits, list | tuple) else [limits]), **options)


def _meant(option: str, value: Any) -> Any:
    """The value that plain data stands for; lists are converted item by item."""
    if isinstance(value, list | tuple):
        return [_meant(option, one) for one in value]
    if isinstance(value, str) and value.startswith(IMPORT):
        return _imported(option, value)
    if isinstance(value, str) and value.startswith(EXPRESSION) and option in {"paths", "exempt"}:
        try:
            return re.compile(value.removeprefix(EXPRESSION))
        except re.error as error:
            raise OptionError(f"{option}: {value!r} is not a regular expression: {error}") from None
    return value


def _imported(option: str, value: str) -> Any:
    module, mark, name = value.removeprefix(IMPORT).partition(":")
    if not module or not mark or not name:
        raise OptionError(f"{option}={value!r} names nothing to import: write 'import:package.module:name'")
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        reason = f"{error}" if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        raise OptionError(f"{option}={value!r} cannot be imported: {reason}") from error
    return found
