"""Signed requests: the values that are covered, byte by byte, and the requests that control instead of ask."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.envelope import (
    HttpRequest,
    Tag,
    content_digest,
    parse_signature_input,
    sign_request,
    signature_base,
    verify_request,
)
from exchange.keys import VerifyKey
from exchange.problem import Problem
from tests.exchange.samples import (
    CONSUMER,
    CONSUMER_KEY,
    KEYS,
    NOW,
    data_request,
    header,
    key_of,
    refused,
    signed_request,
    with_header,
)
from tests.exchange.signing import MANDATORY, OPTIONAL, parameters, signed_as, verify


@pytest.mark.parametrize("value", ["", " ", "办件2026", "caf\xe9", "a\tb", "a\x00b", "a\r\n b", "a\nb", "\x7f", "a\u2028b"])
@pytest.mark.parametrize("name", ["x-road-issue", "x-road-userid", "exchange-purpose"])
def test_folded_empty_or_non_ascii_header_values_are_neither_signed_nor_verified(name: str, value: str) -> None:
    altered = with_header(data_request(), name, value)
    with refused("malformed-request"):
        signed_request(altered)
    with refused("malformed-request"):
        verify(signed_as(parameters(), request=altered))


def test_white_space_around_a_header_value_is_not_part_of_it() -> None:
    verify(with_header(signed_request(), "x-road-issue", "  2026-0417\t"))


def test_the_path_is_the_bytes_that_were_sent() -> None:
    request = data_request()
    for path in (
        request.path + "/",
        request.path.replace("GOV", "%47OV"),
        request.path.upper(),
        "/r1/%2e%2e/x",
        request.path + "?",
    ):
        other = signed_request(replace(request, path=path))
        assert verify(other).base.splitlines()[1] == f'"@path": {path}'.encode("ascii")
        with refused("signature-invalid"):
            verify(replace(other, path=request.path))


@pytest.mark.parametrize("path", ["", "/r1/é", '/r1/x\n"@query": ?y', "/r1/x\r", "/r1/\x00"])
def test_a_path_that_could_end_a_line_or_is_not_ascii_is_refused(path: str) -> None:
    with refused("malformed-request"):
        verify(replace(signed_request(), path=path))
    with refused("malformed-request"):
        signed_request(replace(data_request(), path=path))


def test_the_query_is_covered_also_when_there_is_none() -> None:
    assert b'\n"@query": ?\n' in verify(signed_request()).base
    with refused("signature-invalid"):
        verify(replace(signed_request(), query="subject=1"))


def test_the_digest_is_that_of_the_body() -> None:
    request = signed_request()
    for body in (b"", request.body + b" ", request.body.replace(b"name", b"nane")):
        with refused("malformed-request"):
            verify(replace(request, body=body))
    digest = content_digest(request.body)
    for value in (digest.replace("sha-256", "sha-512"), digest + ", " + digest, digest.replace("=:", ":"), "sha-256=::", "x"):
        with refused("malformed-request"):
            verify(with_header(request, "content-digest", value))


def test_content_digest_is_that_of_rfc_9530() -> None:
    assert content_digest(b'{"hello": "world"}\n') == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
    assert content_digest(b"") == "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"


@pytest.mark.parametrize(
    "name", ["content-type", "x-road-client", "x-road-id", "x-road-userid", "x-road-issue", "exchange-purpose"]
)
@given(st.data())
def test_any_altered_character_of_a_covered_header_is_noticed(name: str, data: st.DataObject) -> None:
    request = signed_request()
    value = header(request, name)
    place = data.draw(st.integers(0, len(value) - 1))
    character = data.draw(st.characters(min_codepoint=0x21, max_codepoint=0x7E).filter(lambda c: c != value[place]))
    with refused("signature-invalid"):
        verify(with_header(request, name, value[:place] + character + value[place + 1 :]))


@given(st.data())
def test_any_altered_character_of_the_signature_headers_is_noticed(data: st.DataObject) -> None:
    request = signed_request()
    name = data.draw(st.sampled_from(["signature", "signature-input"]))
    value = header(request, name)
    place = data.draw(st.integers(0, len(value) - 1))
    character = data.draw(st.characters(min_codepoint=1, max_codepoint=0x2FF).filter(lambda c: c != value[place]))
    altered = value[:place] + character + value[place + 1 :]
    if altered.strip(" \t") == value.strip(" \t"):
        return
    with pytest.raises(Problem):
        verify(with_header(request, name, altered))


@given(st.text(st.characters(max_codepoint=0x17F), max_size=80) | st.text('exchange=();tag" -,:\\', max_size=80))
def test_no_signature_header_makes_it_crash(text: str) -> None:
    for name in ("signature", "signature-input"):
        with pytest.raises(Problem):
            verify(with_header(signed_request(), name, text))


def test_a_long_hostile_dictionary_is_read_in_linear_time() -> None:
    for text in ('a="' * 1365, "a=(" * 1365, 'a="\\' * 1020, "a=1," * 1020 + "b", 'a=("b' * 800):
        with refused("malformed-request"):
            parse_signature_input(text, Tag.REQUEST)


def control_request(body: bytes = b"") -> HttpRequest:
    headers = [("x-road-client", CONSUMER), *((("content-type", "application/json"),) if body else ())]
    return HttpRequest("POST" if body else "GET", "/explain", "page=2", "gateway.example:8443", headers, body)


@pytest.mark.parametrize("body", [b"", b'{"request_id": "x"}'])
def test_a_control_request_covers_the_authority_and_its_body(body: bytes) -> None:
    request = sign_request(CONSUMER_KEY, control_request(body), tag=Tag.CONTROL, now=NOW)
    signed = verify_request(request, tag=Tag.CONTROL, key_of=key_of, now=NOW)
    wanted = ("@method", "@authority", "@path", "@query", "x-road-client", *(("content-digest", "content-type") if body else ()))
    assert signed.input.components == wanted
    for altered in (
        replace(request, authority="other.example"),
        replace(request, query="page=3"),
        replace(request, path="/log"),
        replace(request, method="DELETE"),
        with_header(request, "x-road-client", CONSUMER + "x"),
    ):
        with refused("signature-invalid"):
            verify_request(altered, tag=Tag.CONTROL, key_of=key_of, now=NOW)


def test_a_body_cannot_be_added_to_a_control_request() -> None:
    request = sign_request(CONSUMER_KEY, control_request(), tag=Tag.CONTROL, now=NOW)
    for headers in (request.headers, [*request.headers, ("content-type", "a/b"), ("content-digest", content_digest(b"x"))]):
        with refused("malformed-request"):
            verify_request(replace(request, body=b"x", headers=headers), tag=Tag.CONTROL, key_of=key_of, now=NOW)


def test_a_signature_for_one_thing_is_none_for_another() -> None:
    with refused("malformed-request"):
        verify_request(signed_request(), tag=Tag.CONTROL, key_of=key_of, now=NOW)
    with refused("malformed-request"):
        verify(sign_request(CONSUMER_KEY, control_request(b"{}"), tag=Tag.CONTROL, now=NOW))


def test_the_base_is_rebuilt_from_the_value_that_arrived() -> None:
    raw = parameters(tuple(reversed(MANDATORY + OPTIONAL)))
    signed = verify(signed_as(raw))
    assert signed.base == signature_base(signed.request, signed.input.components, raw)
    assert signed.base.endswith(f'"@signature-params": {raw}'.encode("ascii"))


def test_two_signatures_over_one_base_name_one_request() -> None:
    first, second = signed_as(parameters()), signed_as(parameters())
    assert header(first, "signature") != header(second, "signature")
    assert verify(first).digest == verify(second).digest
    assert verify(signed_request()).digest != verify(signed_request()).digest, "each signing draws a nonce of its own"


def test_a_key_is_looked_up_by_the_id_in_the_signature() -> None:
    wanted: list[str] = []

    def look_up(kid: str) -> VerifyKey | None:
        wanted.append(kid)
        return KEYS.get(kid)

    verify_request(signed_request(), tag=Tag.REQUEST, key_of=look_up, now=NOW)
    assert wanted == [CONSUMER_KEY.kid]
