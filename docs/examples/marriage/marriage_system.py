#!/usr/bin/env python3
"""婚姻登记系统: an existing system of a civil affairs bureau, as one finds them. It has never heard of a data exchange.

    MARRIAGE_RECORDS=records.json MARRIAGE_API_KEY=… python marriage_system.py --port 8700

One question: POST /api/marriage/query with {"idCard": "…"} and the header X-Api-Key. Codes are those of its own tables, dates
are written without dashes, and nobody it knows nothing about gets a 200 with code 1001.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel


class Query(BaseModel):
    """What its own clients send."""

    idCard: str  # noqa: N815 - the system's own spelling


def build(records_file: Path, api_key: str) -> FastAPI:
    """The system over a file of records: ID number to record."""
    app = FastAPI(title="婚姻登记系统")
    records: dict[str, Any] = json.loads(records_file.read_text(encoding="utf-8"))

    @app.post("/api/marriage/query")
    async def query(asked: Query, x_api_key: Annotated[str, Header()] = "") -> dict[str, Any]:
        if not hmac.compare_digest(x_api_key.encode(), api_key.encode()):
            raise HTTPException(401, "bad key")
        record = records.get(asked.idCard)
        if record is None:
            return {"code": "1001", "message": "查无记录", "data": None}
        return {"code": "0", "message": "成功", "data": {"idCard": asked.idCard, **record}}

    return app


def main() -> None:
    """Serve on loopback."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, default=8700)
    port = arguments.parse_args().port
    app = build(Path(os.environ["MARRIAGE_RECORDS"]), os.environ["MARRIAGE_API_KEY"])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
