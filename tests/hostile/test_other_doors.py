"""What is refused at the gateway's data door is refused at an outway, and at the metadata services of both."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from exchange.identifiers import RESERVED_SERVICES
from tests.hostile.corpus_body import Case
from tests.hostile.corpus_http import CHUNKS, FRAMING, METHODS, ODD, POPULATION, PROTOCOLS, TARGETS, XROADS
from tests.hostile.forge import CANARY, PATH, Forge, LocalForge
from tests.hostile.raw import PARSER, connected, say
from tests.hostile.test_door import LEFT_WAITING, is_served, require_clear_problem

# An outway signs only what a local system is bound to, so that it says no before a gateway would.
OF_ITS_OWN = {
    "target with an ID number": (403, "right-missing"),
    "target with an ID number, signed": (403, "right-missing"),
    "target with an ID number for a department, signed": (403, "right-missing"),
    # No route of FastAPI's has a line in it.
    "target with an encoded line": (404, "not-found"),
    # Without a version there are no headers, and so no token.
    "no version": (401, "unauthenticated"),
}
CORPUS = [*TARGETS, *METHODS, *FRAMING, *(case for case in CHUNKS if case[3] == PARSER), *PROTOCOLS]
CASES: list[Case] = [(name, make, *OF_ITS_OWN.get(name, (status, code))) for name, make, status, code in CORPUS]
SIGNED = {"another proxy's signature", "more than must be covered"}
LOCAL_ODD = [(name, make) for name, make in ODD if name not in SIGNED]

LISTED = f"{POPULATION}/listMethods"
SPELLINGS = [
    *(f"{POPULATION}/{below}/listMethods" for _, below in XROADS),
    *(f"{LISTED}/{below}" for _, below in XROADS),
    f"{POPULATION}/list%4Dethods",
    f"{POPULATION}/%6cistMethods",
    f"{POPULATION}%2flistMethods",
    f"{POPULATION}%5clistMethods",
    f"{POPULATION}/%2e/listMethods",
    f"{POPULATION}//listMethods",
    f"{POPULATION}/./listMethods",
    f"{POPULATION}/listMethods/",
    f"{POPULATION}/listMethods;a=b",
    f"{POPULATION}/listMethods%00",
    f"{POPULATION}/listMethods%3Fa",
    f"{POPULATION}/listMethods%23a",
    f"{POPULATION}/LISTMETHODS",
    f"{POPULATION}/%ef%bd%8cistMethods",
    f"{POPULATION}/%c0%ae%c0%ae/listMethods",
    LISTED.replace("/r1/", "//r1/"),
    LISTED.replace("/r1/", "/R1/"),
    LISTED.replace("/r1/", "/r2/"),
    LISTED.replace("/r1/", "/%721/"),
    LISTED.replace("public", "p%75blic"),
    f"/{LISTED.removeprefix('/r1/')}",
    *("//listClients", "/listClients/", "/%6cistClients", "/listclients", "/listClients;a", "/listClients%00", "/./listClients"),
    *("/verificationconf/", "/verificationconf%2f..", "/%76erificationconf", "/x/../verificationconf"),
]


@pytest.fixture(params=["gateway", "outway"])
def asked(request: pytest.FixtureRequest, door: str, forge: Forge, outway: str, local: LocalForge) -> tuple[str, Forge]:
    """Give each door, and where its requests are made."""
    return (door, forge) if request.param == "gateway" else (outway, local)


@pytest.mark.invariant("I-42")
@pytest.mark.parametrize(("name", "make", "status", "code"), CASES, ids=[name for name, *_ in CASES])
def test_an_outway_refuses_a_bad_head_as_a_gateway_does(
    outway: str, local: LocalForge, name: str, make: Callable[[Forge], bytes], status: int, code: str
) -> None:
    with connected(outway) as line:
        line.send(make(local))
        answer = line.answer()
        assert answer is not None
        assert (answer.status, answer.code) == (status, code)
        if code != PARSER:
            require_clear_problem(answer, status)
        if answer.headers.get("connection") == "close":
            assert line.is_closed()
        elif name not in LEFT_WAITING:
            assert is_served(line, local)


@pytest.mark.parametrize(("name", "make"), LOCAL_ODD, ids=[name for name, _ in LOCAL_ODD])
def test_what_is_odd_but_in_order_is_answered_by_an_outway(
    outway: str, local: LocalForge, name: str, make: Callable[[Forge], bytes]
) -> None:
    answer = say(outway, make(local))
    assert answer is not None
    assert answer.status == 200, (name, answer.body)
    assert answer.headers["x-road-service"] == PATH.removeprefix("/r1/")


@pytest.mark.invariant("I-42")
@pytest.mark.parametrize("path", SPELLINGS)
def test_metadata_has_one_spelling_of_its_address(asked: tuple[str, Forge], path: str) -> None:
    url, forge = asked
    right, answer = say(url, forge.asking(LISTED)), say(url, forge.asking(path))
    assert right is not None
    assert right.status == 200, "else this would prove nothing"
    assert answer is not None
    assert answer.status in {400, 404, 405}
    assert answer.code in {"malformed-request", "not-found", "method-not-allowed", "unknown-service"}
    require_clear_problem(answer, answer.status)
    assert answer.document["type"]
    assert answer.document["message"]


@pytest.mark.invariant("I-42")
def test_a_query_names_one_service_in_one_way(asked: tuple[str, Forge]) -> None:
    url, forge = asked
    path = f"{POPULATION}/getOpenAPI"
    assert (right := say(url, forge.asking(path, "serviceCode=resident-identity"))) is not None
    assert right.status == 200
    for value in (
        "a%2Fb",
        "..%2Fa",
        "%2e%2e",
        "resident-identity%00",
        "resident%252Didentity",
        "%c0%ae",
        "a;b",
        "a&serviceCode=b",
    ):
        assert (answer := say(url, forge.asking(path, f"serviceCode={value}"))) is not None
        assert (answer.status, answer.code) == (400, "malformed-request"), value


@pytest.mark.invariant("I-32")
def test_a_number_in_place_of_a_name_is_not_said_again(asked: tuple[str, Forge]) -> None:
    url, forge = asked
    subsystem = POPULATION.rpartition("/")[0] + f"/{CANARY}"
    for path, query in ((f"{subsystem}/listMethods", ""), (f"{POPULATION}/getOpenAPI", f"serviceCode={CANARY}")):
        assert (answer := say(url, forge.asking(path, query))) is not None
        assert (answer.status, answer.code) == (404, "unknown-service")
        assert CANARY.encode() not in answer.body


def test_x_roads_other_services_are_not_found(asked: tuple[str, Forge]) -> None:
    url, forge = asked
    for code in RESERVED_SERVICES - {"listMethods", "allowedMethods", "getOpenAPI"}:
        assert (answer := say(url, forge.asking(f"{POPULATION}/{code}"))) is not None
        assert answer.status in {404, 405}, code
        assert answer.document["message"]
