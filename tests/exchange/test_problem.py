"""The closed list of problems: every code with its status and X-Road's word for it, in a body that both worlds read."""

from __future__ import annotations

import json

import pytest

from exchange.problem import PROBLEMS, Problem, Retry
from exchange.web import prefers_chinese, problem_media_type, problem_responses, render_problem

_INVALID = "server.clientproxy.invalid_request"
_SIGNATURE = "server.clientproxy.invalid_signature_value"
_DENIED = "server.serverproxy.access_denied"
_FAILED = "server.serverproxy.service_failed"
_INTERNAL = "server.serverproxy.internal_error"

# Kept here once more on purpose: clients branch on these words, so a change of one must be meant.
LIST: dict[str, tuple[int, str, Retry]] = {
    "malformed-request": (400, _INVALID, Retry.NO),
    "signature-invalid": (401, _SIGNATURE, Retry.NO),
    "signature-stale": (401, _SIGNATURE, Retry.NO),
    "unauthenticated": (401, "server.clientproxy.authentication_failed", Retry.NO),
    "tls-authentication-failed": (401, "server.clientproxy.ssl_authentication_failed", Retry.NO),
    "forbidden": (403, _DENIED, Retry.NO),
    "member-suspended": (403, _DENIED, Retry.NO),
    "key-revoked": (403, _DENIED, Retry.NO),
    "right-missing": (403, _DENIED, Retry.NO),
    "sharing-refused": (403, _DENIED, Retry.NO),
    "purpose-not-covered": (403, _DENIED, Retry.NO),
    "item-not-covered": (403, _DENIED, Retry.NO),
    "outside-time-window": (403, _DENIED, Retry.LATER),
    "consent-required": (403, _DENIED, Retry.AFTER_CONSENT),
    "consent-mismatch": (403, _DENIED, Retry.AFTER_CONSENT),
    "consent-withdrawn": (403, _DENIED, Retry.AFTER_CONSENT),
    "consent-used-up": (403, _DENIED, Retry.AFTER_CONSENT),
    "unknown-service": (404, "server.serverproxy.unknown_service", Retry.NO),
    "not-found": (404, "server.serverproxy.not_found", Retry.NO),
    "method-not-allowed": (405, _INVALID, Retry.NO),
    "request-replayed": (409, _INVALID, Retry.NEW_ID),
    "conflict": (409, _INVALID, Retry.NEW_ID),
    "too-large": (413, _INVALID, Retry.NO),
    "quota-exceeded": (429, _DENIED, Retry.LATER),
    "internal": (500, _INTERNAL, Retry.LATER),
    "provider-failed": (502, _FAILED, Retry.NEW_ID),
    "record-invalid": (502, _FAILED, Retry.NEW_ID),
    "record-incomplete": (502, _FAILED, Retry.NEW_ID),
    "audit-unavailable": (503, _INTERNAL, Retry.SAME_ID),
    "registry-stale": (503, "server.serverproxy.global_conf_outdated", Retry.SAME_ID),
    "lapsed": (503, _INTERNAL, Retry.SAME_ID),
    "overloaded": (503, _INTERNAL, Retry.SAME_ID),
    "provider-unavailable": (503, "server.serverproxy.network_error", Retry.SAME_ID),
    "identity-unavailable": (503, _INTERNAL, Retry.SAME_ID),
    "deadline-exceeded": (504, _FAILED, Retry.SAME_ID),
}


def test_the_list_is_closed_and_complete() -> None:
    assert {code: (kind.status, kind.xroad_type, kind.retry) for code, kind in PROBLEMS.items()} == LIST
    with pytest.raises(KeyError):
        Problem("something-new")
    with pytest.raises(TypeError):
        PROBLEMS["something-new"] = PROBLEMS["internal"]  # type: ignore[index]  # that it cannot be done is the point


@pytest.mark.parametrize("code", LIST)
def test_every_problem_speaks_two_languages_and_says_what_to_do(code: str) -> None:
    kind = PROBLEMS[code]
    for english, chinese in ((kind.title_en, kind.title_zh), (kind.advice_en, kind.advice_zh)):
        assert english.isascii()
        assert english
        assert any("\u4e00" <= character <= "\u9fff" for character in chinese)


