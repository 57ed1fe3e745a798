"""What becomes of a back end's values: types, value maps, dates, lists; what does not fit is refused without a word of it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from departments.adapting.answers import BackEndAnswer, read_answer
from departments.adapting.date_format import parse_date_format
from departments.adapting.model import AnswerRules, Found, NoRecord, Unknown, ValueMap, ValueRule, ValueType
from departments.adapting.pointer import parse_pointer
from departments.adapting.template import fill_body, fill_encoded, fill_query, parse_path, parse_template
from departments.adapting.values import MAX_ENTRIES, MAX_TEXT, Misfit, convert, literal
from exchange.canonical import canonical, parse_json
from exchange.clock import CHINA
from exchange.problem import Problem
from tests.exchange.samples import refused

SUBJECT = "11010519491231002X"
TELLING = "8817263544"
"""Stands in values that do not fit: it may be in no refusal."""


def rule(kind: ValueType, **more: Any) -> ValueRule:
    return ValueRule((), kind, **more)


def read(text: str) -> Any:
    return parse_json(text.encode(), exact_numbers=True)


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        (ValueType.TEXT, '"张三"', "张三"),
        (ValueType.TEXT, '""', ""),
        (ValueType.TEXT, "341503", "341503"),
        (ValueType.TEXT, "12345678901234567890", "12345678901234567890"),
        (ValueType.INTEGER, "12", 12),
        (ValueType.INTEGER, "-0", 0),
        (ValueType.INTEGER, '"12"', 12),
        (ValueType.INTEGER, str(2**53 - 1), 2**53 - 1),
        (ValueType.DECIMAL, "89.50", "89.50"),
        (ValueType.DECIMAL, "12", "12"),
        (ValueType.DECIMAL, '"-0.5"', "-0.5"),
        (ValueType.DECIMAL, "1.23456789E7", "12345678.9"),
        (ValueType.DECIMAL, "0.1", "0.1"),
        (ValueType.DATE, '"2024-02-29"', "2024-02-29"),
        (ValueType.MONTH, '"2024-02"', "2024-02"),
        (ValueType.BOOLEAN, "true", True),
    ],
)
def test_a_value_of_its_type_is_taken(kind: ValueType, written: str, value: object) -> None:
    taken = convert(read(written), rule(kind))
    assert taken == value
    assert type(taken) is type(value)
    canonical(taken)  # a record can carry it
    assert convert(None, rule(kind)) is None


MISFITS = [
    *((ValueType.TEXT, written) for written in ("true", "{}", "[]", json.dumps(TELLING * (MAX_TEXT // 10 + 1)))),
    *((ValueType.INTEGER, written) for written in ("1.0", "true", str(2**53), '"1.0"', '"١"', '"0012"', f'"{TELLING}x"', "[1]")),
    *((ValueType.DECIMAL, written) for written in ("true", '"1e5"', '"1,5"', "1e999999", f'"{TELLING}.x"', "{}")),
    *((ValueType.DATE, written) for written in ('"20240229"', '"2023-02-29"', '"0000-00-00"', "20240229", f'"{TELLING}"', "[]")),
    *((ValueType.MONTH, written) for written in ('"2024-13"', '"2024-02-01"', '"２０２４-01"')),
    *((ValueType.BOOLEAN, written) for written in ("1", '"true"', "[]")),
    *((ValueType.TEXTS, written) for written in ('"a"', "{}", "[true]", "[null]", "[[]]")),
    *((ValueType.OBJECTS, written) for written in ("{}", "[1]", '["a"]')),
]


@pytest.mark.parametrize(("kind", "written"), MISFITS)
def test_a_value_that_does_not_fit_is_refused_and_not_repeated(kind: ValueType, written: str) -> None:
    each = rule(ValueType.TEXT)
    members = {"name": ValueRule(parse_pointer("/xm"), ValueType.TEXT)}
    with pytest.raises(Misfit) as misfit:
        convert(read(written), rule(kind, each=each if kind is ValueType.TEXTS else None, members=members))
    assert TELLING not in str(misfit.value)


def test_a_list_too_long_is_refused() -> None:
    with pytest.raises(Misfit):
        convert(["a"] * (MAX_ENTRIES + 1), rule(ValueType.TEXTS, each=rule(ValueType.TEXT)))


@pytest.mark.parametrize(
    ("raw", "unknown", "value"),
    [
        ("10", Unknown.FAIL, "未婚"),
        (10, Unknown.FAIL, "未婚"),
        ("99", Unknown.FAIL, None),
        ("50", Unknown.NULL, None),
        (50, Unknown.NULL, None),
        ("50", Unknown.KEEP, "50"),
        (None, Unknown.FAIL, None),
    ],
)
def test_a_value_map_turns_codes_into_values_and_says_what_an_unknown_one_becomes(
    raw: object, unknown: Unknown, value: object
) -> None:
    mapped = ValueMap({"10": "未婚", "99": None}, unknown)
    assert convert(raw, rule(ValueType.TEXT, mapped=mapped)) == value


def test_an_unknown_code_is_refused_where_the_declaration_says_fail() -> None:
    raws: tuple[object, ...] = (TELLING, 11, True, [], {})
    for raw in raws:
        with pytest.raises(Misfit) as misfit:
            convert(raw, rule(ValueType.TEXT, mapped=ValueMap({"10": "未婚"}, Unknown.FAIL)))
        assert TELLING not in str(misfit.value)


def test_a_code_that_is_kept_must_still_fit_the_type() -> None:
    mapped = ValueMap({"Y": True}, Unknown.KEEP)
    assert convert("Y", rule(ValueType.BOOLEAN, mapped=mapped)) is True
    with pytest.raises(Misfit):
        convert("N", rule(ValueType.BOOLEAN, mapped=mapped))


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("true", ValueType.BOOLEAN, True),
        ("12", ValueType.INTEGER, 12),
        ("1.50", ValueType.DECIMAL, "1.50"),
        ("2024-01-31", ValueType.DATE, "2024-01-31"),
        ("true", ValueType.TEXT, "true"),
    ],
)
def test_the_values_of_a_map_are_of_the_items_type(text: str, kind: ValueType, value: object) -> None:
    assert literal(text, kind) == value
    assert type(literal(text, kind)) is type(value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("yes", ValueType.BOOLEAN), ("x", ValueType.INTEGER), ("20240101", ValueType.DATE), ("a", ValueType.TEXTS)],
)
def test_a_value_of_a_map_that_is_of_another_type_is_refused(text: str, kind: ValueType) -> None:
    with pytest.raises(Misfit):
        literal(text, kind)


# --- dates


@pytest.mark.parametrize(
    ("pattern", "raw", "value"),
    [
        ("YYYYMMDD", "20240229", "2024-02-29"),
        ("YYYYMMDD", 20240229, "2024-02-29"),
        ("DD.MM.YYYY", "29.02.2024", "2024-02-29"),
        ("YYYY年MM月DD日", "2024年02月29日", "2024-02-29"),
        ("YYYY-MM-DD hh:mm:ss", "2024-02-29 23:59:59", "2024-02-29"),
        ("rfc3339", "2024-02-28T16:00:00Z", "2024-02-29"),
        ("rfc3339", "2024-02-29T00:30:00.123+08:00", "2024-02-29"),
        ("unix-seconds", 1709136000, "2024-02-29"),
        ("unix-seconds", 1709135999, "2024-02-28"),
        ("unix-milliseconds", 1709136000999, "2024-02-29"),
        ("unix-seconds", -2208988800, "1900-01-01"),
    ],
)
def test_dates_are_read_in_the_declared_format_and_are_those_of_china(pattern: str, raw: object, value: str) -> None:
    assert parse_date_format(pattern, month=False).read(raw) == value


@pytest.mark.parametrize(
    ("pattern", "raw"),
    [
        ("YYYYMMDD", "2024-02-29"),
        ("YYYYMMDD", "20240230"),
        ("YYYYMMDD", "00000000"),
        ("YYYYMMDD", "２０２４０２２９"),
        ("YYYYMMDD", True),
        ("YYYYMMDD", None),
        ("YYYY.MM.DD", "2024x02x29"),
        ("rfc3339", "2024-02-29T00:00:00"),
        ("rfc3339", "2024-02-29"),
        ("rfc3339", "0001-01-01T00:00:00+14:00" + "0" * 40),
        ("rfc3339", "9999-12-31T23:59:59-12:00"),
        ("rfc3339", 1),
        ("unix-seconds", "1709136000"),
        ("unix-seconds", True),
        ("unix-seconds", 10**12),
        ("unix-milliseconds", 10**18),
        ("unix-seconds", Decimal("1.5")),
    ],
)
def test_what_is_not_written_so_is_no_date(pattern: str, raw: object) -> None:
    with pytest.raises(ValueError, match=r"date|instant"):
        parse_date_format(pattern, month=False).read(raw)


@pytest.mark.parametrize("pattern", ["", "YYYY", "YYYY-MM", "YYYY-DD", "YYYY-MM-DD YYYY", "yyyy-mm-dd", "iso", "Y" * 50])
def test_a_pattern_without_a_whole_date_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="a pattern holds"):
        parse_date_format(pattern, month=False)


def test_a_month_has_no_day() -> None:
    assert parse_date_format("YYYYMM", month=True).read(202402) == "2024-02"
    with pytest.raises(ValueError, match="a pattern holds"):
        parse_date_format("YYYY-MM-DD", month=True)


@given(st.dates())
def test_every_date_is_read_back_from_every_pattern(day: date) -> None:
    for pattern, written in (
        ("YYYYMMDD", f"{day:%Y%m%d}".zfill(8)),
        ("DD/MM/YYYY", f"{day.day:02}/{day.month:02}/{day.year:04}"),
    ):
        assert parse_date_format(pattern, month=False).read(written) == day.isoformat()


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis adds the zone
def test_an_instant_is_the_same_day_in_all_three_forms(at: datetime) -> None:
    day = at.astimezone(CHINA).date().isoformat()
    assert parse_date_format("rfc3339", month=False).read(at.isoformat()) == day
    seconds = (at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() // 1
    assert parse_date_format("unix-seconds", month=False).read(int(seconds)) == day
    assert parse_date_format("unix-milliseconds", month=False).read(int(seconds) * 1000) == day


# --- templates


@given(st.text(min_size=1, max_size=20))
def test_a_subject_is_encoded_for_where_it_stands_and_never_breaks_out(subject: str) -> None:
    path = fill_encoded(parse_path("/people/{subject}/marriage"), subject)
    assert path.count("/") == 3
    assert not set(path) & set("?#%&=;\\ \r\n") - {"%"}
    query = fill_query(parse_template("id:{subject}"), subject)
    assert not set(query) & set("&=?#/ +\r\n")
    body = json.dumps(fill_body({"a": [{"id": ("", "")}], "n": 1}, subject))
    assert json.loads(body) == {"a": [{"id": subject}], "n": 1}


@pytest.mark.parametrize(
    "path",
    ["people", "", "//x/{subject}", "/a/../{subject}", "/./{subject}", "/a%2fb", "/a;b", "/a?x={subject}", "/a#b", "/{x}",
     "/{subject", "/a\\b", "/ä", "/a b", "/..", "/{subject}/", "http://x/"],
)  # fmt: skip
def test_a_path_that_two_readers_could_read_differently_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"a path is|braces|printable"):
        parse_path(path)


# --- whole answers

RULES = AnswerRules(
    values={
        "name": ValueRule(parse_pointer("/data/xm"), ValueType.TEXT),
        "count": ValueRule(parse_pointer("/data/n"), ValueType.INTEGER),
        "note": ValueRule(parse_pointer("/data/bz"), ValueType.TEXT, may_be_absent=True),
    },
    no_record=(
        NoRecord(404, None, None, None),
        NoRecord(422, parse_pointer("/code"), "NONE", None),
        NoRecord(None, parse_pointer("/code"), "1001", None),
        NoRecord(None, parse_pointer("/list"), None, Found.EMPTY),
        NoRecord(None, parse_pointer("/gone"), None, Found.NULL),
    ),
    subject=parse_pointer("/data/id"),
)
GOOD: dict[str, Any] = {"code": "0", "data": {"id": SUBJECT, "xm": "张三", "n": 3}}


def answered(
    document: object = GOOD, *, status: int = 200, kind: str = "application/json", raw: bytes | None = None
) -> BackEndAnswer:
    return BackEndAnswer(status, kind, json.dumps(document).encode() if raw is None else raw)


def values(answer: BackEndAnswer, *names: str) -> Any:
    return read_answer(answer, RULES, SUBJECT, names)


def test_only_what_is_asked_for_is_looked_at() -> None:
    assert values(answered(), "name") == {"name": "张三"}
    assert values(answered()) == {}
    spoilt = {"code": "0", "data": {"id": SUBJECT, "xm": "张三", "n": "no number"}}
    assert values(answered(spoilt), "name", "note") == {"name": "张三", "note": None}
    with refused("provider-failed"):
        values(answered(spoilt), "name", "count")


@pytest.mark.parametrize(
    "answer",
    [
        answered({}, status=404),
        answered(status=404, kind="text/html", raw=b"<html>"),
        answered({"code": "NONE"}, status=422),
        answered({"code": "1001", "data": None}),
        answered({"code": 1001}),
        answered({"list": []}),
        answered({"gone": None}),
    ],
)
def test_no_record_is_what_the_declaration_says_it_is(answer: BackEndAnswer) -> None:
    assert values(answer, "name") is None


FAILURES = [
    *(answered(status=status) for status in (201, 204, 301, 302, 401, 403, 410, 422, 429, 500, 503)),
    answered({"code": "1001"}, status=400),
    answered({"code": "1002"}),
    answered({"code": True}),
    answered({"code": ["1001"]}),
    answered({}),
    answered([]),
    answered({"list": None, "data": {}}),
    answered({**GOOD, "data": {**GOOD["data"], "id": "110105194912310038"}}),
    answered({**GOOD, "data": {**GOOD["data"], "id": None}}),
    answered({**GOOD, "data": {"id": SUBJECT, "n": 3}}),
    answered({**GOOD, "data": {**GOOD["data"], "xm": {"v": TELLING}}}),
    *(
        answered(kind=kind)
        for kind in (
            "",
            "text/html",
            "text/json",
            "application/jsonp",
            "application/json; charset=gbk",
            "application/json;charset=UTF-16",
        )
    ),
    answered(raw=b""),
    answered(raw=b"{"),
    answered(raw=b'{"code": "0", "code": "1001"}'),
    answered(raw=b'{"data": {"id": "%b", "xm": "a", "xm": "b"}}' % SUBJECT.encode()),
    answered(raw=b"\xef\xbb\xbf" + json.dumps(GOOD).encode()),
    answered(raw=json.dumps(GOOD, ensure_ascii=False).encode("gbk")),
    answered(raw=json.dumps(GOOD).encode() + b"{}"),
    answered(raw=b'{"a": NaN}'),
    answered(raw=b'{"a": "\\u0000"}'),
    answered(raw=b'{"a": "\\ud800"}'),
    answered(raw=b'{"a": ' + b"[" * 20 + b"]" * 20 + b"}"),
    answered(raw=b"[" * 100_000),
    answered(raw=b'{"a": ' + b"9" * 5000 + b"}"),
]


@pytest.mark.parametrize("answer", FAILURES)
def test_everything_else_is_a_failure_that_names_nobody(answer: BackEndAnswer) -> None:
    with pytest.raises(Problem) as problem:
        values(answer, "name")
    assert problem.value.code == "provider-failed"
    for word in (SUBJECT, "张三", TELLING):
        assert word not in problem.value.reason + problem.value.detail


@pytest.mark.parametrize(
    "kind",
    ["application/json", "application/json; charset=UTF-8", 'application/problem+json;charset="utf-8"', "Application/JSON"],
)
def test_json_in_utf8_is_told_by_its_type(kind: str) -> None:
    assert values(answered(kind=kind), "name") == {"name": "张三"}


def test_entries_of_a_list_give_their_declared_members_and_no_others() -> None:
    members = {
        "name": ValueRule(parse_pointer("/xm"), ValueType.TEXT),
        "share": ValueRule(parse_pointer("/fe"), ValueType.DECIMAL, may_be_absent=True),
    }
    raw = read('[{"xm": "张三", "fe": 0.5, "sfzh": "11010519491231002X"}, {"xm": "李四"}]')
    taken = convert(raw, rule(ValueType.OBJECTS, members=members))
    assert taken == [{"name": "张三", "share": "0.5"}, {"name": "李四", "share": None}]
    months = rule(
        ValueType.MONTHS,
        each=ValueRule(parse_pointer("/ym"), ValueType.MONTH, date_format=parse_date_format("YYYYMM", month=True)),
    )
    assert convert([{"ym": "202401"}, {"ym": 202402}], months) == ["2024-01", "2024-02"]


def test_an_entry_by_month_has_its_month() -> None:
    members = {"month": ValueRule(parse_pointer("/ym"), ValueType.MONTH, may_be_absent=True)}
    with pytest.raises(Misfit, match="without its month"):
        convert([{}], rule(ValueType.OBJECTS, members=members))
