"""The log that a test of faults leaves behind: walked by ourselves in the database and as published, then by two strangers."""

from __future__ import annotations

import time
from pathlib import Path

import asyncpg

from audit.findings import Report
from audit.fsck import fsck
from audit.fsck_published import DirectorySource, fsck_published
from audit.note import VerifierKey, parse_vkey
from deploy.local import LocalExchange
from deploy.session import Session
from tests.audit.strangers import require_accepted
from tests.journeys.log_export import export_log
from tests.support.sealing import bodies_of
from tests.support.waiting import LIMIT_S


def log_key(exchange: LocalExchange) -> VerifierKey:
    """The verifier key of an exchange's log."""
    return parse_vkey((exchange.home.trust / "log.vkey").read_text(encoding="utf-8").strip())


async def whole_report(exchange: LocalExchange) -> Report:
    """What a walk over the log finds, once every entry has its place in the tree."""
    deadline = time.monotonic() + LIMIT_S
    connection = await asyncpg.connect(exchange.database().url("yitong_auditor"))
    try:
        while (report := await fsck(connection, log_key(exchange), bodies_of(exchange))).pending and report.ok:
            assert time.monotonic() < deadline, "the integrator never came to the end"
        return report
    finally:
        await connection.close()


async def require_whole_log(exchange: LocalExchange, session: Session, directory: Path) -> int:
    """Fetch the log over HTTP as an auditor, and fail unless everybody who walks it accepts it; how many entries it has.

    Skips, after all others have accepted it, where Go's verifiers are not installed.
    """
    report = await whole_report(exchange)
    assert report.ok, report.describe()
    entries = await export_log(session.audit(await session.token("auditor")), log_key(exchange), directory)
    published = await fsck_published(DirectorySource(directory), log_key(exchange))
    assert published.ok, published.describe()
    assert published.size == len(entries) >= report.published
    require_accepted(directory, log_key(exchange))
    return len(entries)
