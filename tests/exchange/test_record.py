"""Records: what a provider can sign, what everybody else must refuse although it is signed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.canonical import MAX_INTEGER, b64url, canonical
from exchange.jws import sign_compact
from exchange.keys import SigningKey
from exchange.record import (
    MAX_DISCLOSURES,
    MAX_RECORD_BYTES,
    RECORD_TYPE,
    Answer,
    Disclosure,
    issue_record,
    issue_refusal,
    present,
    presentation_hash,
    verify_record,
    verify_refusal,
)
from tests.exchange.forgery import digest, disclosure, joined, read, resigned, split, with_disclosure, with_value
from tests.exchange.samples import (
    CONSUMER_KEY,
    GATEWAY_KEY,
    NOW,
    OTHER_SUBJECT,
    PROVIDER,
    PROVIDER_KEY,
    STRANGER_KEY,
    SUBJECT,
    answer,
    claims,
    everything,
    key_of,
    opened,
    record,
    refused,
    verified,
)

TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), max_size=12)
NAMES = st.text("abcdefghij_", min_size=1, max_size=8).filter(lambda name: name != "_sd")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXTS.filter(lambda n: n not in {"_sd", "..."}), inner, max_size=3)
    ),
    max_leaves=6,
)
FACTS = st.fixed_dictionaries(
    {"args": st.dictionaries(NAMES, st.integers(-1000, 1000), max_size=2), "holds": st.booleans() | st.none()}
)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    names = draw(st.lists(NAMES, unique=True, max_size=8))
    half = draw(st.integers(0, len(names)))
    return Answer(
        draw(TEXTS),
        {name: draw(VALUES) for name in names[:half]},
        {name: draw(VALUES) for name in names[half:]},
        draw(st.dictionaries(NAMES, FACTS, max_size=3)),
    )


def verify(presentation: str) -> None:
    verify_record(presentation, key_of)


def is_refused(presentation: str) -> None:
    with refused("record-invalid"):
        verify(presentation)


@pytest.mark.invariant("I-31")
@given(answers(), st.booleans())
def test_what_a_provider_answers_is_what_is_read(given_answer: Answer, ed25519: bool) -> None:
    key = SigningKey.generate("Ed25519") if ed25519 else PROVIDER_KEY
    read_back = verify_record(issue_record(key, claims(), given_answer), {key.kid: key.public}.get)
    assert read_back.claims == claims()
    assert read_back.subject() == given_answer.subject
    assert read_back.key.kid == key.kid
    for form in ("items", "masked", "facts"):
        assert read_back.values(form) == dict(given_answer.form(form))
        assert set(read_back.answered[form]) == set(given_answer.form(form))


@pytest.mark.invariant("I-31")
@given(answers(), st.sets(st.integers(0, 30)))
def test_any_disclosures_may_be_dropped_and_the_signature_still_holds(given_answer: Answer, dropped: set[int]) -> None:
    whole = verified(issue_record(PROVIDER_KEY, claims(), given_answer))
    kept = [item for at, item in enumerate(whole.disclosures) if at not in dropped]
    part = verified(present(whole, lambda item: item in kept))
    assert list(part.disclosures) == kept
    assert part.jwt == whole.jwt
    assert part.answered == whole.answered


def test_a_record_shows_only_what_always_shows() -> None:
    payload = opened(record())
    assert payload["iss"] == PROVIDER
    assert payload["answered"] == {
        "items": ["birth_date", "household"],
        "masked": ["name"],
        "facts": ["is_adult", "paid_months_at_least"],
    }
    for value in (SUBJECT, "1949", "段", "holds"):
        assert value not in canonical(payload).decode("utf-8")
    for holder in (payload, payload["items"], payload["masked"], payload["facts"]):
        assert holder["_sd"] == sorted(holder["_sd"])


def test_salts_are_long_and_never_the_same_twice() -> None:
    salts = [read(text)[0] for _ in range(20) for text in split(record())[1]]
    assert len(set(salts)) == len(salts) == 20 * 6
    assert {len(salt) for salt in salts} == {22}


@pytest.mark.invariant("I-35")
def test_two_extreme_records_under_one_permit_have_the_same_shape() -> None:
    poor = Answer(SUBJECT, {"co_owners": None, "area": None}, {"name": None}, {"is_sole_owner": {"args": {}, "holds": None}})
    rich = Answer(
        SUBJECT,
        {"co_owners": [{"name": "欧阳**", "share": f"1/{n}"} for n in range(1, 400)], "area": MAX_INTEGER},
        {"name": "阿卜杜拉·" + "*" * 200},
        {"is_sole_owner": {"args": {}, "holds": False}},
    )
    shapes = []
    for given_answer in (poor, rich):
        jwt, disclosures = split(issue_record(PROVIDER_KEY, claims(), given_answer))
        payload = opened(jwt)
        shapes.append((len(disclosures), len(jwt), {form: len(payload[form]["_sd"]) for form in ("items", "masked", "facts")}))
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"items": {"a": 1.5}},
        {"items": {"a": float("nan")}},
        {"items": {"a": MAX_INTEGER + 1}},
        {"items": {"a": {"_sd": []}}},
        {"items": {"a": [{"...": "x"}]}},
        {"items": {"_sd": 1}},
        {"facts": {"...": 1}},
        {"items": {"a": "x\x00"}},
        {"items": {"a": {"\x00": 1}}},
        {"items": {"a": "\ud800"}},
        {"items": {"name": "段玉"}, "masked": {"name": "段*"}},
        {"items": {f"a{n}": 1 for n in range(MAX_DISCLOSURES)}},
        {"items": {"a": [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}},
    ],
    ids=range(13),
)
def test_what_no_verifier_would_take_is_not_signed(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        issue_record(PROVIDER_KEY, claims(), answer(**changes))


def test_the_deepest_value_that_is_signed_is_also_read() -> None:
    value: Any = 1
    for _ in range(15):
        value = [value]
    assert verified(issue_record(PROVIDER_KEY, claims(), answer(items={"a": value}))).values("items") == {"a": value}
    with pytest.raises(ValueError, match="deep"):
        issue_record(PROVIDER_KEY, claims(), answer(items={"a": [value]}))


def test_a_no_record_answer_holds_no_values() -> None:
    nothing = answer(items={"birth_date": None}, masked={"name": None}, facts={"is_adult": {"args": {}, "holds": None}})
    assert verified(issue_record(PROVIDER_KEY, claims(found=False), nothing)).claims.found is False
    for form in ("items", "masked"):
        with pytest.raises(ValueError, match="found"):
            issue_record(PROVIDER_KEY, claims(found=False), answer(**{"items": {}, "masked": {}} | {form: {"a": "x"}}))
    is_refused(resigned(record(), lambda payload: payload.update(found=False)))


@pytest.mark.invariant("I-31")
def test_an_altered_disclosure_is_refused() -> None:
    jwt, disclosures = split(record())
    for at, text in enumerate(disclosures):
        salt, name, _ = read(text)
        for altered in (disclosure(salt, name, "9"), disclosure(salt, "other", read(text)[2]), text + "A", text[:-1], ""):
            is_refused(joined(jwt, [*disclosures[:at], altered, *disclosures[at + 1 :]]))


@pytest.mark.invariant("I-31")
@given(st.data())
def test_any_altered_character_of_a_record_is_refused(data: st.DataObject) -> None:
    presentation = record()
    place = data.draw(st.integers(0, len(presentation) - 1))
    character = data.draw(st.characters(min_codepoint=1, max_codepoint=0x2FF).filter(lambda c: c != presentation[place]))
    is_refused(presentation[:place] + character + presentation[place + 1 :])


@pytest.mark.invariant("I-31")
def test_an_added_disclosure_is_refused() -> None:
    presentation = record()
    for text in (disclosure("salt", "ethnicity", "汉"), disclosure("salt", "name", "段玉"), split(record())[1][1]):
        is_refused(presentation + text + "~")


@pytest.mark.invariant("I-31")
def test_a_disclosure_twice_is_refused() -> None:
    jwt, disclosures = split(record())
    for text in disclosures:
        is_refused(joined(jwt, [*disclosures, text]))


@pytest.mark.invariant("I-31")
def test_disclosures_swapped_between_two_records_are_refused() -> None:
    (jwt, disclosures), (_, others) = split(record()), split(record())
    for at in range(len(disclosures)):
        is_refused(joined(jwt, [*disclosures[:at], others[at], *disclosures[at + 1 :]]))
    is_refused(joined(jwt, others))


@pytest.mark.parametrize(
    "text",
    [
        "~",
        "",
        "~~",
        "a~b~",
        "a.b.c~",
        "a.b.c",
        "ü~",
    ],
)
def test_what_is_no_presentation_is_refused(text: str) -> None:
    is_refused(text)


def test_a_missing_or_doubled_tilde_is_refused() -> None:
    presentation = record()
    is_refused(presentation[:-1])
    is_refused(presentation + "~")
    is_refused(presentation.replace("~", "~~", 1))
    is_refused("~" + presentation)
    is_refused(split(presentation)[0])


def test_a_record_with_everything_dropped_is_still_the_providers_word() -> None:
    bare = present(verified(record()), lambda _: False)
    assert verified(bare).disclosures == ()
    assert verified(bare).subject() is None
    assert bare.count("~") == 1


@pytest.mark.parametrize("key", [STRANGER_KEY, CONSUMER_KEY, GATEWAY_KEY])
def test_a_record_by_a_key_that_is_not_the_providers_is_refused(key: SigningKey) -> None:
    with refused("record-invalid"):
        verify_record(record(key), {PROVIDER_KEY.kid: PROVIDER_KEY.public}.get)


@pytest.mark.parametrize("typ", ["exchange-event+sd-jwt", "kb+jwt", "JWT", "vc+sd-jwt", "exchange-refusal+jwt"])
def test_a_token_of_another_type_is_no_record(typ: str) -> None:
    jwt, disclosures = split(record())
    is_refused(joined(sign_compact(PROVIDER_KEY, typ, opened(jwt)), disclosures))


@pytest.mark.invariant("I-39")
def test_another_algorithm_than_the_keys_is_refused_for_records_too() -> None:
    jwt, disclosures = split(record())
    _, payload, signature = jwt.split(".")
    for alg in ("none", "HS256", "Ed25519"):
        head = b64url(canonical({"alg": alg, "kid": PROVIDER_KEY.kid, "typ": RECORD_TYPE}))
        for forged in (f"{head}.{payload}.{signature}", f"{head}.{payload}."):
            is_refused(joined(forged, disclosures))


def _delete(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda payload: payload.pop(name)


SHAPES: list[Callable[[dict[str, Any]], Any]] = [
    *(_delete(name) for name in opened(record())),
    *(
        lambda p, name=name: p.update({name: 7})
        for name in ("iss", "aud", "svc", "req", "jti", "cnf", "found", "answered", "_sd", "items")
    ),
    *(
        lambda p, name=name: p.update({name: "7"})
        for name in ("schema", "iat", "found", "cnf", "answered", "_sd", "masked", "facts")
    ),
    *(lambda p, name=name: p.update({name: None}) for name in ("iss", "schema", "found", "items")),
    lambda p: p.update(schema=True),
    lambda p: p.update(iat=True),
    lambda p: p.update(_sd_alg="sha-512"),
    lambda p: p.update(_sd_alg="SHA-256"),
    lambda p: p.update(cnf={"kid": "x"}),
    lambda p: p.update(cnf={"jwk": "x"}),
    lambda p: p.update(cnf={"jwk": {}, "_sd": []}),
    lambda p: p.update(cnf={"jwk": {"_sd": []}}),
    lambda p: p.update(extra={"_sd": [p["_sd"][0]]}),
    lambda p: p.update(extra=[{"...": p["_sd"][0]}]),
    lambda p: p.update(subject="11010519491231002X"),
    lambda p: p["items"].update(name="in the open"),
    lambda p: p["items"].update(_sd_alg="sha-256"),
    lambda p: p["facts"].update({"...": "x"}),
    lambda p: p["_sd"].append(p["_sd"][0]),
    lambda p: p["_sd"].append("x" * 43),
    lambda p: p["_sd"].clear(),
    lambda p: p["masked"]["_sd"].append(p["items"]["_sd"][0]),
    lambda p: p["items"]["_sd"].append(p["items"]["_sd"][0]),
    lambda p: p["items"]["_sd"].append("x" * 43),
    lambda p: p["items"]["_sd"].pop(),
    lambda p: p["items"]["_sd"].__setitem__(0, 7),
    lambda p: p["items"]["_sd"].__setitem__(0, ["x"]),
    lambda p: p["items"]["_sd"].__setitem__(0, p["facts"]["_sd"][0]),
    lambda p: p["answered"].pop("facts"),
    lambda p: p["answered"].update(more=[]),
    lambda p: p["answered"].update(items="name"),
    lambda p: p["answered"].update(items=[7, 8]),
    lambda p: p["answered"].update(items=["birth_date", "birth_date"]),
    lambda p: p["answered"].update(items=["birth_date", "name"]),
    lambda p: p["answered"].update(items=["birth_date", "other"]),
    lambda p: p["answered"].update(items=["birth_date"]),
    lambda p: p["answered"].update(items=["birth_date", "_sd"]),
    lambda p: p["answered"].update(items=["birth_date", "household", "address"]),
]


@pytest.mark.parametrize("change", SHAPES, ids=range(len(SHAPES)))
def test_claims_of_the_wrong_shape_are_refused_although_they_are_signed(change: Callable[[dict[str, Any]], Any]) -> None:
    is_refused(resigned(record(), change))


def test_members_nobody_knows_are_passed_over() -> None:
    verify(resigned(record(), lambda payload: payload.update(later={"n": [1, {"a": "_sd ..."}]})))


@pytest.mark.parametrize(
    "parts",
    [
        (),
        ("salt",),
        ("salt", "value"),
        ("salt", "ethnicity", "汉", "more"),
        (7, "ethnicity", "汉"),
        ("salt", 7, "汉"),
        ("salt", None, "汉"),
        ("salt", "_sd", ["x"]),
        ("salt", "...", "x"),
        ("salt", "ethnicity", {"_sd": ["x"]}),
        ("salt", "ethnicity", [{"a": {"...": "x"}}]),
        ("salt", "ethnicity", 1.5),
        ("salt", "ethnicity", "\x00"),
    ],
    ids=range(13),
)
def test_disclosures_of_wrong_arity_or_content_are_refused_although_their_digest_is_signed(parts: tuple[Any, ...]) -> None:
    name = parts[1] if len(parts) > 2 and isinstance(parts[1], str) else "ethnicity"
    is_refused(with_disclosure(record(), "items", disclosure(*parts), name=name))


@pytest.mark.parametrize(
    "raw",
    [b'["s","ethnicity",{"a":1,"a":2}]', b'["s","ethnicity",1]x', b"\xff", b'{"a":1}', b'["s","ethnicity",{"\\u005fsd":[]}]'],
)
def test_disclosures_that_two_parsers_read_differently_are_refused(raw: bytes) -> None:
    is_refused(with_disclosure(record(), "items", b64url(raw), name="ethnicity"))


def test_one_more_disclosure_with_its_name_answered_is_what_the_helper_makes() -> None:
    presentation = with_disclosure(record(), "items", disclosure("salt", "ethnicity", "汉"), name="ethnicity")
    assert verified(presentation).values("items")["ethnicity"] == "汉"


@pytest.mark.parametrize(("form", "name"), [("items", "birth_date"), ("masked", "name"), ("facts", "is_adult")])
def test_a_name_twice_in_one_form_is_refused(form: str, name: str) -> None:
    value = {"args": {}, "holds": True} if form == "facts" else "x"
    is_refused(with_disclosure(record(), form, disclosure("salt", name, value), name="another"))
    is_refused(with_disclosure(record(), form, disclosure("salt", name, value), name=name))


def test_a_name_in_full_and_masked_is_refused() -> None:
    is_refused(with_disclosure(record(), "items", disclosure("salt", "name", "段玉"), name="name"))
    is_refused(with_disclosure(record(), "masked", disclosure("salt", "birth_date", "1949-**-**"), name="birth_date"))


def test_a_name_that_is_not_among_those_answered_is_refused() -> None:
    is_refused(with_disclosure(record(), "items", disclosure("salt", "ethnicity", "汉"), name="address"))


def test_a_disclosure_hangs_where_its_digest_stands() -> None:
    is_refused(with_disclosure(record(), "facts", disclosure("salt", "ethnicity", "汉"), name="ethnicity"))
    is_refused(with_value(record(), "subject", {"id": SUBJECT}))
    is_refused(with_value(record(), "subject", None))
    assert verified(with_value(record(), "subject", OTHER_SUBJECT)).subject() == OTHER_SUBJECT


@pytest.mark.parametrize(
    "value",
    [
        True,
        None,
        {},
        {"holds": True},
        {"args": {}},
        {"args": [], "holds": True},
        {"args": {"n": "24"}, "holds": True},
        {"args": {"n": True}, "holds": True},
        {"args": {}, "holds": "yes"},
        {"args": {}, "holds": 1},
        {"args": {}, "holds": True, "value": 7},
    ],
    ids=str,
)
def test_a_fact_is_a_yes_or_no_about_arguments_and_nothing_more(value: object) -> None:
    is_refused(with_value(record(), "is_adult", value))


def test_more_than_512_disclosures_are_refused() -> None:
    names = [f"a{number}" for number in range(MAX_DISCLOSURES - 1)]
    full = issue_record(PROVIDER_KEY, claims(), Answer(SUBJECT, dict.fromkeys(names), {}, {}))
    assert len(verified(full).disclosures) == MAX_DISCLOSURES
    is_refused(with_disclosure(full, "items", disclosure("salt", "b", 1), name="b"))


def test_a_record_of_monstrous_size_is_refused_before_it_is_read() -> None:
    is_refused("a" * (MAX_RECORD_BYTES + 1))


def test_presentation_keeps_the_order_and_the_hash_covers_the_last_tilde() -> None:
    whole = verified(record())
    assert present(whole, everything) == joined(whole.jwt, [item.text for item in whole.disclosures])

    def only_items(item: Disclosure) -> bool:
        return item.form == "items"

    assert present(whole, only_items).startswith(whole.jwt + "~")
    assert presentation_hash("a~b~") == digest("a~b~") != digest("a~b")


def test_a_signed_refusal_is_read_back() -> None:
    token = issue_refusal(PROVIDER_KEY, request="abc", code="right-missing", issued_at=NOW)
    assert verify_refusal(token, key_of) == ("abc", "right-missing", NOW)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"req": 1, "code": "right-missing", "iat": NOW},
        {"req": "abc", "code": None, "iat": NOW},
        {"req": "abc", "code": "right-missing", "iat": True},
        {"req": "abc", "code": "right-missing", "iat": "now"},
    ],
    ids=str,
)
def test_a_refusal_of_the_wrong_shape_type_or_key_is_refused(payload: dict[str, Any]) -> None:
    with refused("record-invalid"):
        verify_refusal(sign_compact(PROVIDER_KEY, "exchange-refusal+jwt", payload), key_of)
    with refused("record-invalid"):
        verify_refusal(issue_refusal(STRANGER_KEY, request="abc", code="right-missing", issued_at=NOW), key_of)
    with refused("record-invalid"):
        verify_refusal(split(record())[0], key_of)
