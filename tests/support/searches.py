"""The searches that auditors make, over a filled log, by name: what is planned in tests and timed in benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from audit.search_store import Sought
from tests.support.filled_log import NOTHING, FilledLog

LARGE, SMALL = "CN-YA/GOV/member-0/system", "CN-YA/GOV/member-97/system"
PROVIDER = "CN-YA/GOV/source-1/records"


def searches(log: FilledLog) -> Mapping[str, Sought]:
    """Each criterion by itself, and the combinations that are usual."""
    week, day = log.newest - timedelta(days=7), log.newest - timedelta(days=1)
    return {
        "newest": NOTHING,
        "page in the middle": replace(NOTHING, before=log.entries // 2),
        "a day a month ago": replace(NOTHING, since=log.newest - timedelta(days=31), until=log.newest - timedelta(days=30)),
        "large consumer": replace(NOTHING, consumer=LARGE),
        "small consumer": replace(NOTHING, consumer=SMALL),
        "provider": replace(NOTHING, provider=PROVIDER),
        "service": replace(NOTHING, service=f"{PROVIDER}/data-3"),
        "usual purpose": replace(NOTHING, purpose="purpose-0"),
        "unknown purpose": replace(NOTHING, purpose="purpose-none"),
        "refusals": replace(NOTHING, kind="deny"),
        "code": replace(NOTHING, code="consent-withdrawn"),
        "unknown code": replace(NOTHING, code="none"),
        "subject": replace(NOTHING, subjects=[log.subject]),
        "officer": replace(NOTHING, officers=[log.officer]),
        "case": replace(NOTHING, cases=[log.case]),
        "unknown subject": replace(NOTHING, subjects=[bytes(32)]),
        "subject and officer": replace(NOTHING, subjects=[log.subject], officers=[log.officer]),
        "officer in a week": replace(NOTHING, officers=[log.officer], since=week),
        "officer of a consumer": replace(NOTHING, officers=[log.officer], consumer=LARGE),
        "consumer, provider, purpose": replace(NOTHING, consumer=LARGE, provider=PROVIDER, purpose="purpose-3"),
        "consumer and purpose": replace(NOTHING, consumer=LARGE, purpose="purpose-3"),
        "consumer and provider": replace(NOTHING, consumer=LARGE, provider=PROVIDER),
        "provider and purpose": replace(NOTHING, provider=PROVIDER, purpose="purpose-3"),
        "provider and code": replace(NOTHING, provider=PROVIDER, code="consent-withdrawn"),
        "consumer and code in a day": replace(NOTHING, consumer=LARGE, code="right-missing", since=day),
        "all criteria": replace(
            NOTHING,
            since=log.newest - timedelta(days=60),
            until=log.newest,
            consumer=LARGE,
            provider=PROVIDER,
            service=f"{PROVIDER}/data-3",
            purpose="purpose-0",
            kind="release",
            subjects=[log.subject],
            officers=[log.officer],
            cases=[log.case],
        ),
        "auditor of a member": replace(NOTHING, within="CN-YA/GOV/member-97"),
        "auditor of a member, a subject": replace(NOTHING, within="CN-YA/GOV/member-97", subjects=[log.subject]),
    }
