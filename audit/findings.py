"""What a walk over the log can find wrong, and how it says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

MAX_FINDINGS: Final = 100
MAX_LISTED: Final = 100


class Fault(StrEnum):
    """问题类型. What can be wrong with a stored log."""

    GAP = "gap"
    ENTRY_MISSING = "entry-missing"
    ORDER = "order"
    NOT_PLACED = "not-placed"
    LEAF_HASH = "leaf-hash"
    TREE = "tree"
    LEAF_SHAPE = "leaf-shape"
    COLUMNS = "columns"
    BODY_MISSING = "body-missing"
    BODY_COMMITMENT = "body-commitment"
    COMMITMENT = "commitment"
    RELEASE_ID = "release-id"
    QUOTA = "quota"
    FENCE = "fence"
    RELEASED_AFTER_WITHDRAWAL = "released-after-withdrawal"
    TILE = "tile"
    HEAD = "head"
    CHECKPOINT = "checkpoint"
    STRAY = "stray"
    SUBJECT_CHAIN = "subject-chain"


TITLES: Final[Mapping[Fault, tuple[str, str]]] = {
    Fault.GAP: ("树中位置缺失", "A place in the tree is empty"),
    Fault.ENTRY_MISSING: ("条目缺失", "An entry is missing"),
    Fault.ORDER: ("条目顺序与序号不符", "Places are not in the order of the serials"),
    Fault.NOT_PLACED: ("条目未编入树中", "An entry was passed over and has no place in the tree"),
    Fault.LEAF_HASH: ("条目内容被改动", "An entry is not what its writer hashed"),
    Fault.TREE: ("条目与树中摘要不符", "An entry is not what the tree holds at its place"),
    Fault.LEAF_SHAPE: ("条目格式不正确", "An entry does not have the form of its kind"),
    Fault.COLUMNS: ("检索字段与条目不符", "The columns that are searched say something else than the entry"),
    Fault.BODY_MISSING: ("正文缺失", "A body is missing that was not erased with its month"),
    Fault.BODY_COMMITMENT: ("正文与条目承诺不符", "A body is not the one to which the entry commits"),
    Fault.COMMITMENT: ("盲化值与正文不符", "A blinded value is not the one in the body"),
    Fault.RELEASE_ID: ("放行与请求编号记录不符", "A release and the record of its request id do not fit"),
    Fault.QUOTA: ("限额计数与放行不符", "What is counted of a right's quota does not fit its releases"),
    Fault.FENCE: ("撤销记录与条目不符", "A withdrawal and its entry do not fit"),
    Fault.RELEASED_AFTER_WITHDRAWAL: ("撤销后仍有放行", "Something was released on a ground after its withdrawal"),
    Fault.TILE: ("切片与重新计算不符", "A tile is not what the entries add up to"),
    Fault.HEAD: ("日志头与重新计算不符", "The head of the log is not what the entries add up to"),
    Fault.CHECKPOINT: ("检查点不正确", "A checkpoint is not signed, or not what the entries add up to"),
    Fault.STRAY: ("多余的记录", "There is something that belongs to no entry"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """问题. One thing that is wrong: where in the tree (index), which entry (serial), or at which size of the tree."""

    fault: Fault
    detail: str = ""
    tree_index: int | None = None
    serial: int | None = None
    size: int | None = None

    def document(self) -> dict[str, Any]:
        """The JSON form, with both titles."""
        chinese, english = TITLES[self.fault]
        where = {"tree_index": self.tree_index, "serial": self.serial, "size": self.size}
        return {"fault": self.fault.value, "title_zh": chinese, "title_en": english, "detail": self.detail, **where}

    def __str__(self) -> str:
        """One line for people, both languages."""
        places = (("index", self.tree_index), ("serial", self.serial), ("size", self.size))
        where = [f"{name} {value}" for name, value in places if value is not None]
        line = f"{' '.join(TITLES[self.fault])} [{', '.join([self.fault.value, *where])}]"
        return f"{line}: {self.detail}" if self.detail else line


@dataclass(slots=True)
class Findings:
    """问题清单. Collects findings in the order in which they are found; counts on when it is full."""

    kept: list[Finding] = field(default_factory=list)
    count: int = 0

    def add(self, finding: Finding) -> None:
        """Note one more."""
        self.count += 1
        if len(self.kept) < MAX_FINDINGS:
            self.kept.append(finding)


@dataclass(frozen=True, slots=True)
class Report:
    """核查报告. What was walked and what is wrong with it, the first thing first (at most 100 are kept)."""

    size: int
    """Entries that have a place in the tree."""
    published: int
    """Entries under the newest checkpoint."""
    root: bytes
    """Root over all that have a place, recomputed."""
    checkpoints: int = 0
    opened: int = 0
    """Bodies that were read and found to be those committed to."""
    sealed: int = 0
    erased: int = 0
    pending: int = 0
    """Entries that wait for a place."""
    pending_serials: tuple[int, ...] = ()
    """Their serials, at most 100."""
    findings: tuple[Finding, ...] = ()
    finding_count: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.finding_count == 0

    @property
    def first(self) -> Finding | None:
        """The first thing that is wrong."""
        return self.findings[0] if self.findings else None

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "ok": self.ok,
            "size": self.size,
            "published": self.published,
            "root": self.root.hex(),
            "checkpoints": self.checkpoints,
            "bodies": {"opened": self.opened, "sealed": self.sealed, "erased": self.erased},
            "pending": self.pending,
            "pending_serials": list(self.pending_serials),
            "finding_count": self.finding_count,
            "findings": [finding.document() for finding in self.findings],
        }

    def describe(self) -> str:
        """The report for people, both languages."""
        lines = [
            f"树中条目 entries in the tree: {self.size}, 检查点之内 under a checkpoint: {self.published}, root {self.root.hex()}",
            f"检查点 checkpoints: {self.checkpoints}",
            f"正文 bodies: {self.opened} 已核对 opened, {self.sealed} 封存 sealed, {self.erased} 已销毁 erased",
        ]
        if self.pending:
            listed = ", ".join(map(str, self.pending_serials))
            lines.append(f"待编入 waiting for a place: {self.pending} ({listed}{', …' if self.pending > MAX_LISTED else ''})")
        lines += [f"✗ {finding}" for finding in self.findings]
        if self.finding_count > len(self.findings):
            lines.append(f"✗ 另有 and {self.finding_count - len(self.findings)} 项 more")
        lines.append("完好 WHOLE" if self.ok else "有误 NOT WHOLE")
        return "\n".join(lines)