@pytest.mark.parametrize("code", LIST)
def test_one_body_serves_x_road_clients_and_ours(code: str) -> None:
    document = Problem(code, "the detail").document("request-1")
    assert document["type"] == document["type"].lower()
    assert document["type"].startswith("server.")
    assert document["message"] == document["detail"] == "the detail"
    assert (document["code"], document["status"], document["request_id"]) == (code, LIST[code][0], "request-1")
    assert (document["data_left"], document["explain"]) == (False, "/explain")


def test_without_a_detail_the_title_stands_in_its_place_in_the_callers_language() -> None:
    english, chinese = (Problem("conflict").document(language=language) for language in ("en", "zh"))
    assert english["detail"] == english["message"] == english["title"] == PROBLEMS["conflict"].title_en
    assert chinese["detail"] == chinese["message"] == chinese["title"] == PROBLEMS["conflict"].title_zh
    assert Problem("conflict", "the detail").document(language="zh")["detail"] == "the detail"


def test_what_is_for_the_log_does_not_reach_the_caller() -> None:
    problem = Problem("signature-invalid", reason="the key is unknown")
    assert "unknown" not in json.dumps(problem.document("x"))
    assert problem.reason == "the key is unknown"


def test_extra_members_are_added_and_replace_nothing() -> None:
    document = Problem("quota-exceeded", retry_after=7, status=200, names=["name"], request_id="x").document("y")
    assert (document["retry_after"], document["names"]) == (7, ["name"])
    assert (document["status"], document["request_id"]) == (429, "y")


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", "application/problem+json"),
        ("*/*", "application/problem+json"),
        ("application/json", "application/json"),
        ("application/json, */*;q=0.1", "application/problem+json"),
        ("application/json, application/problem+json", "application/problem+json"),
        ("application/sd-jwt", "application/problem+json"),
        ("application/sd-jwt, application/json", "application/json"),
        ("text/html", "application/problem+json"),
    ],
)
def test_a_client_that_takes_only_plain_json_gets_plain_json(accept: str, media: str) -> None:
    assert problem_media_type(accept) == media
    status, headers, body = render_problem(Problem("conflict"), "x", accept=accept)
    assert status == 409
    assert dict(headers)[b"content-type"] == media.encode("ascii")
    assert dict(headers)[b"content-length"] == str(len(body)).encode("ascii")


@pytest.mark.parametrize(
    ("language", "chinese"),
    [
        ("zh", True),
        ("zh-CN,zh;q=0.9,en;q=0.8", True),
        (" ZH-Hans", True),
        ("en", False),
        ("", False),
        ("en,zh", False),
        ("*", False),
    ],
)
def test_the_first_language_named_decides(language: str, chinese: bool) -> None:
    assert prefers_chinese(language) == chinese
    document = json.loads(render_problem(Problem("conflict"), None, language=language)[2])
    assert document["title"] == (PROBLEMS["conflict"].title_zh if chinese else PROBLEMS["conflict"].title_en)


def test_headers_repeat_x_roads_type_and_forbid_caching() -> None:
    for code, (_, xroad_type, _) in LIST.items():
        headers = dict(render_problem(Problem(code), None)[1])
        assert headers[b"x-road-error"] == xroad_type.encode("ascii")
        assert headers[b"cache-control"] == b"no-store"
        assert (b"retry-after" in headers) == (code in {"quota-exceeded", "overloaded"})
        assert (b"www-authenticate" in headers) == (code == "unauthenticated")
    assert dict(render_problem(Problem("quota-exceeded", retry_after=60), None)[1])[b"retry-after"] == b"60"


def test_whether_data_left_is_said() -> None:
    assert json.loads(render_problem(Problem("request-replayed"), "x", data_left=True)[2])["data_left"] is True
    assert Problem("conflict", data_left=True).document()["data_left"] is True
    assert Problem("conflict", data_left="perhaps").document()["data_left"] is False


def test_api_documents_list_the_codes_by_status() -> None:
    responses = problem_responses("conflict", "request-replayed", "not-found")
    assert responses[409]["description"] == "conflict, request-replayed"
    assert set(responses) == {404, 409}
    with pytest.raises(KeyError):
        problem_responses("something-new")
