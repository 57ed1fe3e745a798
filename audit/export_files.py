"""The files of an export: parts of rows as CSV or Parquet, a manifest, and the hashes of the range.

    manifest.json   criteria, range, checkpoint, parts with digests, every page's statement, the range's proof
    part-00001.csv  rows in the order of the tree; or .parquet
    hashes.bin      32 bytes for each place, from the last multiple of 256 at or below the range's start

Columns beside `entry` and `body` only repeat what stands in these, for people and their tools. In CSV, text that a spreadsheet
would take for a formula gets an apostrophe before it (OWASP, CSV injection).
"""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from audit.export_statement import ExportRow, PageStatement
from exchange.canonical import canonical, parse_json

FORMAT: Final = "yitong-export-1"
MANIFEST: Final = "manifest.json"
HASHES: Final = "hashes.bin"
MAX_MANIFEST_BYTES: Final = 536_870_912
NAMED: Final = ("consumer", "provider", "service", "purpose", "code", "subject", "officer", "case")
COLUMNS: Final = ("tree_index", "serial", "at", "kind", *NAMED, "entry", "body", "blind")
_LEAF_NAMED: Final = frozenset({"consumer", "provider", "service", "purpose", "code"})
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_NUMBERS: Final = frozenset({"tree_index", "serial", "at"})
_SCHEMA: Final = pa.schema([(name, pa.int64() if name in _NUMBERS else pa.string()) for name in COLUMNS])
_PARQUET_ROWS: Final = 2000


class FileFormat(StrEnum):
    """文件格式. Of the parts."""

    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class Part:
    """分卷. A file of rows, of the places from `start` to before `end`; `sha256` is hexadecimal, as sha256sum prints it."""

    name: str
    rows: int
    start: int
    end: int
    sha256: str


@dataclass(slots=True)
class Manifest:
    """导出清单. What there is of an export by now; `proof` is null until everything else is there."""

    file_format: FileFormat
    log: str
    criteria: dict[str, Any]
    start: int
    end: int
    parts: list[Part] = field(default_factory=list)
    pages: list[tuple[PageStatement, str]] = field(default_factory=list)
    checkpoint: str | None = None
    proof: dict[str, Any] | None = None

    @property
    def reached(self) -> int:
        """The place before which everything is in whole parts."""
        return self.parts[-1].end if self.parts else self.start

    def save(self, directory: Path) -> None:
        """Write it; after a crash the file is the old one or the new one."""
        document = {
            "format": FORMAT,
            "file_format": self.file_format.value,
            "log": self.log,
            "criteria": self.criteria,
            "start": self.start,
            "end": self.end,
            "parts": [{name: getattr(part, name) for name in Part.__slots__} for part in self.parts],
            "pages": [{"statement": statement.model_dump(), "note": note} for statement, note in self.pages],
            "checkpoint": self.checkpoint,
            "proof": self.proof,
        }
        draft = directory / f".{MANIFEST}.draft"
        draft.write_bytes(canonical(document))
        draft.replace(directory / MANIFEST)

    @classmethod
    def load(cls, directory: Path) -> Manifest:
        """Read it. Raises OSError, or ValueError for what is no manifest."""
        raw = (directory / MANIFEST).read_bytes()
        try:
            document = parse_json(raw, max_bytes=MAX_MANIFEST_BYTES)
            if document["format"] != FORMAT:
                raise ValueError(f"{MANIFEST} is not of {FORMAT}")
            return cls(
                FileFormat(document["file_format"]),
                document["log"],
                document["criteria"],
                document["start"],
                document["end"],
                [Part(**part) for part in document["parts"]],
                [(PageStatement.model_validate(page["statement"]), page["note"]) for page in document["pages"]],
                document["checkpoint"],
                document["proof"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{MANIFEST} cannot be read: {error!r}") from error


def columns_of(row: ExportRow) -> dict[str, Any]:
    """What stands in a row's columns; None for what it does not have."""
    leaf, body = parse_json(row.entry.encode()), parse_json(row.body.encode()) if row.body is not None else {}
    named = {name: (leaf if name in _LEAF_NAMED else body).get(name) for name in NAMED}
    texts = {name: value if isinstance(value, str) else None for name, value in named.items()}
    return {**row.model_dump(), **texts}


class PartWriter(Protocol):
    """分卷写入. Takes rows until it is closed."""

    def write(self, rows: Sequence[ExportRow]) -> None:
        """Add rows."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class _CsvPart:
    def __init__(self, path: Path) -> None:
        self._stream = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._stream)
        self._writer.writerow(COLUMNS)

    def write(self, rows: Sequence[ExportRow]) -> None:
        for row in rows:
            cells = columns_of(row)
            self._writer.writerow([neutral(cells[name]) for name in COLUMNS])

    def close(self) -> None:
        self._stream.close()


class _ParquetPart:
    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, _SCHEMA, compression="zstd")

    def write(self, rows: Sequence[ExportRow]) -> None:
        if rows:
            self._writer.write_table(pa.Table.from_pylist([columns_of(row) for row in rows], schema=_SCHEMA))

    def close(self) -> None:
        self._writer.close()


def open_part(path: Path, file_format: FileFormat) -> PartWriter:
    """Begin a file."""
    return _CsvPart(path) if file_format is FileFormat.CSV else _ParquetPart(path)


def neutral(value: object) -> str:
    """A CSV cell that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def read_part(path: Path, file_format: FileFormat) -> Iterator[tuple[ExportRow, bool]]:
    """The rows of a part, and whether their other columns say the same. Raises ValueError for what is no row."""
    if file_format is FileFormat.PARQUET:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=_PARQUET_ROWS):
            for cells in batch.to_pylist():
                row = _row(cells)
                yield row, columns_of(row) == cells
        return
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8", newline="") as stream:
        for cells in csv.DictReader(stream, strict=True):
            numbers = {name: int(cells[name]) for name in _NUMBERS}
            row = _row({**cells, **numbers, "body": cells["body"] or None, "blind": cells["blind"] or None})
            yield row, {name: neutral(value) for name, value in columns_of(row).items()} == cells


def _row(cells: dict[str, Any]) -> ExportRow:
    return ExportRow(**{name: cells[name] for name in ExportRow.model_fields})


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
