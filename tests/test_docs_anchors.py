"""Links to the documentation from elsewhere keep working: an anchor that was published stays defined."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
INCLUDE = re.compile(r"^```\{include\} (\S+)$", re.MULTILINE)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
TARGET = re.compile(r"^\(([\w-]+)\)=$", re.MULTILINE)
SPAN = re.compile(r'<span id="([^"]+)"></span>')

ANCHORS = {
    "explanation/accuracy": (
        "accuracy-what-each-limit-promises-and-what-was-measured where-the-promise-depends-on-the-store "
    ),
    "explanation/algorithms": "all-or-nothing exact-numbers three-algorithms-and-what-each-promises",
    "explanation/comparison": "compared-with-other-libraries",
    "explanation/cost": "what-a-key-costs",
    "explanation/faults": "what-goes-wrong-measured",
    "explanation/guard": (
        "how-it-knows how-it-refuses the-guard ways-around-it what-else-is-looked-at what-is-found-later "
        "what-it-cannot-see the-process-guard "
    ),
    "explanation/performance": (
        "a-soak-run asgi-middleware django-middleware how-it-is-made-quick import measure-it-yourself measured "
        "memcached-one-connection-allowed memory-1-m-keys-that-have-expired memory-1-m-live-keys "
        "memory-one-hot-key-allowed memory-one-hot-key-denied performance redis-async-50-tasks "
        "redis-async-500-tasks redis-commands-that-a-decision-takes redis-denied-hot-key "
        "redis-one-connection-allowed redis-three-limits-at-once redis-time-that-the-server-spends-on-a-decision "
        "what-limits-it wsgi-middleware "
    ),
    "explanation/security": (
        "security-what-an-attacker-may-try to-be-somebody-else-with-each-request-anew to-inject-something "
        "to-reach-the-store to-turn-the-limiter-against-the-site to-wear-the-store-out-with-keys "
        "what-it-does-not-do "
    ),
    "explanation/time": "time",
    "how-to/behind-a-proxy": (
        "a-number-of-proxies cors fields-with-underscores forwarded-and-the-fields-of-an-edge ipv6 "
        "run-behind-a-proxy underscores what-clients-may-try what-the-proxy-has-to-write "
        "when-the-server-reads-the-field-already "
    ),
    "how-to/check": "check-a-configuration-before-it-is-deployed",
    "how-to/configuration": "a-file changes-while-the-server-runs configure-in-one-place in-django the-environment",
    "how-to/count-by": "choose-what-to-count-by cost",
    "how-to/count-failures": "no-race stop-password-guessing-count-failures which-key",
    "how-to/deploy": (
        "1-what-it-takes 2-settings-for-production 3-step-by-step 31-the-store-runs 32-the-packages-are-installed "
        "33-the-rules-are-right 34-the-store-does-what-the-limits-need 35-the-site-starts-and-is-healthy "
        "36-the-limit-holds-over-all-workers 37-the-metrics-count 38-it-can-be-stopped 4-troubleshooting 5-health "
        "6-monitoring 7-rollback 8-after-the-deployment after-the-deployment deploy health it-can-be-stopped "
        "monitoring rollback settings-for-production step-by-step the-limit-holds-over-all-workers "
        "the-metrics-count the-packages-are-installed the-rules-are-right the-site-starts-and-is-healthy "
        "the-store-does-what-the-limits-need the-store-runs troubleshooting what-it-takes with-containers "
    ),
    "how-to/django": "a-single-view caches limit-a-django-site the-caches-of-the-project the-whole-site",
    "how-to/drf": "limit-an-api-of-django-rest-framework with-the-decorator",
    "how-to/fastapi": (
        "a-router-an-application-a-mounted-application an-endpoint cors custom-denial-responses "
        "limit-a-fastapi-or-starlette-application other-words the-whole-application the-whole-example users "
    ),
    "how-to/flask": (
        "a-view-a-class-a-blueprint cors custom-denial-responses limit-a-flask-application other-words "
        "the-whole-application the-whole-example who-is-counted without-the-extension "
    ),
    "how-to/functions": "limit-functions-and-jobs",
    "how-to/health": "tell-whether-limits-are-enforced",
    "how-to/migrate/django-ratelimit": "from-django-ratelimit",
    "how-to/migrate/flask-limiter": "from-flask-limiter",
    "how-to/migrate/index": "how-to-change-over-without-a-gap move-from-another-library what-is-different-everywhere",
    "how-to/migrate/limits": "from-limits",
    "how-to/migrate/slowapi": "from-slowapi",
    "how-to/monitoring": (
        "alerts-and-a-dashboard an-observer-of-your-own metrics-for-opentelemetry metrics-for-prometheus "
        "several-workers watch-the-limits "
    ),
    "how-to/outages": (
        "alive-but-refusing decide-what-an-outage-means other-limits-for-an-outage the-values-of-on-outage "
        "what-it-costs what-local-promises "
    ),
    "how-to/release": "release-the-checklist",
    "how-to/shadow-and-rollback": "a-new-rule on-the-worst-day the-whole-site try-a-limit-in-shadow-and-take-it-back",
    "how-to/show-visitors": (
        "ask-again-by-itself cover-the-requests-of-existing-code say-it-in-your-own-way "
        "send-a-form-that-may-be-refused serve-the-two-files show-visitors-that-they-have-to-wait "
        "under-a-content-security-policy "
    ),
    "how-to/testing": (
        "a-store-for-tests one-store-by-hand test-an-application-that-has-limits three-fixtures without-pytest "
    ),
    "how-to/tiers": "give-each-plan-its-own-limits",
    "how-to/troubleshooting": (
        "a-browser-shows-a-network-error-instead-of-the-refusal a-changed-policy-file-does-nothing "
        "a-page-of-another-origin-gets-a-network-error-instead-of-the-429 everybody-is-refused-at-once "
        "nobody-is-refused one-client-is-refused-who-should-not-be requests-have-become-slow "
        "the-log-repeats-itself the-server-does-not-start the-store-is-down the-tests-of-your-own-site-are-refused "
        "too-many-pass troubleshooting "
    ),
    "how-to/verify": (
        "1-the-server-is-installed-and-runs 2-the-client-library-is-installed 3-the-store-answers-and-counts "
        "4-the-wrong-store-is-refused 5-the-limit-holds-over-all-workers the-client-library-is-installed "
        "the-limit-holds-over-all-workers the-server-is-installed-and-runs the-store-answers-and-counts "
        "the-wrong-store-is-refused verify-a-deployment "
    ),
    "how-to/websockets": "connections limit-websockets messages the-whole-example",
    "how-to/write-a-store": "prove-it write-a-store-of-your-own",
    "reference/api": (
        "api django fastapi-and-starlette flask front-doors observers "
        "requests-and-responses-as-callables-see-them testing wording-a-refusal "
    ),
    "reference/browser": (
        "configure-and-strings events loading the-browser-module the-stylesheet throttledfetch toast "
    ),
    "reference/cli": (
        "check command-line demo doctor inspect-and-reset simulate verify where-rules-and-stores-come-from "
    ),
    "reference/compatibility": "compatibility",
    "reference/errors": (
        "errors rlk101-quotaerror rlk102-costerror rlk103-optionerror rlk104-storeurlerror rlk105-dependencyerror "
        "rlk106-identityerror rlk201-unsafeworkerserror rlk202-lateworkerserror rlk203-unsafecacheerror "
        "rlk204-storeunreachableerror rlk205-replicaerror rlk206-notimeouterror rlk207-unreachablelimiterror "
        "rlk208-lostcounterserror rlk209-unusedruleserror rlk210-a-decorator-above-its-route "
        "rlk251-evictionwarning rlk252-splitslotswarning rlk253-clockoffsetwarning rlk254-otherportwarning "
        "rlk255-a-proxy-that-nobody-trusts rlk256-nobody-is-refused "
        "rlk261-the-field-of-a-trusted-proxy-is-missing "
        "rlk262-a-field-with-underscores-can-be-mistaken-for-the-proxy-s "
        "rlk262-a-field-with-underscores-can-be-mistaken-for-the-proxys rlk300-storeerror "
        "rlk301-storeunavailableerror "
        "rlk302-storecontendederror rlk303-the-changed-policy-file-cannot-be-applied rlk304-the-store-is-full "
        "rlk429-limitexceeded "
    ),
    "reference/headers": (
        "custom-denial-responses response-fields scripts-of-other-origins the-body-of-a-refusal where-no-field-is-added "
    ),
    "reference/limits": "changing-a-limit cost limits the-text-form",
    "reference/policy": (
        "a-cost-that-no-limit-admits counted-once environment exemptions methods options-of-a-policy "
        "options-of-a-rule pages-without-a-name paths plain-data policies-and-rules preflights unnamed-decorators "
    ),
    "reference/servers": "servers",
    "reference/stores": "cluster denials-from-memory memcached memory redis sentinel stores your-own",
    "tutorial/first-limit": (
        "1-an-application 2-a-rule-and-the-middleware 3-see-it-refuse-to-start 4-share-the-counters "
        "5-read-an-answer a-rule-and-the-middleware an-application read-an-answer see-it-refuse-to-start "
        "share-the-counters your-first-limit "
    ),
}


def anchors(page: Path) -> set[str]:
    """The ids that Sphinx creates: for each heading in both spellings, and for the anchors that keep an old one."""
    text = page.read_text()
    found: set[str] = set()
    for included in INCLUDE.findall(text):
        found |= anchors(page.parent / included)
    text = FENCE.sub("", text)
    for heading in HEADING.findall(text):
        found.add(re.sub(r"^[^a-z]+|-$", "", re.sub(r"[^a-z0-9]+", "-", heading.lower())))
        found.add(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"))
    return found | set(TARGET.findall(text)) | set(SPAN.findall(text))


@pytest.mark.parametrize("page", ANCHORS)
def test_every_published_anchor_is_still_defined(page: str) -> None:
    assert set(ANCHORS[page].split()) - anchors(DOCS / f"{page}.md") == set()
