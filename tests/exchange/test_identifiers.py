"""Identifiers: one spelling each, parsed once, and nothing that looks alike."""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Callable
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exchange.identifiers import (
    MemberId,
    ServiceId,
    SubsystemId,
    appearance,
    parse_enterprise_id,
    parse_member_id,
    parse_person_id,
    parse_request_id,
    parse_service_id,
    parse_subject,
    parse_subsystem_id,
    person_check_digit,
)
from exchange.problem import Problem
from tests.exchange.samples import refused

SEGMENT_CHARACTERS = string.ascii_letters + string.digits + "_-"
SEGMENTS = st.text(SEGMENT_CHARACTERS, min_size=1, max_size=64)
# What attackers put in place of a plain letter, digit, dash or slash.
CONFUSABLES = "０１Ａａ＿－／‐‑−ıİſ\u212aßѕеοⅠ\u200b\u200c\u200d\u200e\u202e\u2066\ufeff\u00ad\u0301éê%.;\\ \t\n\x00~+&#?@:"
PARSERS: list[tuple[Callable[[str], object], int]] = [
    (parse_member_id, 3),
    (parse_subsystem_id, 4),
    (parse_service_id, 5),
]


@given(st.lists(SEGMENTS, min_size=5, max_size=5))
def test_an_identifier_is_written_as_it_was_read(segments: list[str]) -> None:
    for parse, count in PARSERS:
        text = "/".join(segments[:count])
        assert str(parse(text)) == text
    service = parse_service_id("/".join(segments))
    assert service.subsystem == parse_subsystem_id("/".join(segments[:4]))
    assert service.subsystem.member == parse_member_id("/".join(segments[:3]))


@pytest.mark.invariant("I-45")
@given(st.lists(st.text(SEGMENT_CHARACTERS + CONFUSABLES, max_size=5), min_size=2, max_size=6).map("/".join))
@example("CN-YA/GOV/tax%2fsystem/a")
@example("CN-YA/GOV/%74ax/a")
@example("CN-YA/GOV/%2574ax/a")
@example("CN-YA/GOV/%2e%2e/a")
@example("CN-YA/GOV/%c0%af/a")
@example("CN-YA/GOV/../a")
@example("CN-YA/GOV/tax\n/a")
@example("CN-YA/GOV/tax/a/")
@example("/CN-YA/GOV/tax/a")
@example("CN-YA//GOV/tax")
def test_whatever_is_accepted_is_plain_ascii_with_one_spelling(text: str) -> None:
    for parse, _ in PARSERS:
        try:
            parsed = parse(text)
        except Problem:
            with refused("malformed-request"):
                parse(text)
            continue
        assert str(parsed) == text
        assert text.isascii()
        assert unicodedata.normalize("NFKC", text) == text
        assert set(text) <= set(SEGMENT_CHARACTERS + "/")


@pytest.mark.invariant("I-45")
@given(st.lists(SEGMENTS, min_size=4, max_size=4), st.integers(0, 200), st.sampled_from(CONFUSABLES))
def test_one_confusable_character_in_any_place_makes_it_no_identifier(segments: list[str], place: int, character: str) -> None:
    text = "/".join(segments)
    at = place % len(text)
    for altered in (text[:at] + character + text[at:], text[:at] + character + text[at + 1 :]):
        with refused("malformed-request"):
            parse_subsystem_id(altered)


@pytest.mark.invariant("I-45")
@given(st.lists(SEGMENTS, min_size=4, max_size=4), st.integers(0, 200))
def test_percent_encoding_is_no_second_spelling(segments: list[str], place: int) -> None:
    text = "/".join(segments)
    at = place % len(text)
    for form in (f"%{ord(text[at]):02x}", f"%{ord(text[at]):02X}", f"%25{ord(text[at]):02x}"):
        with refused("malformed-request"):
            parse_subsystem_id(text[:at] + form + text[at + 1 :])


# Within the alphabet of identifiers: what a reader takes for the same, each group in all its forms.
ALIKE = [("0", "o", "O"), ("1", "l", "L", "i", "I"), ("_", "-"), ("m", "M", "rn", "RN"), *zip("abcxyz", "ABCXYZ", strict=True)]
LOOKS = st.lists(st.sampled_from(ALIKE), min_size=1, max_size=12)


@pytest.mark.invariant("I-45")
@given(LOOKS, st.data())
def test_identifiers_that_look_alike_have_one_appearance(groups: list[tuple[str, ...]], data: st.DataObject) -> None:
    first, second = ("".join(data.draw(st.sampled_from(group)) for group in groups) for _ in range(2))
    assert appearance(first) == appearance(second)
    assert appearance(f"CN-YA/GOV/{first}") == appearance(f"CN-YA/GOV/{second}")


@given(LOOKS, LOOKS)
def test_identifiers_that_differ_at_a_glance_have_two_appearances(
    one: list[tuple[str, ...]], other: list[tuple[str, ...]]
) -> None:
    first, second = ("".join(group[0] for group in groups) for groups in (one, other))
    assert (appearance(first) == appearance(second)) == (first == second)


