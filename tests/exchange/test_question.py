"""What a consumer asks: parsed once, strictly, by the gateway and by the provider."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.envelope import HttpRequest
from exchange.problem import Problem
from exchange.question import (
    MAX_HEADER_CHARACTERS,
    MAX_NAMES,
    MAX_REQUEST_BYTES,
    MAX_SUBJECTS,
    Question,
    parse_headers,
    parse_questions,
    parse_service_path,
)
from tests.exchange.samples import CONSUMER, REQUEST_ID, SERVICE, SUBJECT, data_request, refused, with_header, without_header


def asking(**body: Any) -> tuple[list[Question], bool]:
    return parse_questions(parse_headers(data_request()), json.dumps(body).encode("utf-8"))


def test_headers_are_read_into_types() -> None:
    headers = parse_headers(data_request(extra=(("exchange-consent", "consent-1"),)))
    assert str(headers.service) == SERVICE
    assert str(headers.consumer) == CONSUMER
    assert (headers.request_id, headers.purpose, headers.consent) == (REQUEST_ID, "transfer-registration", "consent-1")
    assert (headers.officer, headers.case) == ("officer-7", "2026-0417")


def test_optional_headers_may_be_absent() -> None:
    headers = parse_headers(without_header(without_header(data_request(), "x-road-userid"), "x-road-issue"))
    assert (headers.officer, headers.case, headers.consent) == (None, None, None)


@pytest.mark.parametrize("name", ["x-road-client", "x-road-id", "exchange-purpose", "content-type"])
def test_mandatory_headers_are_mandatory_and_single(name: str) -> None:
    request = data_request()
    with refused("malformed-request"):
        parse_headers(without_header(request, name))
    with refused("malformed-request"):
        parse_headers(replace(request, headers=[*request.headers, (name, "x")]))
    for value in ("", " ", "é", "a\x00b", "a\nb", "x" * (MAX_HEADER_CHARACTERS + 1)):
        with refused("malformed-request"):
            parse_headers(with_header(request, name, value))


@pytest.mark.parametrize("case", ["办件2026-0417", "2026/0417 (补正)", "100%", "a+b", "段·玉"])
def test_a_chinese_case_number_travels_percent_encoded(case: str) -> None:
    assert parse_headers(with_header(data_request(), "x-road-issue", quote(case, safe=" /()+"))).case == case


@pytest.mark.parametrize("value", ["%FF", "%E5%8A", "%00", "%0A", "a%0D%0Ab", "%1b[31m", "%E2%80%AE", "%E2%80%8D", "%C2%85"])
def test_percent_encoding_smuggles_no_control_characters(value: str) -> None:
    with refused("malformed-request"):
        parse_headers(with_header(data_request(), "x-road-issue", value))


@pytest.mark.parametrize(
    "value", ["text/plain", "application/jsonp", "application/x-www-form-urlencoded", "json", "; application/json"]
)
def test_only_json_is_asked_with(value: str) -> None:
    with refused("malformed-request"):
        parse_headers(with_header(data_request(), "content-type", value))


@pytest.mark.parametrize("value", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_json_may_be_said_in_several_ways(value: str) -> None:
    parse_headers(with_header(data_request(), "content-type", value))


@pytest.mark.parametrize("purpose", ["a b", "目的", "a/b", "x" * 65, "a%20b", "purpose\\"])
def test_purpose_and_consent_are_codes(purpose: str) -> None:
    with refused("malformed-request"):
        parse_headers(with_header(data_request(), "exchange-purpose", purpose))
    with refused("malformed-request"):
        parse_headers(data_request(extra=(("exchange-consent", purpose),)))


def test_a_subject_never_stands_in_the_url() -> None:
    with refused("malformed-request"):
        parse_headers(replace(data_request(), query=f"subject={SUBJECT}"))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/r1",
        "/r1/",
        f"/r2/{SERVICE}",
        f"/R1/{SERVICE}",
        f"//r1/{SERVICE}",
        f"/r1//{SERVICE}",
        f"/r1/{SERVICE}/",
        f"/r1/{SERVICE}/more",
        f"/r1/{SERVICE};v=1",
        f"/r1/{SERVICE}?x",
        f"/r1/{SERVICE}#x",
        f"/r1/{SERVICE}%00",
        f"/r1/../r1/{SERVICE}",
        f"/r1/{SERVICE.replace('/', '%2f')}",
        f"/r1/{SERVICE.replace('-', '%2d')}",
        f"http://gateway.example/r1/{SERVICE}",
        "/r1/CN-YA/GOV/public-security/population",
        "/r1/CN-YA/GOV/public-security/population/..",
        "/r1/CN-YA/GOV/public-security/population/居民",
    ],
)
def test_no_other_path_names_a_service(path: str) -> None:
    with refused("malformed-request"):
        parse_service_path(path)


def test_one_subject_is_one_question() -> None:
    (question,), batch = asking(subject=SUBJECT, items=["name"], facts={"paid_months_at_least": {"n": 24}})
    assert not batch
    assert (question.subject, question.items, question.position) == (SUBJECT, ("name",), 0)
    assert question.facts == {"paid_months_at_least": {"n": 24}}
    assert question.period is None


def test_a_batch_is_a_question_for_each_position() -> None:
    questions, batch = asking(subjects=["a", "b", "c"], items="all", range={"from": "2024-01", "to": "2025-12"})
    assert batch
    assert [(question.position, question.subject) for question in questions] == [(0, "a"), (1, "b"), (2, "c")]
    assert {question.items for question in questions} == {None}
    assert {question.period for question in questions} == {("2024-01", "2025-12")}
    assert len(asking(subjects=[str(number) for number in range(MAX_SUBJECTS)], items="all")[0]) == MAX_SUBJECTS


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"subject": SUBJECT},
        {"items": ["name"]},
        {"subject": SUBJECT, "items": []},
        {"subject": SUBJECT, "items": "name"},
        {"subject": SUBJECT, "items": "ALL"},
        {"subject": SUBJECT, "items": None},
        {"subject": SUBJECT, "items": {"name": 1}},
        {"subject": SUBJECT, "items": ["name", "name"]},
        {"subject": SUBJECT, "items": ["Name"]},
        {"subject": SUBJECT, "items": ["_sd"]},
        {"subject": SUBJECT, "items": ["..."]},
        {"subject": SUBJECT, "items": [["name"]]},
        {"subject": SUBJECT, "items": [None]},
        {"subject": SUBJECT, "items": [f"a{n}" for n in range(MAX_NAMES + 1)]},
        {"subject": SUBJECT, "facts": {}},
        {"subject": SUBJECT, "facts": ["is_adult"]},
        {"subject": SUBJECT, "facts": {"Is-Adult": {}}},
        {"subject": SUBJECT, "facts": {"is_adult": None}},
        {"subject": SUBJECT, "facts": {"is_adult": {"n": "24"}}},
        {"subject": SUBJECT, "facts": {"is_adult": {"n": True}}},
        {"subject": SUBJECT, "facts": {"is_adult": {"N": 24}}},
        {"subject": SUBJECT, "facts": {"is_adult": dict.fromkeys("abcde", 1)}},
        {"subject": SUBJECT, "facts": {f"a{n}": {} for n in range(MAX_NAMES + 1)}},
        {"subject": SUBJECT, "subjects": [SUBJECT], "items": ["name"]},
        {"subject": 7, "items": ["name"]},
        {"subject": None, "items": ["name"]},
        {"subject": "x" * 65, "items": ["name"]},
        {"subjects": SUBJECT, "items": ["name"]},
        {"subjects": [], "items": ["name"]},
        {"subjects": [SUBJECT, SUBJECT], "items": ["name"]},
        {"subjects": [SUBJECT, 7], "items": ["name"]},
        {"subjects": [str(n) for n in range(MAX_SUBJECTS + 1)], "items": ["name"]},
        {"subject": SUBJECT, "items": ["name"], "limit": 7},
        {"subject": SUBJECT, "items": ["name"], "range": "2024"},
        {"subject": SUBJECT, "items": ["name"], "range": {"from": "2024-01"}},
        {"subject": SUBJECT, "items": ["name"], "range": {"from": "2024-01", "to": "2024-13"}},
        {"subject": SUBJECT, "items": ["name"], "range": {"from": "2024-02", "to": "2024-01"}},
        {"subject": SUBJECT, "items": ["name"], "range": {"from": 202401, "to": 202402}},
        {"subject": SUBJECT, "items": ["name"], "range": {"from": "2024-01", "to": "2024-02", "step": 1}},
        {"subject": SUBJECT, "items": ["name"], "range": {"from": "２０２４-01", "to": "2024-02"}},
    ],
    ids=lambda body: json.dumps(body)[:60],
)
def test_a_body_that_is_no_question_is_refused_without_repeating_it(body: dict[str, Any]) -> None:
    with pytest.raises(Problem) as caught:
        asking(**body)
    assert caught.value.code == "malformed-request"
    assert SUBJECT not in f"{caught.value.detail}{caught.value.reason}"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=4),
        lambda s: st.lists(s) | st.dictionaries(st.sampled_from(["subject", "subjects", "items", "facts", "range", "n"]), s),
        max_leaves=8,
    )
)
def test_no_json_makes_it_crash(body: Any) -> None:
    try:
        questions, _ = parse_questions(parse_headers(data_request()), json.dumps(body).encode("utf-8"))
    except Problem as problem:
        assert problem.code == "malformed-request"  # noqa: PT017 - most bodies are no questions, some are
    else:
        assert questions


def test_a_body_too_large_is_refused() -> None:
    with refused("too-large"):
        parse_questions(parse_headers(data_request()), b" " * (MAX_REQUEST_BYTES + 1))


def test_headers_have_no_second_reading() -> None:
    request = data_request()
    upper = HttpRequest(request.method, request.path, "", "", [(name.upper(), value) for name, value in request.headers], b"")
    with refused("malformed-request"):
        parse_headers(upper)
