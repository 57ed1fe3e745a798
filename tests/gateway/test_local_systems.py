"""How an outway knows who speaks: by token, by certificate or by its word, over the kind of connection that its entry names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exchange.clock import SystemClock
from exchange.envelope import HttpRequest
from exchange.problem import Problem
from gateway.config import OutwaySettings
from gateway.local_systems import Connection, LocalSystems, is_loopback, load_systems
from gateway.outway_app import open_listeners
from tests.support.certificates import Made, make_certificate

TRANSFER, BANK = "CN-YA/GOV/real-estate/transfer", "CN-YA/COM/anju-bank/lending"
IDENTITY, DEED_TAX = "CN-YA/GOV/public-security/population/resident-identity", "CN-YA/GOV/tax/taxation/deed-tax"
TOKENS = {"desk": "d" * 22, "branch": "b" * 22}
PLAIN, TLS = Connection(is_tls=False), Connection(is_tls=True)
UNAUTHENTICATED, FORBIDDEN, OF_THE_WRONG_KIND = "unauthenticated", "forbidden", "tls-authentication-failed"
DAY = 86_400


class Office:
    """A directory in which systems files, tokens and certificates lie."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name, token in TOKENS.items():
            (directory / f"{name}.token").write_text(token + "\n", encoding="ascii")

    def certificate(self, name: str, **more: Any) -> Made:
        """A certificate of that name."""
        return make_certificate(self.directory, name, **more)

    def entry(self, name: str, subsystem: str = TRANSFER, **changed: Any) -> dict[str, Any]:
        """An entry that is known by its token; `...` leaves a member out."""
        token = str(self.directory / f"{name}.token")
        known = {"name": name, "token_file": token, "subsystem": subsystem, "key_file": "a.pem", "services": [IDENTITY]}
        return {member: value for member, value in (known | changed).items() if value is not ...}

    def pinned(self, name: str, made: Made, subsystem: str = TRANSFER, **changed: Any) -> dict[str, Any]:
        """An entry that is known by its certificate."""
        own = {"mode": "https-pinned", "token_file": ..., "certificate_file": str(made.certificate_file)}
        return self.entry(name, subsystem, **own | changed)

    def trusted(self, name: str, subsystem: str = TRANSFER, **changed: Any) -> dict[str, Any]:
        """An entry that is taken by its word."""
        return self.entry(name, subsystem, **{"token_file": ..., "trust_network": True} | changed)

    def file(self, *entries: dict[str, Any]) -> Path:
        """A systems file."""
        path = self.directory / "systems.json"
        path.write_text(json.dumps(entries), encoding="utf-8")
        return path

    def systems(self, *entries: dict[str, Any]) -> LocalSystems:
        """The same, loaded."""
        return load_systems(self.file(*entries))

    def settings(self, **more: Any) -> OutwaySettings:
        """Settings of an outway."""
        nowhere = {"gateway_urls": "http://127.0.0.1:1", "registry_url": "http://127.0.0.1:1", "registry_key_file": Path("a")}
        return OutwaySettings(**{**nowhere, "systems_file": self.directory / "systems.json", **more})


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """Give an empty directory for entries and what belongs to them."""
    return Office(tmp_path)


def spoken(
    systems: LocalSystems,
    connection: Connection,
    *,
    client: str | None = None,
    token: str | None = None,
    days: int = 0,
    **more: str,
) -> str:
    """The name of the system that speaks, or the code with which the call is refused."""
    named = {"x-road-client": client, "authorization": None if token is None else f"Bearer {token}", **more}
    headers = [(name, value) for name, value in named.items() if value is not None]
    request = HttpRequest("POST", f"/r1/{IDENTITY}", "", "localhost", headers, b"")
    try:
        return systems.speaker(request, connection, SystemClock().now() + days * DAY).name
    except Problem as problem:
        return problem.code


def said(systems: LocalSystems, connection: Connection, client: str) -> str:
    """The message of a refusal."""
    with pytest.raises(Problem) as caught:
        systems.speaker(HttpRequest("GET", "/", "", "", [("x-road-client", client)], b""), connection, SystemClock().now())
    return str(caught.value.document()["message"])


