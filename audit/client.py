"""The way into the audit for other packages: what they may import, and nothing else."""

from __future__ import annotations

from audit.append import EntryDesk
from audit.entries import (
    blinded,
    commit_body,
    make_config_leaf,
    make_deny_leaf,
    make_fence_leaf,
    make_grant_leaf,
    make_key_leaf,
    make_late_leaf,
    make_lift_leaf,
    make_outcome_leaf,
    make_read_leaf,
    make_release_leaf,
    new_blind,
    plain_body,
)
from audit.epoch import EpochKeys
from audit.fence import FenceDesk
from audit.model import (
    MAX_BATCH,
    Answer,
    Content,
    EntryKind,
    EntryRow,
    FenceReceipt,
    FenceRow,
    GroundKind,
    Grounds,
    Heading,
    OpenFence,
    OutcomeRow,
    PlacedRelease,
    RecordedDenial,
    ReleaseRow,
    SearchTokens,
    Verdict,
)
from audit.release import ReleaseDesk
from audit.store import NotDurable
from audit.tree import hash_leaf

__all__ = [
    "MAX_BATCH",
    "Answer",
    "Content",
    "EntryDesk",
    "EntryKind",
    "EntryRow",
    "EpochKeys",
    "FenceDesk",
    "FenceReceipt",
    "FenceRow",
    "GroundKind",
    "Grounds",
    "Heading",
    "NotDurable",
    "OpenFence",
    "OutcomeRow",
    "PlacedRelease",
    "RecordedDenial",
    "ReleaseDesk",
    "ReleaseRow",
    "SearchTokens",
    "Verdict",
    "blinded",
    "commit_body",
    "hash_leaf",
    "make_config_leaf",
    "make_deny_leaf",
    "make_fence_leaf",
    "make_grant_leaf",
    "make_key_leaf",
    "make_late_leaf",
    "make_lift_leaf",
    "make_outcome_leaf",
    "make_read_leaf",
    "make_release_leaf",
    "new_blind",
    "plain_body",
]
