"""What an export is made of: rows, and what the audit signs of each page of them. No I/O: whoever verifies has only this.

A row is, in canonical form, one line of `{at, blind, body, entry, kind, serial, tree_index}`: `entry` is the leaf's text, `body`
the plain body's text without its format byte or null, `blind` 32 bytes in hexadecimal or null, `at` in unix ms.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from audit.note import Checkpoint, NoteError, UnverifiedNote, VerifierKey, open_note, parse_checkpoint_text, sign_text
from exchange.canonical import canonical, sha256
from exchange.keys import SigningKey

Place = Annotated[int, Field(ge=0, le=2**53 - 1)]
Digest = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]


class ExportRow(BaseModel):
    """导出行. An entry at its place; see the module for the texts."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    tree_index: int
    serial: int
    at: int
    kind: str
    entry: str
    body: str | None
    blind: str | None

    def line(self) -> bytes:
        """The bytes over which the digest of a page goes."""
        return canonical(self.model_dump()) + b"\n"


class PageStatement(BaseModel):
    """页声明. What the audit says of one page; `digest` of it (SHA-256 over its canonical form) is what the note signs."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    log: str
    criteria: dict[str, Any]
    within: str | None
    start: Place
    reached: Place
    rows: int
    rows_digest: Digest
    previous: Digest | None
    size: Place
    root: Digest

    @property
    def digest(self) -> bytes:
        """What is signed, and what the next page names as `previous`."""
        return sha256(canonical(self.model_dump()))


class ExportPage(BaseModel):
    """导出页. Rows in the order of the tree, the statement about them, and its note; the next page begins at `reached`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    rows: list[ExportRow]
    statement: PageStatement
    note: str


def export_origin(log: str) -> str:
    """The origin line of a page statement's note: its tree size is the place reached, its root the statement's digest."""
    return f"{log}/export"


def sign_statement(statement: PageStatement, name: str, key: SigningKey) -> str:
    """The note of a statement, signed with the key of head statements."""
    text = Checkpoint(export_origin(statement.log), statement.reached, statement.digest).text
    return UnverifiedNote(text, (sign_text(text, name, key),)).encode().decode()


def require_signed(statement: PageStatement, note: str, heads: VerifierKey) -> None:
    """Check that the audit signed this statement. Raises NoteError."""
    opened = open_note(note.encode(), [heads])
    said = parse_checkpoint_text(opened.text)
    if (said.origin, said.size, said.root) != (export_origin(statement.log), statement.reached, statement.digest):
        raise NoteError("the note signs another statement")