# --- the three modes


@pytest.mark.parametrize("connection", [PLAIN, TLS], ids=["plain", "TLS"])
def test_http_takes_any_connection(office: Office, connection: Connection) -> None:
    assert spoken(office.systems(office.entry("desk")), connection, token=TOKENS["desk"]) == "desk"
    assert spoken(office.systems(office.trusted("desk")), connection, client=TRANSFER) == "desk"


def test_https_takes_tls_only_and_says_so_as_x_road_does(office: Office) -> None:
    with_token, trusted = (office.systems(make("desk", mode="https")) for make in (office.entry, office.trusted))
    assert spoken(with_token, TLS, token=TOKENS["desk"]) == "desk"
    assert spoken(with_token, PLAIN, token=TOKENS["desk"]) == OF_THE_WRONG_KIND
    assert spoken(trusted, TLS, client=TRANSFER) == "desk"
    for systems in (with_token, trusted):
        words = "specifies HTTPS NO AUTH but client made plaintext connection"
        assert said(systems, PLAIN, TRANSFER) == f"Client (SUBSYSTEM:{TRANSFER}) {words}"
    assert spoken(with_token, TLS, client=TRANSFER) == UNAUTHENTICATED


def test_https_pinned_takes_its_own_certificate_only_and_says_so_as_x_road_does(office: Office) -> None:
    own, other = office.certificate("own"), office.certificate("other")
    systems = office.systems(office.pinned("desk", own))
    for client in (None, TRANSFER):
        assert spoken(systems, Connection(is_tls=True, certificate=own.der), client=client) == "desk"
    assert said(systems, PLAIN, TRANSFER) == f"Client (SUBSYSTEM:{TRANSFER}) specifies HTTPS but did not supply TLS certificate"
    assert said(systems, TLS, TRANSFER) == f"Client (SUBSYSTEM:{TRANSFER}) specifies HTTPS but did not supply TLS certificate"
    shown = Connection(is_tls=True, certificate=other.der)
    assert said(systems, shown, TRANSFER) == f"Client (SUBSYSTEM:{TRANSFER}) TLS certificate does not match any IS certificates"


def test_a_certificate_is_compared_whole_not_by_name_or_signer(office: Office) -> None:
    own = office.certificate("own")
    renamed = office.certificate("twin", common_name="own")
    signed = office.certificate("signed", common_name="own", by=own)
    systems = office.systems(office.pinned("desk", own))
    for made in (renamed, signed):
        assert spoken(systems, Connection(is_tls=True, certificate=made.der), client=TRANSFER) == OF_THE_WRONG_KIND
        assert spoken(systems, Connection(is_tls=True, certificate=made.der)) == UNAUTHENTICATED


def test_a_certificate_counts_while_it_is_valid(office: Office) -> None:
    own = office.certificate("own", days=(-2, 2))
    systems = office.systems(office.pinned("desk", own))
    shown = Connection(is_tls=True, certificate=own.der)
    assert [spoken(systems, shown, days=days) for days in (-3, -1, 1, 3)] == [
        OF_THE_WRONG_KIND,
        "desk",
        "desk",
        OF_THE_WRONG_KIND,
    ]


def test_two_certificates_count_while_one_takes_the_others_place(office: Office) -> None:
    old, new = office.certificate("old"), office.certificate("new")
    both = office.directory / "both.crt"
    both.write_bytes(old.certificate_file.read_bytes() + new.certificate_file.read_bytes())
    systems = office.systems(office.pinned("desk", old, certificate_file=str(both)))
    assert {spoken(systems, Connection(is_tls=True, certificate=made.der)) for made in (old, new)} == {"desk"}


# --- nobody speaks for another


