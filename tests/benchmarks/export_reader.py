"""An auditor's part of the export benchmark, in a process of its own, so that its memory is its own.

`python -m tests.benchmarks.export_reader pull DIRECTORY FORMAT END AUDIT ISSUER KEY` or `verify DIRECTORY LOG HEADS` (verifier
keys) prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx2

from audit.client import (
    AuditClient,
    ExportPull,
    ExportRequest,
    ExportTrust,
    FileFormat,
    TrustPolicy,
    parse_vkey,
    verify_export,
)
from exchange.clock import SystemClock
from exchange.jws import sign_compact
from exchange.keys import SigningKey
from exchange.tokens import ACCESS_TOKEN_TYPE
from tests.benchmarks.usage import peak_mb


def pull(directory: str, file_format: str, end: str, audit: str, issuer: str, key_file: str) -> dict[str, Any]:
    """Export the places up to `end`, logged in anew for each page: a long export outlives a token."""
    key, clock = SigningKey.load(Path(key_file)), SystemClock()

    def token() -> str:
        now = int(clock.now())
        named = {"iss": issuer, "aud": "yitong", "sub": "auditor-1", "roles": ["auditor"], "acr": "2"}
        return sign_compact(key, ACCESS_TOKEN_TYPE, {**named, "iat": now, "exp": now + 600})

    async def run() -> int:
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
            request = ExportRequest(reason="measuring", end=int(end))
            client = AuditClient(audit, http, token)
            manifest = await ExportPull(client, Path(directory), request, FileFormat(file_format)).run()
        return sum(part.rows for part in manifest.parts)

    return {"rows": asyncio.run(run())}


def verify(directory: str, log: str, heads: str) -> dict[str, Any]:
    """Check what was exported."""
    found = verify_export(Path(directory), ExportTrust(TrustPolicy(parse_vkey(log)), parse_vkey(heads)))
    return {"rows": found.rows, "bodies": found.bodies}


if __name__ == "__main__":
    began = perf_counter()
    said = pull(*sys.argv[2:]) if sys.argv[1] == "pull" else verify(*sys.argv[2:])
    print(json.dumps({**said, "seconds": perf_counter() - began, "memory_mb": peak_mb(os.getpid())}))
