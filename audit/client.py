"""The way into the audit for other packages: what they may import, and nothing else."""

from __future__ import annotations

from audit.accesses import AccessesPage, AccessesRequest
from audit.affected import AffectedPage, AffectedRequest, AffectedSubject
from audit.append import EntryDesk
from audit.auditor_client import AuditClient
from audit.case_calls import CaseCalls
from audit.cases import KnownAccess, Receiver
from audit.deferred import from_columns, to_columns
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
from audit.epoch import YEARS_AHEAD, EpochKeys, year_of
from audit.evidence import CheckpointStamp, entry_of, make_evidence
from audit.export import ExportRequest
from audit.export_client import ExportPull, end_of_export
from audit.export_files import FileFormat
from audit.fence import FenceDesk
from audit.heads import heads_name, teller_name
from audit.model import (
    MAX_BATCH,
    Answer,
    Content,
    DailyQuota,
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
    QuotaLimit,
    RecordedDenial,
    ReleaseRow,
    SearchTokens,
    Verdict,
)
from audit.note import NoteError, SignatureType, VerifierKey, parse_vkey
from audit.policy import Group, KnownLog, KnownWitness, Policy, load_policy
from audit.proof import TrustPolicy, parse_proof, verify_proof
from audit.provided import ProvidedEntry, ProvidedRequest
from audit.reconciliation import GRACE, SENTENCES, AccessRecord, Finding, Reconciler
from audit.release import ReleaseDesk
from audit.request_record import RecordedEntry, RecordRequest, RequestRecord
from audit.sealing import BodyKeys, Sealer, SealingKeys, month_of
from audit.search import EntryLine, SearchPage, SearchRequest
from audit.statistics import MAX_RIGHTS, RightName, UnusedRightsRequest
from audit.store import NotDurable
from audit.timestamping import StampRefused, StampRoots
from audit.tree import ProofError, hash_leaf
from audit.verify import ReceiptFile, VerificationReport, load_trust, parse_receipt_file, verify_receipt
from audit.verify import describe as describe_report
from audit.verify_export import ExportInvalid, ExportTrust, verify_export
from audit.verify_list import ListTrust, verify_list
from audit.witness_api import OpenWitness

__all__ = [
    "GRACE",
    "MAX_BATCH",
    "MAX_RIGHTS",
    "SENTENCES",
    "YEARS_AHEAD",
    "AccessRecord",
    "AccessesPage",
    "AccessesRequest",
    "AffectedPage",
    "AffectedRequest",
    "AffectedSubject",
    "Answer",
    "AuditClient",
    "BodyKeys",
    "CaseCalls",
    "CheckpointStamp",
    "Content",
    "DailyQuota",
    "EntryDesk",
    "EntryKind",
    "EntryLine",
    "EntryRow",
    "EpochKeys",
    "ExportInvalid",
    "ExportPull",
    "ExportRequest",
    "ExportTrust",
    "FenceDesk",
    "FenceReceipt",
    "FenceRow",
    "FileFormat",
    "Finding",
    "GroundKind",
    "Grounds",
    "Group",
    "Heading",
    "KnownAccess",
    "KnownLog",
    "KnownWitness",
    "ListTrust",
    "NotDurable",
    "NoteError",
    "OpenFence",
    "OpenWitness",
    "OutcomeRow",
    "PlacedRelease",
    "Policy",
    "ProofError",
    "ProvidedEntry",
    "ProvidedRequest",
    "QuotaLimit",
    "ReceiptFile",
    "Receiver",
    "Reconciler",
    "RecordRequest",
    "RecordedDenial",
    "RecordedEntry",
    "ReleaseDesk",
    "ReleaseRow",
    "RequestRecord",
    "RightName",
    "Sealer",
    "SealingKeys",
    "SearchPage",
    "SearchRequest",
    "SearchTokens",
    "SignatureType",
    "StampRefused",
    "StampRoots",
    "TrustPolicy",
    "UnusedRightsRequest",
    "Verdict",
    "VerificationReport",
    "VerifierKey",
    "blinded",
    "commit_body",
    "describe_report",
    "end_of_export",
    "entry_of",
    "from_columns",
    "hash_leaf",
    "heads_name",
    "load_policy",
    "load_trust",
    "make_config_leaf",
    "make_deny_leaf",
    "make_evidence",
    "make_fence_leaf",
    "make_grant_leaf",
    "make_key_leaf",
    "make_late_leaf",
    "make_lift_leaf",
    "make_outcome_leaf",
    "make_read_leaf",
    "make_release_leaf",
    "month_of",
    "new_blind",
    "parse_proof",
    "parse_receipt_file",
    "parse_vkey",
    "plain_body",
    "teller_name",
    "to_columns",
    "verify_export",
    "verify_list",
    "verify_proof",
    "verify_receipt",
    "year_of",
]
