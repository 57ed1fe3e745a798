"""Who may call what: every endpoint of every component, tried as every role and every kind of signer, against a golden table.

`in` means that the caller got past the question of who it is (whatever came of the call itself); `who` is a 401, `no` a 403.
A new endpoint has no row, and fails here until somebody has looked at its row and put it into `authority.txt`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from deploy.home import CONSUMER
from deploy.session import Session
from exchange.envelope import HttpRequest, Tag, sign_request
from tests.authority.conftest import DEPARTMENT
from tests.contracts.documents import DIRECTORY

TABLE = Path(__file__).with_name("authority.txt")
PEOPLE = ("officer", "auditor", "operator", "security", "registrar", "integrator", "supervisor", "agent", "citizen")
SIGNERS = {
    "consumer": (CONSUMER, "transfer"),
    "gateway": ("gateway-1", "gateway-1"),
    "registry": ("registry", "registry"),
    "publisher": ("CN-YA/GOV/market-regulation/enterprise", DEPARTMENT),
}
COLUMNS = ("nobody", *PEOPLE, *SIGNERS)
STANDS_FOR = {"gateway": "gateway-1", "department": DEPARTMENT}
WORD = {401: "who", 403: "no"}
PARAMETERS = {
    "kid": "A" * 43,
    "sha256": "0" * 64,
    "right_id": "sha256:" + "0" * 64,
    "consent_id": "nothing",
    "serial": "999999999",
    "kind": "services",
    "collection": "members",
    "identifier": "00000000-0000-4000-8000-000000000000",
    "number": "1",
}


def endpoints() -> Iterator[tuple[str, str, str]]:
    """Component, verb and path of every documented endpoint but the data door and log-in, which know no roles."""
    for document in sorted(DIRECTORY.glob("*.json")):
        for path, verbs in json.loads(document.read_text(encoding="utf-8"))["paths"].items():
            for verb in verbs:
                if not path.startswith(("/r1/", "/oidc/")):
                    yield document.stem, verb.upper(), path


def filled(path: str) -> str:
    """A path with something in the place of each parameter."""
    return re.sub(r"\{(\w+)(?::path)?\}", lambda match: PARAMETERS.get(match[1], "nothing"), path)


async def try_call(session: Session, caller: str, component: str, verb: str, path: str) -> str:
    """Call as somebody, with an empty object where a body is expected; how far it came."""
    url = session.urls[STANDS_FOR.get(component, component)]
    body = b"{}" if verb in ("POST", "PUT", "PATCH") else b""
    headers = [("content-type", "application/json")] if body else []
    target = filled(path)
    if caller in SIGNERS:
        name, key = SIGNERS[caller]
        plain = HttpRequest(verb, target, "", httpx2.URL(url).netloc.decode("ascii"), [*headers, ("x-road-client", name)], body)
        headers = list(sign_request(session.home.key(key), plain, tag=Tag.CONTROL, now=session.clock.now()).headers)
    elif caller != "nobody":
        headers.append(("authorization", f"Bearer {await session.token(caller)}"))
    answer = await session.http.request(verb, url + target, headers=headers, content=body)
    assert answer.status_code < 500, (caller, verb, path, answer.text)
    return WORD.get(answer.status_code, "in")


def committed() -> dict[str, list[str]]:
    """The rows of the table by endpoint."""
    rows = [line.split() for line in TABLE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return {" ".join(row[:3]): row[3:] for row in rows[1:]}


def test_every_endpoint_has_a_row_and_every_row_an_endpoint() -> None:
    assert {" ".join(endpoint) for endpoint in endpoints()} == set(committed())


@pytest.mark.invariant("I-18")
@pytest.mark.invariant("I-29")
async def test_endpoints_admit_exactly_whom_the_table_admits(session: Session) -> None:
    rows = committed()
    for endpoint in endpoints():
        tried = [await try_call(session, caller, *endpoint) for caller in COLUMNS]
        assert dict(zip(COLUMNS, tried, strict=True)) == dict(zip(COLUMNS, rows[" ".join(endpoint)], strict=True)), endpoint