def test_a_system_speaks_for_its_own_subsystem_only(office: Office) -> None:
    own = office.certificate("own")
    shown = Connection(is_tls=True, certificate=own.der)
    entries = office.pinned("desk", own), office.entry("branch", BANK), office.trusted("kiosk", "CN-YA/GOV/real-estate/kiosk")
    systems = office.systems(*entries)
    assert spoken(systems, shown, client=BANK) == FORBIDDEN
    assert spoken(systems, shown, client="CN-YA/GOV/real-estate/kiosk") == FORBIDDEN
    assert spoken(systems, PLAIN, token=TOKENS["branch"], client="CN-YA/GOV/real-estate/kiosk") == FORBIDDEN
    assert spoken(systems, PLAIN, token=TOKENS["branch"], client=TRANSFER) == OF_THE_WRONG_KIND
    assert spoken(systems, PLAIN, token=TOKENS["branch"], client="CN-YA/GOV/nobody/nothing") == FORBIDDEN
    assert spoken(systems, PLAIN, token=TOKENS["branch"], client=BANK) == "branch"


def test_a_connection_of_one_system_does_not_carry_anothers_token(office: Office) -> None:
    own = office.certificate("own")
    systems = office.systems(office.pinned("desk", own), office.entry("branch", BANK))
    shown = Connection(is_tls=True, certificate=own.der)
    for client in (None, BANK, TRANSFER):
        assert spoken(systems, shown, token=TOKENS["branch"], client=client) == FORBIDDEN


@pytest.mark.parametrize(
    "client",
    [
        None,
        "",
        BANK,
        "CN-YA/GOV/nobody/nothing",
        TRANSFER.upper(),
        TRANSFER + "/",
        TRANSFER.replace("-", "%2D"),
        "CN-YA/GOV/real-estate",
        TRANSFER.replace("a", "\u0430"),
    ],
)
def test_nobodys_word_counts_but_that_of_a_trusted_system(office: Office, client: str | None) -> None:
    systems = office.systems(office.trusted("desk"), office.entry("branch", BANK))
    assert spoken(systems, PLAIN, client=client) == UNAUTHENTICATED
    assert spoken(systems, PLAIN, client=TRANSFER) == "desk"


def test_a_page_in_a_browser_is_not_taken_by_its_word(office: Office) -> None:
    systems = office.systems(office.trusted("desk"))
    assert spoken(systems, PLAIN, client=TRANSFER, origin="http://127.0.0.1:8080") == UNAUTHENTICATED
    assert spoken(systems, PLAIN, client=TRANSFER, origin="null") == UNAUTHENTICATED


@pytest.mark.parametrize("token", ["", " ", "wrong", TOKENS["desk"][:-1], TOKENS["desk"] + "x", TOKENS["desk"].upper()])
def test_a_wrong_token_is_not_made_good_by_anything_else(office: Office, token: str) -> None:
    own = office.certificate("own")
    systems = office.systems(office.trusted("kiosk"), office.pinned("desk", own, BANK))
    assert spoken(systems, PLAIN, token=token, client=TRANSFER) == UNAUTHENTICATED
    assert spoken(systems, Connection(is_tls=True, certificate=own.der), token=token, client=BANK) == UNAUTHENTICATED


def test_what_was_meant_for_the_service_behind_is_not_taken_for_a_token(office: Office) -> None:
    systems = office.systems(office.trusted("desk"))
    assert spoken(systems, PLAIN, client=TRANSFER, authorization="Basic ZDpk") == "desk"


def test_a_client_that_is_named_twice_is_refused(office: Office) -> None:
    request = HttpRequest("GET", "/", "", "", [("x-road-client", TRANSFER), ("x-road-client", BANK)], b"")
    with pytest.raises(Problem) as caught:
        office.systems(office.trusted("desk")).speaker(request, PLAIN, 0)
    assert caught.value.code == "malformed-request"


# --- entries that are not clear


