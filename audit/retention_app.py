"""`python -m audit.retention_app plan | apply | hold | lift | admit`: what the archivist does, as the role yitong_archivist.

`plan` is the dry run: it says what would go and changes nothing. `apply` does it. What is printed is JSON; the exit status is 0,
or 1 if something that is due could not go.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx2

from audit import retention_store
from audit.admission import NotAdmitted, admit
from audit.policy import load_policy
from audit.retention import DEFAULT_POLICY, Archivist, MonthState, load_retention
from audit.sealing import Sealer, SealingKeys
from exchange.clock import SystemClock
from exchange.database import with_password

_TRIES: Final = 20
_MONTH: Final = re.compile(r"(\d{4})-(\d{2})")


def _month(text: str) -> date:
    match = _MONTH.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError("a month is written 2026-11")
    try:
        return date(int(match[1]), int(match[2]), 1)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m audit.retention_app", description=__doc__)
    parser.add_argument("--url", required=True, help="PostgreSQL as yitong_archivist, without password")
    parser.add_argument("--password-file", type=Path)
    parser.add_argument("--sealing-keys", type=Path, required=True, help="what the entries' bodies are sealed with")
    parser.add_argument("--policy", type=Path, default=DEFAULT_POLICY, help="how long bodies are kept")
    parser.add_argument("--by", required=True, help="who does it; goes into the entries' bodies")
    acts = parser.add_subparsers(dest="act", required=True)
    acts.add_parser("plan", help="what would go, and why the rest is kept")
    applied = acts.add_parser("apply", help="erase what is due")
    applied.add_argument("--body-keys", type=Path, action="append", required=True, help="each copy of the readers' key file")
    applied.add_argument("--epoch-keys", type=Path, help="the file of the epoch keys")
    held = acts.add_parser("hold", help="keep months whatever their term")
    held.add_argument("first", type=_month)
    held.add_argument("last", type=_month)
    held.add_argument("--reason", required=True)
    lifted = acts.add_parser("lift", help="end a hold")
    lifted.add_argument("hold", type=int)
    lifted.add_argument("--reason", required=True)
    admitted = acts.add_parser("admit", help="let releases begin on a restored database")
    admitted.add_argument("--witness-policy", type=Path, required=True)
    admitted.add_argument("--reason", required=True)
    return parser.parse_args(argv)


async def _apply(archivist: Archivist, arguments: argparse.Namespace) -> dict[str, Any]:
    gone: dict[str, int] = {}
    failed: dict[str, str] = {}
    await archivist.finish(arguments.body_keys)
    for month in await archivist.plan():
        if month.state is not MonthState.DUE:
            continue
        name = f"{month.month:%Y-%m}"
        for _ in range(_TRIES):
            try:
                gone[name] = await archivist.erase(month.month, arguments.body_keys)
            except asyncpg.LockNotAvailableError as error:
                failed[name] = str(error)
            else:
                failed.pop(name, None)
                break
    epochs = [] if arguments.epoch_keys is None else await archivist.end_epochs(arguments.epoch_keys)
    return {"erased": gone, "not_erased": failed, "epochs_ended": epochs}


async def _admit(archivist: Archivist, arguments: argparse.Namespace) -> dict[str, Any]:
    async with httpx2.AsyncClient(trust_env=False) as http:
        try:
            return {"admitted": await admit(archivist, load_policy(arguments.witness_policy), http, arguments.reason)}
        except NotAdmitted as refused:
            return {"admitted": None, "why": str(refused)}


async def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    connection = await asyncpg.connect(with_password(arguments.url, arguments.password_file), timeout=5)
    try:
        sealer = Sealer(SealingKeys.load(arguments.sealing_keys))
        archivist = Archivist(connection, load_retention(arguments.policy), sealer, SystemClock(), arguments.by)
        match arguments.act:
            case "apply":
                return await _apply(archivist, arguments)
            case "hold":
                return {"hold": await archivist.hold(arguments.first, arguments.last, arguments.reason)}
            case "admit":
                return await _admit(archivist, arguments)
            case "lift":
                return {"lifted": await archivist.lift(arguments.hold, arguments.reason)}
        holds = await retention_store.load_holds(connection)
        return {
            "body_months": archivist.written.policy.body_months,
            "months": [each.document() for each in await archivist.plan()],
            "holds": [{"hold": each.id, "first": f"{each.first:%Y-%m}", "last": f"{each.last:%Y-%m}"} for each in holds],
        }
    finally:
        await connection.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say; the exit status."""
    done = asyncio.run(_run(_arguments(argv)))
    sys.stdout.write(json.dumps(done, ensure_ascii=False, indent=1) + "\n")
    return 1 if done.get("not_erased") or done.get("lifted") is False or done.get("why") else 0


if __name__ == "__main__":
    sys.exit(main())
