"""The reference is complete and correct: every option is listed, and its tables agree with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ratelimit_kit import Policy, Rule, parse
from ratelimit_kit.core.validation import options_of
from ratelimit_kit.environment import KNOWN
from ratelimit_kit.errors import QuotaError
from ratelimit_kit.web.identity.address import ClientAddress
from ratelimit_kit.web.policy.config import CHANGEABLE
from ratelimit_kit.web.response.headers import FAMILIES
from tests.web.identity.test_address import request

DOCS = Path(__file__).parent.parent / "docs"


def section(page: str, heading: str) -> str:
    text = (DOCS / page).read_text()
    return text[text.index(f"\n## {heading}\n") :].split("\n## ")[1]


def table(text: str) -> list[list[str]]:
    """The cells of the first table, without its header."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def named(cells: list[str]) -> list[str]:
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def test_every_option_of_a_policy_is_in_the_reference() -> None:
    rows = table(section("reference/policy.md", "Options of a policy"))
    assert sorted(named([row[0] for row in rows])) == sorted(set(options_of(Policy.__init__)) - {"rules"})


def test_every_option_of_a_rule_is_in_the_reference() -> None:
    rows = table(section("reference/policy.md", "Options of a rule"))
    assert sorted(named([row[0] for row in rows])) == sorted({*options_of(Rule.__init__), "limits"})


@pytest.mark.parametrize("page", ["reference/policy.md", "how-to/configuration.md"])
def test_every_variable_is_told_of(page: str) -> None:
    heading = "Environment" if page.startswith("reference") else "The environment"
    assert sorted(named([row[0] for row in table(section(page, heading))])) == sorted(KNOWN)


def test_what_may_change_while_a_server_runs_is_told_in_full() -> None:
    may, restart = table(section("how-to/configuration.md", "Changes while the server runs"))
    options = set(options_of(Policy.__init__)) - {"rules"}
    assert set(named([may[1]])) == {*CHANGEABLE, "rules"}
    assert set(named([restart[1]])) == {*(options - CHANGEABLE), "messages"}


def test_every_family_of_fields_is_in_the_reference() -> None:
    text = (DOCS / "reference/headers.md").read_text().split("\n## ")[0]
    assert [row[0].split('"')[1] for row in table(text)] == list(FAMILIES)


SPOOFING = table(section("how-to/behind-a-proxy.md", "What clients may try"))


@pytest.mark.parametrize("row", SPOOFING, ids=[" ".join(row) for row in SPOOFING])
def test_clients_are_counted_as_the_table_says(row: list[str]) -> None:
    trusted, header, peer, field, key = row
    name, _, value = field.strip("`").partition(": ")
    proxies: list[str] | int = int(trusted) if trusted.isdigit() else [trusted] if trusted else []
    address = ClientAddress(proxies, client_header=header or "x-forwarded-for")
    assert address.key(request(peer=peer or None, fields={name.lower(): value})) == key


def test_the_table_has_enough_to_try() -> None:
    assert len(SPOOFING) >= 20


def test_the_message_about_a_limit_is_the_one_in_the_reference() -> None:
    with pytest.raises(QuotaError) as raised:
        parse("100/mnth")
    assert f"```text\n{raised.value}\n```" in (DOCS / "reference" / "limits.md").read_text()
