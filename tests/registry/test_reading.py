"""The reader's side of the snapshot: what does not verify is not there, and what is missing is a no."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from exchange.canonical import canonical, sha256
from exchange.keys import SigningKey
from exchange.problem import Problem
from registry.model import Member, Status
from registry.reading import Snapshot, _Catalogue, _Proven
from registry.rights import parse_right, sign_right
from registry.snapshot import (
    FIXED_PARTS,
    GATEWAYS,
    MEMBERS,
    PURPOSES,
    Part,
    members_part,
    provider_part,
)
from tests.registry.paper import (
    BANK,
    CONSUMER,
    CONSUMER_MEMBER,
    NOW,
    PROVIDER,
    PROVIDER_MEMBER,
    PROVIDER_PART,
    PURPOSE,
    SERVICE,
    Paper,
    members,
    right_document,
    service,
    subsystems,
)


@pytest.fixture
def paper() -> Paper:
    """Give a small registry on paper."""
    return Paper()


def test_a_reader_finds_everything_the_registry_said(paper: Paper) -> None:
    snapshot = paper.read()
    assert (snapshot.instance, snapshot.version, snapshot.issued_at, snapshot.expires_at) == ("CN-YA", 1, NOW, NOW + 600)
    assert snapshot.consent_key.kid == paper.keys["identity"].kid
    assert (snapshot.log_origin, snapshot.log_vkey) == ("log.test/a", "log.test/a+00000000+AAAA")
    assert snapshot.is_active(CONSUMER)
    assert snapshot.is_active(PROVIDER)
    assert snapshot.service(SERVICE) == service
    found = snapshot.purpose(PURPOSE)
    assert found is not None
    assert found.name_en == "Transfer"
    assert snapshot.gateway("gateway-1") is not None
    key = snapshot.key(paper.keys[CONSUMER].kid)
    assert key is not None
    assert key.owner == CONSUMER
    assert key.is_active(NOW)
    [right] = snapshot.rights(CONSUMER, SERVICE)
    assert right.items == {"months": "masked"}
    assert right.facts == {"contributed_months_at_least": (12, 24), "is_insured": ()}


@pytest.mark.invariant("I-29")
def test_what_is_unknown_is_a_no(paper: Paper) -> None:
    snapshot = paper.read()
    assert not snapshot.is_active("CN-YA/GOV/tax/taxation")
    assert snapshot.service(PROVIDER + "/other") is None
    assert snapshot.purpose("other") is None
    assert snapshot.gateway("gateway-9") is None
    assert snapshot.key(SigningKey.generate().kid) is None
    assert snapshot.rights(BANK, SERVICE) == ()
    assert snapshot.rights(CONSUMER, PROVIDER + "/other") == ()


# --- the manifest


def altered(token: str) -> str:
    """The token with one character of its payload changed."""
    head, payload, signature = token.split(".")
    return ".".join([head, payload[:-1] + ("A" if payload[-1] != "A" else "B"), signature])


MANIFESTS: dict[str, Callable[[Paper], str]] = {
    "signed by another key": lambda paper: paper.token(key=SigningKey.generate()),
    "signed by a member": lambda paper: paper.token(key=paper.keys[PROVIDER]),
    "altered": lambda paper: altered(paper.token()),
    "no token": lambda _paper: "",
    "of another type": lambda paper: sign_right({"version": 1}, paper.anchor),
    "of another instance": lambda paper: paper.token(instance="CN-XX"),
    "expired": lambda paper: paper.token(issued_at=NOW - 600, expires_at=NOW),
    "from the future": lambda paper: paper.token(issued_at=NOW + 11, expires_at=NOW + 611),
    "longer than ten minutes": lambda paper: paper.token(expires_at=NOW + 601),
    "below its own floor": lambda paper: paper.token(5, floor=6),
    "of a negative version": lambda paper: paper.token(-1),
    "with a part of unknown name": lambda paper: paper.token(parts=(Part("extra", "0" * 64, 1),)),
    "with a part twice": lambda paper: paper.token(parts=(Part(MEMBERS, "0" * 64, 1),) * 2),
    "with a hash that is none": lambda paper: paper.token(parts=(Part(MEMBERS, "0" * 63 + "g", 1),)),
    "with a part of no size": lambda paper: paper.token(parts=(Part(MEMBERS, "0" * 64, 0),)),
}


@pytest.mark.parametrize("make", MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_is_refused(paper: Paper, make: Callable[[Paper], str]) -> None:
    with pytest.raises(Problem) as refused:
        paper.reader(instance="CN-YA").manifest(make(paper), now=NOW)
    assert refused.value.code == "registry-stale"


def test_a_manifest_holds_until_the_second_it_expires(paper: Paper) -> None:
    reader = paper.reader()
    assert reader.manifest(paper.token(), now=NOW + 599.9).version == 1
    with pytest.raises(Problem, match="expired"):
        reader.manifest(paper.token(), now=NOW + 600)


def test_a_lower_version_is_refused_after_a_higher_one(paper: Paper) -> None:
    reader = paper.reader()
    paper.read(reader, 7)
    with pytest.raises(Problem, match="older than 7"):
        reader.manifest(paper.token(6, at=NOW + 60), now=NOW + 60)
    assert paper.read(reader, 8).version == 8


def test_other_content_under_the_same_version_is_refused(paper: Paper) -> None:
    reader = paper.reader()
    paper.read(reader, 7)
    paper.lines.clear()
    paper.write()
    with pytest.raises(Problem, match="another of that number"):
        reader.manifest(paper.token(7), now=NOW)


def test_without_an_instance_the_first_manifest_decides(paper: Paper) -> None:
    reader = paper.reader()
    paper.read(reader)
    with pytest.raises(Problem, match="another instance"):
        reader.manifest(paper.token(2, instance="CN-XX"), now=NOW)


def test_a_manifest_that_is_signed_anew_gives_more_time_without_any_part(paper: Paper) -> None:
    reader = paper.reader()
    first = paper.read(reader)
    later = reader.manifest(paper.token(at=NOW + 60), now=NOW + 60)
    assert not reader.is_current(later)
    assert reader.unknown_parts(later) == []
    renewed = reader.read(later, {})
    assert renewed.expires_at == NOW + 660
    assert first.expires_at == NOW + 600
    assert renewed.rights(CONSUMER, SERVICE) == first.rights(CONSUMER, SERVICE)
    assert reader.is_current(later)
    assert reader.is_current(reader.manifest(paper.token(at=NOW + 30), now=NOW + 60))


# --- the parts


@pytest.mark.parametrize("name", [*FIXED_PARTS, PROVIDER_PART])
def test_a_part_with_one_byte_changed_is_refused(paper: Paper, name: str) -> None:
    body = bytearray(paper.parts[name])
    body[len(body) // 2] ^= 1
    with pytest.raises(Problem, match="not what the manifest names"):
        paper.read(bodies={**paper.parts, name: bytes(body)})


def denied(make: Callable[[], Snapshot]) -> bool:
    """Whether a request of the story would be refused on that snapshot, or there is no snapshot at all."""
    try:
        snapshot = make()
    except Problem as problem:
        return problem.code == "registry-stale"
    entry = snapshot.service(SERVICE)
    kids = [paper_key for paper_key in (snapshot.rights(CONSUMER, SERVICE),) if paper_key]
    answerable = entry is not None and entry.status is Status.ACTIVE and bool(kids)
    return not (
        answerable
        and snapshot.is_active(CONSUMER)
        and snapshot.is_active(PROVIDER)
        and snapshot.purpose(PURPOSE) is not None
        and snapshot.gateway("gateway-1") is not None
    )


@pytest.mark.invariant("I-29")
@pytest.mark.parametrize("name", [*FIXED_PARTS, PROVIDER_PART])
def test_a_snapshot_without_one_of_its_parts_denies(paper: Paper, name: str) -> None:
    assert not denied(paper.read)
    del paper.parts[name]
    assert denied(paper.read)


def paths(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where everything in a JSON value stands."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, member in inside for path in [(*before, key), *paths(member, (*before, key))]]


def without(value: Any, path: tuple[Any, ...]) -> Any:
    """A copy of the value without what stands at a path."""
    copy = json.loads(json.dumps(value))
    holder = copy
    for step in path[:-1]:
        holder = holder[step]
    del holder[path[-1]]
    return copy


# What may be missing without harm: another member's, purpose's or fact's entry is not what the story stands on, and a title
# or a description of an item says nothing about who may have it. A key that is gone denies where that key is looked up.
@pytest.mark.invariant("I-29")
@pytest.mark.parametrize("name", [MEMBERS, GATEWAYS, PURPOSES, "authorities"])
def test_each_attribute_of_a_part_is_needed(paper: Paper, name: str) -> None:
    value = json.loads(paper.parts[name])
    for path in paths(value):
        paper.parts[name] = canonical(without(value, path))
        harmless = len(path) == 2 and isinstance(path[1], int) and not is_of_the_story(value[path[0]][path[1]], paper)
        assert denied(paper.read) != harmless, path


def is_of_the_story(entry: dict[str, Any], paper: Paper) -> bool:
    """Whether a row is that of somebody or something whom the request of the story needs."""
    parties = {CONSUMER, CONSUMER_MEMBER, PROVIDER, PROVIDER_MEMBER, PURPOSE, "gateway-1"}
    kids = {paper.keys[CONSUMER].kid, paper.keys[PROVIDER].kid}
    return entry.get("id") in parties or entry.get("kid") in kids


@pytest.mark.invariant("I-29")
def test_each_attribute_of_a_service_is_needed(paper: Paper) -> None:
    head, line = paper.parts[PROVIDER_PART].split(b"\n")
    value = json.loads(head)
    for path in paths(value):
        if (
            len(path) >= 4
            and path[2] in ("items", "facts", "events")
            and (len(path) == 4 or (path[4] == "allowed" and len(path) == 6))
        ):
            continue  # one item, fact, event or argument less to be asked for
        paper.parts[PROVIDER_PART] = canonical(without(value, path)) + b"\n" + line
        assert denied(paper.read), path


@pytest.mark.invariant("I-29")
def test_each_attribute_of_a_right_is_needed(paper: Paper) -> None:
    head, line = paper.parts[PROVIDER_PART].split(b"\n")
    value = json.loads(line)
    for path in paths(value):
        paper.parts[PROVIDER_PART] = head + b"\n" + canonical(without(value, path))
        assert denied(paper.read), path


def test_a_part_that_is_another_providers_is_refused(paper: Paper) -> None:
    paper.parts[PROVIDER_PART] = provider_part(CONSUMER_MEMBER, [], [])
    with pytest.raises(Problem, match="wrong shape"):
        paper.read()
    foreign = replace(service, id=f"{CONSUMER_MEMBER}/registration/ownership")
    paper.parts[PROVIDER_PART] = provider_part(PROVIDER_MEMBER, [foreign], [])
    with pytest.raises(Problem, match="wrong shape"):
        paper.read()


def test_a_key_under_two_names_is_refused(paper: Paper) -> None:
    for entry in paper.entries.values():
        if entry.owner == "gateway-1":
            twice = [*paper.entries.values(), replace(entry, use="subsystem", owner=CONSUMER)]
            paper.parts[MEMBERS] = members_part(members, subsystems, twice)
    with pytest.raises(Problem, match="registered twice"):
        paper.read()
    value = json.loads(paper.parts[MEMBERS])
    value["keys"][0]["kid"] = "A" * 43
    paper.parts[MEMBERS] = canonical(value)
    with pytest.raises(Problem, match="wrong shape"):
        paper.read()


# --- statuses


def test_a_suspended_member_is_not_active_and_its_system_is_not(paper: Paper) -> None:
    stopped = [replace(member, status=Status.SUSPENDED) if member.id == CONSUMER_MEMBER else member for member in members]
    paper.parts[MEMBERS] = members_part(stopped, subsystems, paper.entries.values())
    snapshot = paper.read()
    assert not snapshot.is_active(CONSUMER)
    assert snapshot.is_active(PROVIDER)
    assert snapshot.members[CONSUMER_MEMBER].status is Status.SUSPENDED


def test_a_suspended_purpose_or_gateway_is_not_found(paper: Paper) -> None:
    for name in (PURPOSES, GATEWAYS):
        paper.parts[name] = paper.parts[name].replace(b'"active"', b'"suspended"')
    snapshot = paper.read()
    assert snapshot.purpose(PURPOSE) is None
    assert snapshot.gateway("gateway-1") is None


# --- rights: both signatures, by keys of the two parties, at the time the registry took it in


UNPROVEN: dict[str, Callable[[Paper], bytes]] = {
    "the grant is the consumer's": lambda paper: paper.line(grant_by=CONSUMER),
    "the acceptance is the provider's": lambda paper: paper.line(acceptance_by=PROVIDER),
    "the acceptance is a third system's": lambda paper: paper.line(acceptance_by=BANK),
    "the grant is a gateway's": lambda paper: paper.line(grant_by="gateway-1"),
    "the document was changed": lambda paper: paper.line().replace(b'"masked"', b'"full"'),
    "the signatures are swapped": lambda paper: swapped(paper.line()),
    "the service is another provider's": lambda paper: paper.line(
        service=f"{CONSUMER_MEMBER}/registration/ownership", grant_by=PROVIDER
    ),
    "the service is not in the catalogue": lambda paper: paper.line(service=f"{PROVIDER}/other"),
    "it is from before the keys were valid": lambda paper: paper.line(at=NOW - 2000),
    "it is from after the keys ended": lambda paper: paper.line(at=NOW + 90_000),
    "it is not JSON": lambda _paper: b"{",
    "it is empty": lambda _paper: b"",
}


def swapped(line: bytes) -> bytes:
    """The line with grant and acceptance in each other's place."""
    value = json.loads(line)
    return canonical(value | {"grant": value["acceptance"], "acceptance": value["grant"]})


