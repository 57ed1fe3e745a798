"""Checking a person's list offline: that nothing is missing from 1 to n, and that each row is in the log.

Imports nothing that reaches a database or a network. What it proves: the rows are complete up to the size that the statement
names, except for what a right hides for a time; and if the statement is countersigned, a second party has counted the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from audit.heads import HeadStatement, open_statement
from audit.model import EntryKind
from audit.note import Checkpoint, NoteError, VerifierKey, open_checkpoint
from audit.subjects import ChainHead
from audit.tree import ProofError, hash_leaf, verify_inclusion
from exchange.canonical import b64url, b64url_decode, parse_json


@dataclass(frozen=True, slots=True)
class ListTrust:
    """清单信任. The keys of the log, of the audit's head statements, and of whoever counts again (None: not asked for)."""

    log: VerifierKey
    heads: VerifierKey
    recounter: VerifierKey | None = None


def verify_list(pages: Sequence[dict[str, Any]], trust: ListTrust) -> HeadStatement:
    """Check all pages of one chain, as `POST /my/accesses` answered them, in order; what the last page's statement says.

    Raises ProofError that names the first row that is wrong, or what is missing.
    """
    if not pages:
        raise ProofError("no page")
    try:
        statement = open_statement(pages[-1]["statement"].encode(), trust.heads, trust.recounter)
        head = ChainHead()
        for page in pages:
            checkpoint = open_checkpoint(page["checkpoint"].encode(), trust.log).checkpoint
            for row in page["entries"]:
                head = head.extended(statement.token, _verify_row(row, checkpoint))
                if (row["n"], row["link"]) != (head.n, b64url(head.link)):
                    raise ProofError(f"row {row['n']} is not the {head.n}. of an unbroken list")
    except (NoteError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProofError(f"the list is not whole: {error}") from error
    if statement.origin != trust.log.name:
        raise ProofError("the statement is about another log")
    if head != statement.head:
        raise ProofError(f"{head.n} rows are not the {statement.head.n} of the statement")
    return statement


def _verify_row(row: dict[str, Any], checkpoint: Checkpoint) -> int:
    """The place of a row whose entry, and whose revealed entry, is in the log and says what the row says."""
    index: int = row["tree_index"]
    leaf = _verify_entry(row, checkpoint)
    revealed = row["revealed"]
    if (leaf["kind"] == EntryKind.REVEAL) != (revealed is not None):
        raise ProofError(f"row {row['n']} reveals nothing, or what it has no right to")
    if revealed is not None:
        if leaf["of"] != revealed["tree_index"]:
            raise ProofError(f"row {row['n']} reveals another entry")
        _verify_entry(revealed, checkpoint)
    return index


def _verify_entry(row: dict[str, Any], checkpoint: Checkpoint) -> dict[str, Any]:
    raw = b64url_decode(row["entry"])
    path = [b64url_decode(each) for each in row["path"]]
    verify_inclusion(hash_leaf(raw), row["tree_index"], checkpoint.size, path, checkpoint.root)
    leaf: dict[str, Any] = parse_json(raw)
    for name in ("kind", "consumer", "provider", "service", "purpose", "legal_basis", "code"):
        if row[name] != leaf.get(name):
            raise ProofError(f"entry {row['tree_index']} says something else of {name}")
    for name in ("full", "masked", "facts", "withheld"):
        if row[name] != (leaf.get(name) or type(row[name])()):
            raise ProofError(f"entry {row['tree_index']} says something else of what was {name}")
    return leaf