@pytest.mark.parametrize("segment", ["", "a" * 65, "a b", "a.b", "税务", "a\n"])
def test_the_types_themselves_hold_no_other_segment(segment: str) -> None:
    member = MemberId("CN-YA", "GOV", "tax")
    for make in (
        lambda: MemberId(segment, "GOV", "tax"),
        lambda: MemberId("CN-YA", segment, "tax"),
        lambda: MemberId("CN-YA", "GOV", segment),
        lambda: SubsystemId(member, segment),
        lambda: ServiceId(SubsystemId(member, "taxation"), segment),
    ):
        with refused("malformed-request"):
            make()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 7])
def test_each_kind_has_its_own_number_of_segments(count: int) -> None:
    text = "/".join(["a"] * count)
    for parse, wanted in PARSERS:
        if count == wanted:
            parse(text)
        else:
            with refused("malformed-request"):
                parse(text)


def id_number(first_seventeen: str) -> str:
    return first_seventeen + person_check_digit(first_seventeen)


BIRTHDAYS = st.dates(date(1850, 1, 1), date(2099, 12, 31))
PERSONS = st.builds(
    lambda region, county, born, order: id_number(f"{region}{county:04}{born:%Y%m%d}{order:03}"),
    st.sampled_from(["11", "34", "44", "65", "71", "82", "91"]),
    st.integers(0, 9999),
    BIRTHDAYS,
    st.integers(0, 999),
)


@given(PERSONS)
def test_every_well_made_id_number_is_accepted(number: str) -> None:
    assert parse_person_id(number) == number
    assert parse_person_id(number.replace("X", "x")) == number
    assert parse_subject("person", number) == number


@pytest.mark.invariant("I-45")
@given(PERSONS, st.integers(0, 17), st.sampled_from(string.digits + "Xx"))
def test_a_wrong_digit_is_found_by_the_check_digit(number: str, place: int, digit: str) -> None:
    altered = number[:place] + digit + number[place + 1 :]
    if altered.upper() == number:
        return
    with refused("malformed-request"):
        parse_person_id(altered)


@pytest.mark.invariant("I-45")
@given(PERSONS, st.integers(0, 17))
def test_look_alikes_in_an_id_number_are_refused_not_folded(number: str, place: int) -> None:
    full_width = chr(ord(number[place]) + 0xFEE0)
    arabic = "٠١٢٣٤٥٦٧٨٩"[int(number[place])] if number[place].isdigit() else "Х"
    for other in (full_width, arabic, "\u200d" + number[place], "О" if number[place] == "0" else "I"):
        with refused("malformed-request"):
            parse_person_id(number[:place] + other + number[place + 1 :])


@pytest.mark.parametrize(
    "number",
    [
        "",
        "1101051949123100",
        "11010519491231002X ",
        " 11010519491231002X",
        "11010519491231002X\n",
        "11010519491231002X0",
        id_number("11010518491231002"),
        id_number("11010519490229002"),
        id_number("11010519491331002"),
        id_number("11010519490031002"),
        id_number("00010519491231002"),
        id_number("16010519491231002"),
        id_number("99010519491231002"),
    ],
)
def test_numbers_that_nobody_has_are_refused_without_being_repeated(number: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_person_id(number)
    assert caught.value.code == "malformed-request"
    assert number == "" or number not in f"{caught.value.detail}{caught.value.reason}"


@pytest.mark.parametrize("code", ["91110000600037341L", "91340000MA2TCPYA1A", "N2330106MEBQ2Q0X1A"])
def test_a_credit_code_is_judged_by_its_check_character(code: str) -> None:
    alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    weights = [pow(3, power, 31) for power in range(17)]
    check = alphabet[-sum(alphabet.index(character) * weight for character, weight in zip(code, weights, strict=False)) % 31]
    good = code[:17] + check
    assert parse_enterprise_id(good) == good
    assert parse_subject("enterprise", good) == good
    with refused("malformed-request"):
        parse_enterprise_id(code[:17] + alphabet[(alphabet.index(check) + 1) % 31])


@pytest.mark.parametrize(
    "code",
    [
        "",
        "91110000600037341l",
        "9111000060003734１L",
        "91110000600037341",
        "91110000600037341L ",
        "9111 0000600037341L",
        "9111-0000600037341L",
        "91I10000600037341L",
        "91A10000600037341L",
    ],
)
def test_no_other_spelling_of_a_credit_code_is_accepted(code: str) -> None:
    with refused("malformed-request"):
        parse_enterprise_id(code)


def test_a_subject_that_is_no_text_is_refused() -> None:
    for value in (None, 11010519491231002, ["11010519491231002X"], b"11010519491231002X"):
        with refused("malformed-request"):
            parse_subject("person", value)


@given(st.text(string.ascii_letters + string.digits + "._:~-", min_size=1, max_size=128))
def test_request_ids_of_the_plain_alphabet_are_kept(text: str) -> None:
    assert parse_request_id(text) == text


@pytest.mark.parametrize("text", ["", "a" * 129, "a b", "a/b", "a\n", "编号", "a%20", "a\x00", "\u200da"])
def test_other_request_ids_are_refused(text: str) -> None:
    with refused("malformed-request"):
        parse_request_id(text)
