"""An export of a long log: how fast, and that memory does not grow with it, neither the audit's nor the auditor's.

python -m tests.benchmarks.export_scale [--entries 100000 | --full] [--formats csv,parquet]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from audit.export_files import FileFormat
from audit.heads import heads_name
from audit.note import VerifierKey
from deploy.postgres.roles import prepare_database
from deploy.process import LOOPBACK
from deploy.servers import Postgres
from exchange.keys import SigningKey
from exchange.migrate import migrate
from tests.benchmarks.log import Ground, drain, fill
from tests.benchmarks.log_figures import LogFigures
from tests.benchmarks.stage import ROOT
from tests.benchmarks.usage import peak_mb

USUAL, FULL = 100_000, 10_000_000


def measure_exports(ground: Ground, entries: int, formats: list[FileFormat]) -> Iterator[dict[str, Any]]:
    """One row of figures for each format: of the pull, of the check of what was pulled, and of the audit's memory by then."""
    issuer_key, issuer_file = SigningKey.generate(), ground.directory / "issuer.pem"
    issuer_key.save(issuer_file)
    with _issuing(issuer_key) as issuer, ground.serving(issuer) as (url, audit):
        heads = VerifierKey.of(heads_name(ground.origin), ground.heads_key)
        for file_format in formats:
            directory = ground.directory / f"export-{file_format}"
            pulled = _read("pull", str(directory), file_format, str(entries), url, issuer, str(issuer_file))
            memory = peak_mb(audit.pid or 0)
            size = sum(path.stat().st_size for path in directory.iterdir()) / 1e6
            checked = _read("verify", str(directory), str(ground.vkey), str(heads))
            if checked["rows"] != entries or checked["bodies"] != entries:
                raise ValueError(f"{checked} of {entries} entries were exported")
            shutil.rmtree(directory)  # of ten million entries there is room for one at a time
            yield {"format": file_format.value, "megabytes": size, "audit_mb": memory, "pull": pulled, "verify": checked}


@contextlib.contextmanager
def _issuing(key: SigningKey) -> Iterator[str]:
    """Whoever says who logs in; its base URL."""
    keys = json.dumps({"keys": [key.public_jwk]}).encode()

    class _Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(keys)))
            self.end_headers()
            self.wfile.write(keys)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((LOOPBACK, 0), _Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _read(*arguments: str) -> dict[str, Any]:
    """What the auditor's process says of one act."""
    command = [sys.executable, "-m", "tests.benchmarks.export_reader", *arguments]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    said: dict[str, Any] = json.loads(run.stdout)
    return said


def show(rows: list[dict[str, Any]], entries: int) -> None:
    """A table for people, a line of JSON for whoever compares."""
    table = Table(title=f"an export of {entries:,} entries")
    for name in ("", "MB on disk", "pulled a second", "auditor MB", "audit MB", "checked a second", "checker MB"):
        table.add_column(name, justify="right")
    for row in rows:
        pull, verify = row["pull"], row["verify"]
        figures = (row["megabytes"], entries / pull["seconds"], pull["memory_mb"], row["audit_mb"])
        more = (entries / verify["seconds"], verify["memory_mb"])
        table.add_row(row["format"], *(f"{each:,.0f}" for each in (*figures, *more)))
    Console(width=120).print(table)
    print(json.dumps({"entries": entries, "exports": rows}))


def main() -> None:
    """Fill, drain, export, check, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.export_scale", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--entries", type=int, default=USUAL, help=f"releases in the log ({USUAL})")
    size.add_argument("--full", action="store_true", help=f"{FULL} of them: an hour and a half, and 60 GB of disk")
    parser.add_argument("--formats", default="csv,parquet", help="csv, parquet or both")
    asked = parser.parse_args()
    entries = FULL if asked.full else asked.entries
    formats = [FileFormat(name) for name in asked.formats.split(",")]
    with tempfile.TemporaryDirectory(prefix="yitong-bench-") as name:
        directory = Path(name)
        postgres = Postgres(directory / "postgres")
        postgres.start()
        try:
            database = prepare_database(postgres.superuser_url, directory / "secrets", "exported")
            migrate("audit", database.url("yitong_audit"), "audit")
            ground, figures = Ground(database, postgres.pid, directory), LogFigures(entries)
            print(f"filled: {fill(ground, entries):,.0f} releases a second", flush=True)
            drain(ground, entries, figures)
            print(f"drained: {figures.drained_per_second:,.0f} entries a second", flush=True)
            rows = []
            for row in measure_exports(ground, entries, formats):
                print(json.dumps(row), flush=True)
                rows.append(row)
        finally:
            postgres.stop()
    show(rows, entries)


if __name__ == "__main__":
    main()
