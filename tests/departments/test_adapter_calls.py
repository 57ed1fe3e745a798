"""What a back end hears: a request put together from the template, and who the adapter says it is."""

from __future__ import annotations

import base64
import json
import ssl
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from departments.adapting.back_end import MAX_SECRET_BYTES, BackEndSystem
from exchange.address import AddressRules
from exchange.problem import Problem
from tests.support.back_ends import HOST, SUBJECT, Visit, asking, declared, serving, well

FIXED = {
    "accept": "application/json",
    "accept-encoding": "identity",
    "connection": "close",
    "user-agent": "yitong-adapter",
}
GET = "{method: GET, path: '/people/{subject}/marriage', query: {id: 'no:{subject}', v: '2'}, headers: {X-Asked: '{subject}'}}"
POST = """{method: POST, path: /people/query, body: '{"who": ["{subject}", {"again": "id={subject}"}], "n": 1, "all": true}'}"""
NASTY = st.text(min_size=1, max_size=24) | st.text(alphabet="./\\?#&=%;:@ \r\n\t\x00\"'{}x", min_size=1, max_size=24)


async def heard(base: str, call: str, subject: str = SUBJECT, **more: str) -> Visit:
    """The one request that a back end heard."""
    async with serving(well) as server:
        declaration = declared(server.url + base, call=call, **more)  # type: ignore[arg-type]  # texts only
        async with asking(declaration) as way:
            await way.system.ask(declaration.sets[0].call, subject, declaration.sets[0].limits)
        [visit] = server.visits
        return visit


async def test_a_get_says_what_the_template_says_and_nothing_else() -> None:
    visit = await heard("/api/v1", GET)
    assert visit.line == f"GET /api/v1/people/{SUBJECT}/marriage?id=no%3A{SUBJECT}&v=2 HTTP/1.1"
    assert visit.body == b""
    headers = visit.headers
    assert headers.pop("host").startswith(f"{HOST}:")
    assert headers == {**FIXED, "x-asked": SUBJECT}


async def test_a_post_says_what_the_template_says_and_nothing_else() -> None:
    visit = await heard("", POST)
    assert visit.line == "POST /people/query HTTP/1.1"
    assert json.loads(visit.body) == {"who": [SUBJECT, {"again": f"id={SUBJECT}"}], "n": 1, "all": True}
    headers = visit.headers
    assert headers.pop("host").startswith(f"{HOST}:")
    assert headers == {**FIXED, "content-type": "application/json", "content-length": str(len(visit.body))}


@pytest.mark.invariant("I-42")
@given(NASTY)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
async def test_no_subject_breaks_out_of_its_place(subject: str) -> None:
    """Subjects are checked long before; this holds without that."""
    try:
        subject.encode()
    except UnicodeEncodeError:
        return  # half a surrogate is no text that could come this far
    try:
        visit = await heard("/api", GET, subject)
    except Problem as problem:
        # A segment of dots alone would lead elsewhere, and is not sent.
        assert problem.code == "provider-failed"  # noqa: PT017 - refused or sent whole
        assert set(subject) <= {"."}
        return
    method, target, version = visit.line.split(" ")
    parts = urlsplit(target)
    assert (method, version) == ("GET", "HTTP/1.1")
    assert [unquote(segment) for segment in parts.path.split("/")] == ["", "api", "people", subject, "marriage"]
    assert parse_qsl(parts.query, keep_blank_values=True) == [("id", f"no:{subject}"), ("v", "2")]
    assert set(visit.headers) == {*FIXED, "host", "x-asked"}
    assert unquote(visit.headers["x-asked"]) == subject
    visit = await heard("", POST, subject)
    assert json.loads(visit.body) == {"who": [subject, {"again": f"id={subject}"}], "n": 1, "all": True}


# --- who asks


def secret_file(directory: Path, content: bytes) -> Path:
    path = directory / "secret"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", [b"s3cret:x", b"s3cret:x\n", b"s3cret:x\r\n"])
@pytest.mark.parametrize(
    ("authentication", "header", "value"),
    [
        ("{{kind: bearer, token_file: {}}}", "authorization", "Bearer s3cret:x"),
        (
            "{{kind: basic, user: exchange, password_file: {}}}",
            "authorization",
            "Basic " + base64.b64encode(b"exchange:s3cret:x").decode(),
        ),
        ("{{kind: header, header: X-Api-Key, value_file: {}}}", "x-api-key", "s3cret:x"),
    ],
)
async def test_who_asks_is_said_with_what_lies_in_a_file(
    tmp_path: Path, content: bytes, authentication: str, header: str, value: str
) -> None:
    visit = await heard("", GET, authentication=authentication.format(secret_file(tmp_path, content)))
    assert visit.headers[header] == value
    assert set(visit.headers) == {*FIXED, "host", "x-asked", header}


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"hunter2\nX-Admin: 1", b"hunter2\r\nX-Admin: 1\r\n", b"hunter2\x00", b" hunter2", b"hunter2 ", "猎人2".encode(),
     b"h" * (MAX_SECRET_BYTES + 1)],
)  # fmt: skip
def test_a_file_that_holds_no_secret_stops_the_start_and_is_named_but_not_told(tmp_path: Path, content: bytes) -> None:
    path = secret_file(tmp_path, content)
    back_end = declared("http://back-end.test", authentication=f"{{kind: bearer, token_file: {path}}}").back_end
    with pytest.raises(ValueError, match="does not hold one line of printable ASCII") as error:
        BackEndSystem(back_end, AddressRules(back_end.pins), connections=1)
    assert str(path) in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_file_that_is_not_there_stops_the_start_and_is_named(tmp_path: Path) -> None:
    for authentication in (
        f"{{kind: bearer, token_file: {tmp_path}/nothing}}",
        f"{{kind: client-certificate, certificate_file: {tmp_path}/nothing, key_file: {tmp_path}/nothing}}",
    ):
        back_end = declared("https://back-end.test", authentication=authentication).back_end
        with pytest.raises(OSError, match="No such file"):
            BackEndSystem(back_end, AddressRules(back_end.pins), connections=1)
    with pytest.raises(OSError, match="No such file"):
        BackEndSystem(
            replace(declared("https://back-end.test").back_end, ca_file=tmp_path / "nothing"), AddressRules(()), connections=1
        )
    broken = replace(declared("https://back-end.test").back_end, ca_file=secret_file(tmp_path, b"no certificate"))
    with pytest.raises(ssl.SSLError):
        BackEndSystem(broken, AddressRules(()), connections=1)
