"""Leaves and bodies: the written list holds, nothing can be guessed, and keys stay what they are."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from audit import entries
from audit.client import EpochKeys, GroundKind, blinded, commit_body, plain_body
from exchange.canonical import b64url, canonical, parse_json

EVENTS = Path(entries.__file__).with_name("events.md")
BLIND = bytes(range(32))


def moment(year: int, month: int) -> int:
    """The first instant of a month, unix ms."""
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp() * 1000)


NOON, NEW_YEAR = moment(2026, 7), moment(2027, 1)
COMMON: dict[str, Any] = {"at_ms": 1_800_000_000_000, "body_commit": "c"}
ASKED: dict[str, Any] = {
    **COMMON,
    "gateway": "gateway-1",
    "consumer": "a/b/c/d",
    "consumer_key": "k1",
    "provider": "a/b/e/f",
    "provider_key": "k2",
    "service": "a/b/e/f/g",
    "schema": 1,
    "right": "sha256:r",
    "purpose": "p",
    "legal_basis": "consent",
    "snapshot": 7,
    "rid": BLIND,
    "consent": "blinded-consent",
    "req": "blinded-req",
}
GROUND: dict[str, Any] = {**COMMON, "ground": "g", "cause": "c"}
LEAVES = {
    "release": entries.make_release_leaf(
        **ASKED, full=["b", "a"], masked=["m"], facts=[], withheld={"x": "right-missing"}, sd_hash="h", not_after_ms=1
    ),
    "deny": entries.make_deny_leaf(**ASKED, code="right-missing", withheld={"x": "right-missing"}, count=1),
    "outcome": entries.make_outcome_leaf(**COMMON, gateway="gateway-1", sent=[(1, 5), (7, 7)], aborted=[6]),
    "late": entries.make_late_leaf(
        **COMMON, gateway="gateway-1", consumer="a/b/c/d", provider="a/b/e/f", service="a/b/e/f/g", rid=BLIND, req="r"
    ),
    "withdraw": entries.make_fence_leaf(**GROUND, ground_kind=GroundKind.CONSENT),
    "fence": entries.make_fence_leaf(**GROUND, ground_kind=GroundKind.KEY),
    "lift": entries.make_lift_leaf(**GROUND, ground_kind=GroundKind.PURPOSE, floor=9),
    "grant": entries.make_grant_leaf(**COMMON, what="right", grant="g", consumer="c", service="s", purpose="p", digest="d"),
    "config": entries.make_config_leaf(**COMMON, what="snapshot-floor", version=9, digest=None),
    "key": entries.make_key_leaf(
        **COMMON, owner="o", state="active", jwk={"kty": "OKP"}, certificate=None, valid_from=1, valid_until=2
    ),
    "read": entries.make_read_leaf(**COMMON, reader_role="auditor", purpose="p", scope="s", results=3),
}


def listed() -> dict[str, set[str]]:
    """The fields of each kind as `events.md` lists them."""
    table = EVENTS.read_text(encoding="utf-8").split("## Kinds")[1].split("## Bodies")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    fields = {row[1].strip(" `"): row[3] for row in rows}
    return {kind: set(re.findall(r"`([a-z_]+)`", re.sub(r"\([^)]*\)", "", text))) for kind, text in fields.items()}


def test_the_written_list_names_every_kind_that_has_a_builder() -> None:
    assert set(listed()) == set(LEAVES)


@pytest.mark.parametrize("kind", LEAVES)
def test_a_leaf_has_the_fields_of_the_written_list_and_is_canonical(kind: str) -> None:
    leaf = parse_json(LEAVES[kind])
    assert leaf["kind"] == kind
    assert leaf["v"] == 1
    assert leaf["at"] == COMMON["at_ms"]
    assert set(leaf) == listed()[kind] | {"v", "kind", "at", "body_commit"}
    assert canonical(leaf) == LEAVES[kind]


def test_what_a_right_hides_says_until_when_and_nothing_else_speaks_of_it() -> None:
    sealed: dict[str, Any] = {"code": "quota-exceeded", "gateway": "gateway-1"}
    plain, hidden = entries.make_deny_leaf(**COMMON, **sealed), entries.make_deny_leaf(**COMMON, **sealed, hidden_until_ms=9)
    assert parse_json(hidden) == parse_json(plain) | {"hidden_until": 9}
    route: dict[str, Any] = {
        "gateway": "g",
        "consumer": "a/b/c/d",
        "provider": "a/b/e/f",
        "service": "a/b/e/f/g",
        "rid": BLIND,
        "req": "r",
    }
    late = entries.make_late_leaf(**COMMON, **route, hidden_until_ms=9)
    assert parse_json(late)["hidden_until"] == 9
    assert not any(b"hidden_until" in leaf for leaf in (plain, *LEAVES.values()))


def test_the_names_in_a_release_are_sorted_whatever_order_they_came_in() -> None:
    leaf = parse_json(LEAVES["release"])
    assert (leaf["full"], leaf["masked"], leaf["facts"]) == (["a", "b"], ["m"], [])
    assert leaf["decision"] == "permit"
    assert parse_json(LEAVES["deny"])["decision"] == "deny"


def test_commitments_are_what_the_list_says() -> None:
    assert blinded(b"consent-1", BLIND) == b64url(hashlib.sha256(b"\x03" + BLIND + b"consent-1").digest())
    body = plain_body({"subject": "张三", "case": 1})
    assert body == b"\x00" + '{"case":1,"subject":"张三"}'.encode()
    assert commit_body(body, BLIND) == b64url(hashlib.sha256(b"\x02" + BLIND + body).digest())


@pytest.mark.parametrize("blind", [b"", b"x" * 31, b"x" * 33])
def test_a_blind_that_is_not_32_bytes_is_refused(blind: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        blinded(b"v", blind)
    with pytest.raises(ValueError, match="32 bytes"):
        commit_body(plain_body({}), blind)


def test_only_a_plain_body_is_committed_to() -> None:
    with pytest.raises(ValueError, match="plain"):
        commit_body(b"\x01sealed", BLIND)


@pytest.mark.invariant("I-19")
def test_a_leaf_cannot_be_matched_with_any_of_the_values_it_might_stand_for() -> None:
    """With every candidate at hand, the guesser lacks the blind."""
    candidates = [str(number).encode() for number in range(100_000, 110_000)]
    leaf_value = blinded(candidates[4711], entries.new_blind())
    assert leaf_value not in {blinded(candidate, bytes(32)) for candidate in candidates}
    assert leaf_value not in {b64url(hashlib.sha256(b"\x03" + candidate).digest()) for candidate in candidates}


def test_tokens_are_keyed_told_apart_by_kind_and_found_again_in_a_later_epoch() -> None:
    keys = EpochKeys.generate(2026).with_years(2026, 2028)
    before = keys.tokens(NOON, subject="x", officer="x", case="x")
    assert len({before.subject, before.officer, before.case}) == 3
    assert (before.epoch, before.subject) == (2026, hmac.digest(keys.epochs[2026], b"subject\x00x", "sha256"))
    assert keys.tokens(NEW_YEAR, subject="x").subject != before.subject
    assert [tokens.epoch for tokens in keys.search_for(NEW_YEAR, subject="x")] == [2027, 2026]
    assert keys.search_for(NEW_YEAR, subject="x")[1].subject == before.subject
    assert EpochKeys.generate().tokens(NOON, subject="x").subject != before.subject


def test_an_epoch_begins_with_its_year_in_every_process_at_once() -> None:
    keys = EpochKeys.generate(1).with_years(2026, 2028)
    moments = [(NEW_YEAR - 1, 2026), (NEW_YEAR, 2027), (moment(2028, 7), 2028), (moment(2040, 1), 2028), (moment(2025, 6), 1)]
    assert [keys.tokens(at_ms).epoch for at_ms, _ in moments] == [epoch for _, epoch in moments]
    assert [tokens.epoch for tokens in keys.search_for(NEW_YEAR - 1)] == [2026, 1], "no key of a year to come is looked for"
    assert keys.without_before(2027).tokens(NOON).epoch == 2027, "a clock that goes wrong finds a key all the same"


def test_years_get_their_keys_once() -> None:
    keys = EpochKeys.generate(2026)
    ahead = keys.with_years(2026, 2036)
    assert sorted(ahead.epochs) == list(range(2026, 2037))
    assert (ahead.epochs[2026], ahead.request_key) == (keys.epochs[2026], keys.request_key)
    assert ahead.with_years(2026, 2036) is ahead
    later = ahead.without_before(2030).with_years(2031, 2041)
    assert sorted(later.epochs) == list(range(2030, 2042)), "a key that was destroyed is not made again"


def test_a_request_id_keeps_its_digest_when_an_epoch_begins() -> None:
    keys = EpochKeys.generate()
    rid = keys.rid("a/b/c/d", "id-1")
    assert keys.with_years(2026, 2027).rid("a/b/c/d", "id-1") == rid
    assert keys.rid("a/b/c/d", "id-2") != rid
    assert keys.rid("a/b/c/e", "id-1") != rid


def test_a_quota_token_is_keyed_another_for_each_right_and_the_same_in_the_next_epoch() -> None:
    keys = EpochKeys.generate()
    token = keys.quota_token("sha256:right", "11010519491231002X")
    assert token == hmac.digest(keys.request_key, b"quota\x00sha256:right\x0011010519491231002X", "sha256")[:16]
    assert keys.with_years(2026, 2027).quota_token("sha256:right", "11010519491231002X") == token
    others = [("sha256:other", "11010519491231002X"), ("sha256:right", "440524188001010014")]
    assert token not in {keys.quota_token(*other) for other in others}
    assert EpochKeys.generate().quota_token("sha256:right", "11010519491231002X") != token


def test_keys_are_read_as_they_were_written_by_their_owner_only(tmp_path: Path) -> None:
    keys = EpochKeys.generate().with_years(2026, 2027)
    path = tmp_path / "epoch-keys.json"
    keys.save(path)
    assert EpochKeys.load(path) == keys
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b64url(keys.request_key) not in repr(keys)


@pytest.mark.parametrize("epochs", [{}, {"1": b64url(b"short")}])
def test_a_file_without_whole_keys_is_refused(tmp_path: Path, epochs: dict[str, str]) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"request_key": b64url(BLIND), "epochs": epochs}), encoding="utf-8")
    with pytest.raises(ValueError, match="32 bytes"):
        EpochKeys.load(path)