@pytest.mark.parametrize("make", UNPROVEN.values(), ids=UNPROVEN)
def test_a_right_that_is_not_proven_is_not_there_and_takes_no_other_with_it(paper: Paper, make: Callable[[Paper], bytes]) -> None:
    paper.lines = [make(paper), paper.line(application="good")]
    paper.write()
    snapshot = paper.read()
    assert [right.application for right in snapshot.rights(CONSUMER, SERVICE)] == ["good"]
    assert snapshot.right_count == 1


def test_a_right_outlives_the_revocation_of_the_keys_that_signed_it(paper: Paper) -> None:
    paper.register_key(PROVIDER, revoked_at=NOW - 5)
    paper.register_key(CONSUMER, valid_until=NOW - 5)
    paper.write()
    assert paper.read().right_count == 1
    paper.register_key(PROVIDER, revoked_at=NOW - 15)
    paper.write()
    assert paper.read().right_count == 0


def test_a_right_that_was_proven_falls_with_the_key_entry_it_was_proven_by(paper: Paper) -> None:
    reader = paper.reader()
    assert paper.read(reader, 1).right_count == 1
    paper.register_key(PROVIDER, owner=f"{PROVIDER_MEMBER}/other")
    paper.write()
    assert paper.read(reader, 2).right_count == 0


