"""Reconciliation: a provider's access records held against the log. Each difference is a finding.

What a provider answered and the log does not know left by a way that nobody watches: a rogue gateway, or a system that asked
the provider past the exchange. The other way round, a release that the provider does not know of was answered by somebody else.

Both sides are read once, in the order of their times, and merged: what has found its like is forgotten, what has not within a
minute never will. So memory is that of two minutes, however long the window. Clocks of provider, gateway and database differ, and
a release comes after its answer: both sides are read for a minute more around the window, and only what lies within it is missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from audit.provided import ProvidedEntry
from exchange.clock import rfc3339

GRACE: Final = timedelta(seconds=60)
"""More than a request lives (its freshness and deadline), and less than anybody notices."""

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """访问记录. What a provider says that it answered; `req` is SHA-256 of the request's signature base, base64url."""

    req: str
    position: int
    at: datetime
    consumer: str
    service: str
    right: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> AccessRecord:
        """From a department's answer. Raises KeyError, TypeError, ValueError."""
        return cls(
            row["req"],
            row["position"],
            datetime.fromisoformat(row["at"]),
            row["consumer"],
            row["service"],
            row["right"],
            tuple(row["names"]),
        )

    @property
    def key(self) -> Key:
        """What a release is found by."""
        return self.req, self.position


class Difference(StrEnum):
    """差异类型. How the two sides can differ."""

    UNKNOWN_TO_LOG = "unknown-to-log"
    UNKNOWN_TO_PROVIDER = "unknown-to-provider"
    LATE_ANSWER = "late-answer"
    REFUSED_AFTER_ANSWER = "refused-after-answer"
    ABORTED = "aborted"
    OTHER_NAMES = "other-names"
    OTHER_PARTIES = "other-parties"


SENTENCES: Final[Mapping[Difference, tuple[str, str]]] = {
    Difference.UNKNOWN_TO_LOG: (
        "提供方已应答而日志毫无记载：网关中断，或存在违规网关、绕过平台的调用",
        "the provider answered and the log knows nothing: a gateway that broke off, a rogue gateway, or a call past the exchange",
    ),
    Difference.UNKNOWN_TO_PROVIDER: (
        "日志记有放行而提供方无访问记录：应答可能并非出自该提供方",
        "the log has a release and the provider no record: somebody else may have answered in its name",
    ),
    Difference.LATE_ANSWER: ("应答迟到，未予放行", "the answer came too late and was dropped unread"),
    Difference.REFUSED_AFTER_ANSWER: ("提供方应答后网关拒绝放行", "the gateway refused after the provider had answered"),
    Difference.ABORTED: ("已放行而未送达，未发出任何字节", "released and aborted before a byte was sent"),
    Difference.OTHER_NAMES: ("放行的数据项多于提供方所答", "more items were released than the provider answered"),
    Difference.OTHER_PARTIES: ("双方所记的需求方、服务或授权不一致", "consumer, service or right differ between the two"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """对账差异. One difference; `serial` is the entry, if the log has one."""

    difference: Difference
    at: datetime
    req: str
    serial: int | None
    consumer: str
    service: str
    detail: str = ""

    def document(self) -> dict[str, Any]:
        """The JSON form, with what it means in both languages."""
        chinese, english = SENTENCES[self.difference]
        return {
            "difference": self.difference.value,
            "zh": chinese,
            "en": english,
            "at": rfc3339(self.at.timestamp()),
            "req": self.req,
            "serial": self.serial,
            "consumer": self.consumer,
            "service": self.service,
            "detail": self.detail,
        }


@dataclass(slots=True)
class Reconciler:
    """对账. Takes both sides of the window from `since` to before `until`, each in the order of its times; gives differences."""

    since: datetime
    until: datetime
    findings: list[Finding] = field(default_factory=list)
    records: int = 0
    releases: int = 0
    _records: dict[Key, AccessRecord] = field(default_factory=dict)
    _releases: dict[Key, ProvidedEntry] = field(default_factory=dict)
    _others: dict[str, ProvidedEntry] = field(default_factory=dict)

    def take_record(self, record: AccessRecord) -> None:
        """One more of the provider's records."""
        self.records += 1
        release = self._releases.pop(record.key, None)
        if release is None:
            self._records[record.key] = record
        else:
            self._compare(record, release)

    def take_entry(self, entry: ProvidedEntry) -> None:
        """One more of the log's entries."""
        if entry.unasked or entry.req is None:
            return
        if entry.kind != "release":
            # Of copies of one request all but one are refused: so a refusal speaks only for a record that has no release.
            self._others.setdefault(entry.req, entry)
            return
        self.releases += 1
        record = self._records.pop((entry.req, entry.position), None)
        if record is None:
            self._releases[entry.req, entry.position] = entry
        else:
            self._compare(record, entry)

    def settle(self, seen: datetime) -> None:
        """Both sides were read up to this time: what waits for its like since a minute before waits in vain."""
        over = seen - GRACE
        for record in _older(self._records, over):
            del self._records[record.key]
            self._without_release(record)
        for release in _older(self._releases, over):
            del self._releases[release.req or "", release.position]
            if self.since <= release.at < self.until:
                self._find(Difference.UNKNOWN_TO_PROVIDER, release.at, release.req or "", release)
        for other in _older(self._others, over - GRACE):
            del self._others[other.req or ""]

    def finish(self) -> list[Finding]:
        """Both sides are at their end; every difference, oldest first."""
        self.settle(self.until + 10 * GRACE)
        return sorted(self.findings, key=lambda finding: finding.at)

    def _compare(self, record: AccessRecord, release: ProvidedEntry) -> None:
        pairs = {
            "consumer": (record.consumer, release.consumer),
            "service": (record.service, release.service),
            "right": (record.right, release.right),
        }
        others = sorted(name for name, (ours, theirs) in pairs.items() if ours != theirs)
        more = sorted(set(release.names) - set(record.names))
        if others:
            self._find(Difference.OTHER_PARTIES, record.at, record.req, release, ", ".join(others))
        if more:
            self._find(Difference.OTHER_NAMES, record.at, record.req, release, ", ".join(more))
        if release.aborted:
            self._find(Difference.ABORTED, record.at, record.req, release)

    def _without_release(self, record: AccessRecord) -> None:
        if not self.since <= record.at < self.until:
            return
        other = self._others.get(record.req)
        if other is None:
            finding = Finding(Difference.UNKNOWN_TO_LOG, record.at, record.req, None, record.consumer, record.service)
            self.findings.append(finding)
            return
        kind = Difference.LATE_ANSWER if other.kind == "late" else Difference.REFUSED_AFTER_ANSWER
        self._find(kind, record.at, record.req, other, other.code or "")

    def _find(self, difference: Difference, at: datetime, req: str, entry: ProvidedEntry, detail: str = "") -> None:
        self.findings.append(Finding(difference, at, req, entry.serial, entry.consumer, entry.service, detail))


def _older(waiting: Mapping[Any, Any], over: datetime) -> list[Any]:
    """Those that were taken first and are older: each side comes in the order of its times."""

    def first() -> Iterator[Any]:
        for each in waiting.values():
            if each.at >= over:
                return
            yield each

    return list(first())
