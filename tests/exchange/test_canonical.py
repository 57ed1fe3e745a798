"""Strict JSON in, canonical JSON out, base64url with one spelling."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.canonical import MAX_INTEGER, b64url, b64url_decode, canonical, parse_json, sha256
from tests.exchange.samples import refused

TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), max_size=8)
INTEGERS = st.integers(-MAX_INTEGER, MAX_INTEGER)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def test_rfc_8785_example_in_its_integers_and_literals() -> None:
    text = r"""{
      "numbers": [333333333, 4, 0, -7],
      "string": "\u20ac$\u000F\u000aA\u0027\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    expected = r"""{"literals":[null,true,false],"numbers":[333333333,4,0,-7],"string":"€$\u000f\nA'B\"\\\\\"/"}"""
    assert canonical(parse_json(text.encode("utf-8"))) == expected.encode("utf-8")


def test_rfc_8785_members_are_sorted_by_utf_16_code_units() -> None:
    names = ["€", "\r", "\ufb33", "1", "\U0001f600", "\x80", "ö"]
    in_order = ["\r", "1", "\x80", "ö", "€", "\U0001f600", "\ufb33"]
    assert list(json.loads(canonical(dict.fromkeys(names, 0)))) == in_order
    assert sorted(names) != in_order, "code points would give another order"


@given(JSON_VALUES)
def test_canonical_bytes_are_those_of_a_second_computation(value: Any) -> None:
    def reordered(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: reordered(part[name]) for name in sorted(part, key=lambda name: name.encode("utf-16-be"))}
        return [reordered(member) for member in part] if isinstance(part, list) else part

    assert canonical(value) == json.dumps(reordered(value), ensure_ascii=False, separators=(",", ":")).encode("utf-8")


@given(st.dictionaries(st.text("abcxyz", max_size=3), INTEGERS | st.text('abc"\\\n\x1f\x7f', max_size=5), max_size=6))
def test_plain_data_is_what_the_standard_library_sorts(value: dict[str, Any]) -> None:
    plain = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert canonical(value) == plain.encode("utf-8")


@given(JSON_VALUES)
def test_what_is_written_is_read_back_and_written_alike(value: Any) -> None:
    written = canonical(value)
    assert parse_json(written) == value
    assert canonical(parse_json(written)) == written


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        float("inf"),
        {"a": [0.5]},
        MAX_INTEGER + 1,
        -MAX_INTEGER - 1,
        b"x",
        {1: 2},
        {"a": {1}},
        "\ud800",
        {"\udfff": 1},
    ],
    ids=repr,
)
def test_canonical_json_holds_nothing_that_two_readers_could_read_differently(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical(value)


def test_canonical_json_of_endless_depth_is_an_error_not_a_crash() -> None:
    value: Any = {"ö": 1}
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="canonical"):
        canonical(value)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"nul",
        b"{'a':1}",
        b'{"a":1,}',
        b"[1,]",
        b"[1] [2]",
        b"[1]x",
        b'{"a":1}\x00',
        b"\xef\xbb\xbf{}",
        b"[1.0]",
        b"[1e400]",
        b"[-1E2]",
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b"[01]",
        b"[+1]",
        b"[9007199254740992]",
        b"[-9007199254740992]",
        b"[" + b"9" * 5000 + b"]",
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"x":{"b":1,"c":2,"b":3}}',
        b'["\x00"]',
        b'["\x1f"]',
        b'["\n"]',
        b'["\\u0000"]',
        b'{"\\u0000":1}',
        b'["\\ud800"]',
        b'["\\udc00\\ud800"]',
        b'{"\\ud800":1}',
        b'["\xed\xa0\x80"]',
        b'["\xc0\xaf"]',
        b'["\xff"]',
        b"\xfe\xff\x00[\x00]",
        b"/* */[]",
    ],
    ids=lambda text: repr(text[:24]),
)
def test_json_that_is_not_strict_is_refused(text: bytes) -> None:
    with refused("malformed-request"):
        parse_json(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b' \t\r\n{"a" : [ 1 , -0 ] }\n', {"a": [1, 0]}),
        (b"9007199254740991", MAX_INTEGER),
        (b"-9007199254740991", -MAX_INTEGER),
        (b'"\\ud83d\\ude00"', "😀"),
        ('"段·\u200d"'.encode(), "段·\u200d"),
        (b'"\\\\u0000"', "\\u0000"),
        (b"null", None),
    ],
)
def test_strict_json_is_read_as_it_stands(text: bytes, value: object) -> None:
    assert parse_json(text) == value


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_sixteen_levels_are_read_and_seventeen_are_refused(brackets: str) -> None:
    def nested(levels: int) -> bytes:
        opening = "[" if brackets == "[]" else '{"a":'
        return (opening * (levels - 1) + brackets + brackets[1] * (levels - 1)).encode("ascii")

    parse_json(nested(16))
    with refused("malformed-request"):
        parse_json(nested(17))
    assert parse_json(nested(3), max_depth=3)
    with refused("malformed-request"):
        parse_json(nested(3), max_depth=2)


def test_width_is_not_depth() -> None:
    assert len(parse_json(b"[" + b"[]," * 100 + b"{}]")) == 101


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b"[{", b'{"a":['])
def test_a_hundred_thousand_levels_are_refused_like_seventeen(opening: bytes) -> None:
    with refused("malformed-request"):
        parse_json(opening * 100_000)
    with refused("malformed-request"):
        parse_json(b"[" * 100_000 + b"]" * 100_000)


def test_more_bytes_than_allowed_are_not_even_read() -> None:
    with refused("too-large"):
        parse_json(b"x" * 11, max_bytes=10)


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    for text in (b'{"110101199003074258":1,"110101199003074258":2}', b'["110101199003074258\x00"]', b"[110101199003074258]"):
        with pytest.raises(Exception, match="malformed") as caught:
            parse_json(text)
        assert "110101199003074258" not in str(caught.value)


@given(st.binary(max_size=80))
def test_base64url_has_exactly_one_spelling(raw: bytes) -> None:
    text = b64url(raw)
    assert text == base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
    assert b64url_decode(text) == raw
    for other in (text + "=", text + "==", text + "\n", " " + text, text + "A" * (4 - len(text) % 4 + 1)):
        try:
            again = b64url_decode(other)
        except ValueError:
            continue
        assert b64url(again) == other


@given(st.text("AQgwBZ09-_+/= \n~.é\x00", max_size=7))
def test_whatever_base64url_is_accepted_encodes_back_to_itself(text: str) -> None:
    try:
        raw = b64url_decode(text)
    except ValueError:
        return
    assert b64url(raw) == text


@pytest.mark.parametrize("text", ["A", "AB", "AAB", "AA==", "AA=", "A A", "A+", "A/", "Ａ", "AAAA\n", "AAA*"])
def test_stray_bits_padding_and_other_alphabets_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        b64url_decode(text)


def test_digest_is_sha_256() -> None:
    assert sha256(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