def test_a_right_is_proven_as_soon_as_its_key_is_known(paper: Paper) -> None:
    entry = paper.entries.pop(CONSUMER)
    paper.write()
    reader = paper.reader()
    assert paper.read(reader, 1).right_count == 0
    paper.entries[CONSUMER] = entry
    paper.write()
    assert paper.read(reader, 2).right_count == 1


def test_a_restricted_member_gets_no_item_even_if_both_sides_signed(paper: Paper) -> None:
    paper.lines = [
        paper.line(consumer=BANK, legal_basis="consent"),
        paper.line(consumer=BANK, items={}),
        paper.line(consumer=BANK, items={}, legal_basis="consent", application="good"),
    ]
    paper.write()
    assert [right.application for right in paper.read().rights(BANK, SERVICE)] == ["good"]
    freed = [Member(member.id, member.name_zh, member.name_en) for member in members]
    paper.parts[MEMBERS] = members_part(freed, subsystems, paper.entries.values())
    assert len(paper.read().rights(BANK, SERVICE)) == 3


def test_a_reader_for_one_provider_passes_over_the_others(paper: Paper) -> None:
    other = f"provider:{CONSUMER_MEMBER}"
    paper.parts[other] = provider_part(CONSUMER_MEMBER, [replace(service, id=f"{CONSUMER_MEMBER}/registration/ownership")], [])
    reader = paper.reader(provider=PROVIDER_MEMBER)
    manifest = reader.manifest(paper.token(), now=NOW)
    assert other not in {part.name for part in reader.unknown_parts(manifest)}
    snapshot = reader.read(manifest, {name: body for name, body in paper.parts.items() if name != other})
    assert set(snapshot.services) == {SERVICE}
    assert set(paper.read().services) == {SERVICE, f"{CONSUMER_MEMBER}/registration/ownership"}


