"""Masked forms: what a rule hides makes no difference to what it shows."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from departments.mask import HIDDEN, IdProfile, apply_mask
from departments.model import MaskRule
from exchange.canonical import canonical

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
CODE = st.text("0123456789ABCDEFGHJKLMNPQRTUWXY", max_size=24)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
# Letters that NFC leaves alone, so that a count of characters before masking is the count after.
PLAIN = st.text("段王李一二三𠮷𠀀😀·ab", min_size=1, max_size=12)
TEXT_RULES = sorted(set(MaskRule) - {MaskRule.NAMES, MaskRule.COUNT, MaskRule.TOTALS, MaskRule.HIDE})

EXAMPLES = [
    (MaskRule.NAME, "段某", "段*"),
    (MaskRule.NAME, "段某某", "段**"),
    (MaskRule.NAME, "阿依古丽·买买提", "阿*******"),
    (MaskRule.NAME, "段", HIDDEN),
    (MaskRule.NAME, "", HIDDEN),
    (
        MaskRule.NAMES,
        ["段某", {"name": "王某某", "relation": "妻"}, {"relation": "子"}, "李", 7],
        ["段*", "王**", None, HIDDEN, HIDDEN],
    ),
    (MaskRule.ID, "51152119900512001X", "5***************1X"),
    (MaskRule.ID, "5115219005120", HIDDEN),
    (MaskRule.PHONE, "18012341999", "180****1999"),
    (MaskRule.PHONE, "1801234199", HIDDEN),
    (MaskRule.ADDRESS, "安徽省六安市裕安区某某街道解放路12号", "安徽省六安市裕安区某某街道******"),
    (MaskRule.ADDRESS, "安徽省六安市裕安区固镇镇街道村3组", "安徽省六安市裕安区固镇镇******"),
    (MaskRule.ADDRESS, "安徽省六安市裕安区西市街道龙河路8号", "安徽省六安市裕安区西市街道******"),
    (MaskRule.ADDRESS, "山东省济南市市中区大观园街道1号", "山东省济南市市中区大观园街道******"),
    (MaskRule.ADDRESS, "江苏省镇江市京口区正东路街道18号", "江苏省镇江市京口区正东路街道******"),
    (MaskRule.ADDRESS, "上海市浦东新区世纪大道100号", "上海市浦东新区******"),
    (MaskRule.ADDRESS, "六安市裕安区城市花园小区3幢", "六安市裕安区******"),
    (MaskRule.ADDRESS, "内蒙古自治区锡林郭勒盟阿巴嘎旗别力古台镇6号", "内蒙古自治区锡林郭勒盟阿巴嘎旗别力古台镇******"),
    (MaskRule.ADDRESS, "春风花园小区3幢2单元501室", HIDDEN),
    (MaskRule.BANK, "6227001234567895123", "6227 **** **** *** 5123"),
    (MaskRule.BANK, "6227 0012 3456 789 5123", "6227 **** **** *** 5123"),
    (MaskRule.BANK, "62270012345", HIDDEN),
    (MaskRule.TAIL4, "BDC34150320172231", "******2231"),
    (MaskRule.TAIL4, "1232231", HIDDEN),
    (MaskRule.YEAR, "1990-01-01", "1990-**-**"),
    (MaskRule.YEAR, "1990/01/01", HIDDEN),
    (MaskRule.YEAR, "１９９０-01-01", HIDDEN),
    (MaskRule.EMAIL, "duan@gmail.com", "d****@gmail.com"),
    (MaskRule.EMAIL, "d@gmail.com", HIDDEN),
    (MaskRule.EMAIL, "a@b@c.example", HIDDEN),
    (MaskRule.COUNT, [], 0),
    (MaskRule.COUNT, ["2024-01", "2024-02"], 2),
    (MaskRule.TOTALS, [{"month": "2024-01", "tax_fen": 3}, {"month": "2024-02", "tax_fen": 4}], {"count": 2, "tax_fen": 7}),
    (MaskRule.TOTALS, [], {"count": 0}),
    (MaskRule.HIDE, "汉族", HIDDEN),
]


@pytest.mark.parametrize(("rule", "value", "masked"), EXAMPLES)
def test_each_rule_keeps_what_its_example_says(rule: MaskRule, value: Any, masked: Any) -> None:
    assert apply_mask(rule, value) == masked


def test_the_usual_profile_keeps_three_and_four_characters_of_an_id_number() -> None:
    assert apply_mask("id", "51152119900512001X", id_profile=IdProfile.USUAL) == "511***********001X"


def test_an_unknown_rule_or_profile_masks_nothing_and_fails() -> None:
    with pytest.raises(ValueError, match="telephone"):
        apply_mask("telephone", "18012341999")
    with pytest.raises(ValueError, match="lenient"):
        apply_mask("id", "51152119900512001X", id_profile="lenient")


@given(
    first=st.sampled_from("段𠮷A"),
    tails=st.integers(1, 8).flatmap(lambda n: st.tuples(*[st.text("某一·𠀀b", min_size=n, max_size=n)] * 2)),
)
def test_two_names_with_one_first_character_and_length_look_the_same(first: str, tails: tuple[str, str]) -> None:
    assert apply_mask("name", first + tails[0]) == apply_mask("name", first + tails[1])


@given(
    head=st.text("0123456789", min_size=4, max_size=4),
    tail=st.text("0123456789X", min_size=4, max_size=4),
    hidden=st.tuples(*[st.text("0123456789", min_size=10, max_size=10)] * 2),
)
@pytest.mark.parametrize(
    ("rule", "profile", "shown"),
    [("id", "strict", (1, 15, 2)), ("id", "usual", (3, 11, 4)), ("phone", "strict", (3, 4, 4)), ("bank", "strict", (4, 11, 4))],
)
def test_two_numbers_that_agree_where_the_rule_shows_them_look_the_same(
    rule: str, profile: str, shown: tuple[int, int, int], *, head: str, tail: str, hidden: tuple[str, str]
) -> None:
    def number(middle: str) -> str:
        last = tail.replace("X", "0") if rule == "phone" else tail
        return head[: shown[0]] + (middle * 2)[: shown[1]] + last[-shown[2] :]

    masked = [apply_mask(rule, number(middle), id_profile=profile) for middle in hidden]
    assert masked[0] == masked[1] != HIDDEN


@given(
    tail=st.text("0123456789", min_size=4, max_size=4), hidden=st.tuples(*[st.text("0123456789", min_size=4, max_size=16)] * 2)
)
def test_two_certificates_with_one_tail_look_the_same_whatever_their_length(tail: str, hidden: tuple[str, str]) -> None:
    assert apply_mask("tail4", hidden[0] + tail) == apply_mask("tail4", hidden[1] + tail) == f"******{tail}"


@given(year=st.integers(1900, 2100), days=st.tuples(*[st.tuples(st.integers(1, 12), st.integers(1, 28))] * 2))
def test_two_days_of_one_year_look_the_same(year: int, days: tuple[tuple[int, int], tuple[int, int]]) -> None:
    first, second = (apply_mask("year", f"{year}-{month:02d}-{day:02d}") for month, day in days)
    assert first == second == f"{year}-**-**"


@given(rests=st.tuples(TEXT, TEXT))
def test_two_addresses_in_one_street_look_the_same(rests: tuple[str, str]) -> None:
    first, second = (apply_mask("address", f"安徽省六安市裕安区鼓楼街道1{rest}") for rest in rests)
    assert first == second == "安徽省六安市裕安区鼓楼街道******"


@given(st.text("安徽省市区县镇乡街道路村小花园号12３ A一幢", max_size=40))
@example("A市号区")
@example("A市村区")
def test_an_address_shows_places_only_never_a_number(value: str) -> None:
    masked = apply_mask("address", value)
    if masked != HIDDEN:
        kept = masked.removesuffix("******")
        assert unicodedata.normalize("NFC", value).strip().startswith(kept)
        assert kept.endswith(("省", "市", "区", "县", "街道", "镇", "乡"))
        assert not kept.endswith("小区")
        assert not re.search(r"\d|号|幢|村", kept[1:])


@given(first=st.lists(JSON, max_size=6), second=st.lists(JSON, max_size=6))
def test_two_lists_of_one_length_count_the_same(first: list[Any], second: list[Any]) -> None:
    length = min(len(first), len(second))
    assert apply_mask("count", first[:length]) == apply_mask("count", second[:length]) == length


@given(amounts=st.lists(st.integers(0, 10**9), max_size=12), random=st.randoms(use_true_random=False))
def test_totals_do_not_tell_which_month_had_which_amount(amounts: list[int], random: Any) -> None:
    shuffled = random.sample(amounts, len(amounts))
    first, second = ([{"month": f"2024-{i + 1:02d}", "tax_fen": a} for i, a in enumerate(order)] for order in (amounts, shuffled))
    assert apply_mask("totals", first) == apply_mask("totals", second)


@given(JSON, JSON)
def test_a_hidden_item_does_not_even_tell_whether_it_has_a_value(first: Any, second: Any) -> None:
    assert apply_mask("hide", first) == apply_mask("hide", second) == apply_mask("hide", None) == HIDDEN


@given(rule=st.sampled_from(TEXT_RULES), value=TEXT | CODE)
def test_composed_and_decomposed_text_have_one_masked_form(rule: MaskRule, value: str) -> None:
    composed, decomposed = unicodedata.normalize("NFC", value), unicodedata.normalize("NFD", value)
    assert apply_mask(rule, composed) == apply_mask(rule, decomposed)


@given(PLAIN)
def test_characters_are_code_points_also_beyond_the_basic_plane(name: str) -> None:
    assert apply_mask("name", name) == (name[0] + "*" * (len(name) - 1) if len(name) > 1 else HIDDEN)


@given(rule=st.sampled_from(list(MaskRule)), value=JSON)
def test_any_value_gets_a_form_that_a_record_can_carry_or_is_hidden_whole(rule: MaskRule, value: Any) -> None:
    masked = apply_mask(rule, value)
    canonical(masked)
    if value is None:
        assert masked == (HIDDEN if rule is MaskRule.HIDE else None)
    elif not isinstance(value, str if rule in TEXT_RULES else list):
        assert masked == HIDDEN


@given(rule=st.sampled_from(TEXT_RULES), value=TEXT | CODE)
def test_no_rule_ever_gives_the_value_itself(rule: MaskRule, value: str) -> None:
    assert apply_mask(rule, value) != value or "*" in value


def test_the_hidden_form_cannot_be_changed_by_whoever_gets_it() -> None:
    apply_mask("hide", 1)["hidden"] = False
    assert apply_mask("hide", 1) == {"hidden": True}