Change = Callable[[Office], list[dict[str, Any]]]
UNCLEAR: dict[str, Change] = {
    "no way to be known": lambda office: [office.entry("desk", token_file=...)],
    "two ways to be known": lambda office: [office.entry("desk", trust_network=True)],
    "a token and a certificate": lambda office: [office.pinned("desk", office.certificate("a"), token_file="desk.token")],
    "a certificate in another mode": lambda office: [office.pinned("desk", office.certificate("a"), mode="https")],
    "pinned to nothing": lambda office: [office.entry("desk", mode="https-pinned")],
    "pinned, but trusted": lambda office: [office.trusted("desk", mode="https-pinned")],
    "trust that is a word": lambda office: [office.trusted("desk", trust_network="true")],
    "a mode that there is not": lambda office: [office.entry("desk", mode="mtls")],
    "a member that means nothing": lambda office: [office.entry("desk", trust_netwrok=True)],
    "a purpose for a service of others": lambda office: [office.entry("desk", purposes={DEED_TAX: "a"})],
    "one name twice": lambda office: [office.entry("desk"), office.entry("desk", BANK)],
    "one token twice": lambda office: [
        office.entry("desk"),
        office.entry("branch", BANK, token_file=office.entry("desk")["token_file"]),
    ],
    "one certificate twice": lambda office: [
        office.pinned(name, made, subsystem)
        for made in [office.certificate("a")]
        for name, subsystem in (("desk", TRANSFER), ("branch", BANK))
    ],
    "two that trust as one": lambda office: [office.trusted("desk"), office.trusted("kiosk")],
}


@pytest.mark.parametrize("change", UNCLEAR.values(), ids=UNCLEAR)
def test_an_entry_that_could_be_read_in_two_ways_is_refused(office: Office, change: Change) -> None:
    with pytest.raises(ValueError, match=r"desk|two local systems|mtls"):
        office.systems(*change(office))


def test_a_token_that_could_be_guessed_is_refused(office: Office) -> None:
    (office.directory / "desk.token").write_text("short\n", encoding="ascii")
    with pytest.raises(ValueError, match="shorter than 22"):
        office.systems(office.entry("desk"))


def test_the_purpose_of_a_service_comes_before_the_general_one(office: Office) -> None:
    purposes = {DEED_TAX: "enterprise-purchase"}
    changed: dict[str, Any] = {"services": [IDENTITY, DEED_TAX], "purposes": purposes}
    [system] = office.systems(office.entry("desk", **changed, purpose="real-estate-transfer"))
    assert [system.default_purpose(each) for each in (DEED_TAX, IDENTITY)] == ["enterprise-purchase", "real-estate-transfer"]
    [system] = office.systems(office.entry("desk", **changed))
    assert system.default_purpose(IDENTITY) is None


# --- where an outway may listen


def test_trust_in_the_network_is_for_loopback_and_a_unix_socket_only(office: Office) -> None:
    made = office.certificate("server")
    tls = {"tls_port": 1, "certificate_file": made.certificate_file, "certificate_key_file": made.key_file}
    systems = office.systems(office.trusted("desk"))
    for settings in (
        office.settings(port=1, host="0.0.0.0"),  # noqa: S104 - that is what is refused
        office.settings(port=1, host="::"),
        office.settings(port=1, host="10.0.0.1"),
        office.settings(port=1, host="outway.example"),
        office.settings(port=1, tls_host="10.0.0.1", **tls),
        office.settings(socket=office.directory / "s", tls_host="10.0.0.1", **tls),
    ):
        with pytest.raises(ValueError, match="trust_network"):
            open_listeners(settings, systems)
    for listener in open_listeners(office.settings(socket=office.directory / "outway.sock"), systems):
        listener.socket.close()
    assert (office.directory / "outway.sock").stat().st_mode & 0o777 == 0o660


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_is_known_by_its_addresses(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "127.0.0.1.example", "localhost.example", "10.0.0.1"])  # noqa: S104 - refused
def test_what_others_can_reach_is_not_taken_for_this_machine(host: str) -> None:
    assert not is_loopback(host)


def test_listening_that_would_reach_nobody_is_refused(office: Office) -> None:
    made = office.certificate("server")
    plain = office.systems(office.entry("desk"))
    with pytest.raises(ValueError, match="needs a port"):
        open_listeners(office.settings(), plain)
    for more in ({"tls_port": 1}, {"certificate_file": made.certificate_file}, {"tls_port": 1, "certificate_file": Path("a")}):
        with pytest.raises(ValueError, match="come together"):
            open_listeners(office.settings(port=1, **more), plain)
    for entry in (office.entry("desk", mode="https"), office.pinned("desk", made)):
        with pytest.raises(ValueError, match="no TLS port"):
            open_listeners(office.settings(port=1), office.systems(entry))