# --- very many rights


CONSUMERS, SERVICES = 250, 400
RIGHTS = CONSUMERS * SERVICES
NEW = 100


def consumer_of(number: int) -> str:
    """One of the consumers."""
    return f"{CONSUMER_MEMBER}/system-{number % CONSUMERS}"


def service_of(number: int) -> str:
    """One of the services."""
    return f"{PROVIDER}/set-{number // CONSUMERS}"


@pytest.mark.timeout(300)
def test_a_hundred_thousand_rights_are_held_by_place_and_share_their_terms(paper: Paper) -> None:
    for number in range(CONSUMERS):
        paper.keys[consumer_of(number)] = SigningKey.generate()
        paper.register_key(consumer_of(number))
    services = [replace(service, id=service_of(number)) for number in range(0, RIGHTS, CONSUMERS)]
    paper.lines = []
    paper.write()
    paper.parts[PROVIDER_PART] = provider_part(PROVIDER_MEMBER, services, [])
    reader = paper.reader()
    assert paper.read(reader, 1).right_count == 0

    # Two hundred thousand signatures take longer to make and to verify than this test is worth: all but the last hundred
    # rights are handed to the reader as lines that it has proven before, which is what they are when a part grows.
    proto, _ = parse_right(right_document())
    lines, proven = [], {}
    for number in range(RIGHTS - NEW):
        line = b"proven before: %d" % number
        right = replace(proto, id=f"right {number}", consumer=consumer_of(number), service=service_of(number))
        lines.append(line)
        proven[sha256(line)] = _Proven(right, paper.keys[PROVIDER].kid, paper.keys[right.consumer].kid, NOW)
    catalogue = reader._parsed[PROVIDER_PART][1]
    assert isinstance(catalogue, _Catalogue)
    reader._parsed[PROVIDER_PART] = ("", replace(catalogue, proven=proven))
    last = range(RIGHTS - NEW, RIGHTS)
    lines += [paper.line(consumer=consumer_of(number), service=service_of(number)) for number in last]
    paper.parts[PROVIDER_PART] = provider_part(PROVIDER_MEMBER, services, lines)

    manifest = reader.manifest(paper.token(2), now=NOW)
    assert [part.name for part in reader.unknown_parts(manifest)] == [PROVIDER_PART]
    snapshot = reader.read(manifest, {PROVIDER_PART: paper.parts[PROVIDER_PART]})
    assert snapshot.right_count == RIGHTS
    assert all(len(snapshot.rights(consumer_of(number), service_of(number))) == 1 for number in range(RIGHTS))
    new = [snapshot.rights(consumer_of(number), service_of(number))[0] for number in last]
    assert len({id(right.items) for right in new}) == len({id(right.facts) for right in new}) == 1
    assert not hasattr(new[0], "__dict__")

    lines.append(paper.line(consumer=CONSUMER, service=service_of(0)))
    paper.parts[PROVIDER_PART] = provider_part(PROVIDER_MEMBER, services, lines)
    grown = paper.read(reader, 3)
    assert grown.right_count == RIGHTS + 1
    assert grown.rights(consumer_of(0), service_of(0))[0] is snapshot.rights(consumer_of(0), service_of(0))[0]
