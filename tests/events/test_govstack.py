"""GovStack's publish and subscribe at an outway: its paths and codes, over rights, fences and proofs that it knows nothing of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.process import LOOPBACK, free_port
from deploy.supervisor import Component
from exchange.delivery import verify_delivery
from tests.events.scene import CHANGED, CLOSURE, LICENCE, REGULATION, SOCIAL, STRUCK_OFF, TAX, Scene
from tests.journeys.outways import component
from tests.support.page import ROOT, Shell, told_commands
from tests.support.waiting import until_yes

ENTERPRISE = LICENCE.rpartition("/")[0]


@dataclass(slots=True)
class View:
    """An outway with three local systems: the publisher, tax, and social security."""

    scene: Scene
    url: str
    http: httpx2.AsyncClient
    process: Component

    async def call(
        self, who: str, verb: str, path: str, body: Any = None, *, room: str = ENTERPRISE, **headers: str
    ) -> httpx2.Response:
        """A call as GovStack's clients make it."""
        said = {"X-GovStack-Client": who, "X-Road-UserId": "officer-007", "X-Road-Issue": "E-1"}
        said |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.request(verb, f"{self.url}/r1/{room}{path}", json=body, headers=said)


@pytest.fixture
async def view(scene: Scene, tmp_path: Path) -> AsyncIterator[View]:
    """Give the view at an outway of its own."""

    def entry(name: str, system: str, **more: object) -> dict[str, Any]:
        key = str(scene.session.home.key_file(name))
        known = {"name": name, "subsystem": system, "key_file": key, "services": [LICENCE], "purpose": CLOSURE}
        return {**known, "trust_network": True, **more}

    systems = [
        entry(REGULATION, ENTERPRISE, publishes_to=scene.session.urls[REGULATION]),
        entry("tax", TAX),
        entry("social-security", SOCIAL, webhook="http://127.0.0.1:9/hook"),
    ]
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    settings = {"YITONG_PORT": str(port), "YITONG_DELIVERER_URL": scene.session.urls["deliverer"]}
    process = component(scene.exchange, tmp_path, systems, settings)
    process.ready_url = f"{url}/health/ready"
    await asyncio.to_thread(process.start)
    async with httpx2.AsyncClient(trust_env=False, timeout=40) as http:
        made = View(scene, url, http, process)
        yield made
        for who in (TAX, SOCIAL):
            for kind in (CHANGED, STRUCK_OFF):
                await made.call(who, "DELETE", f"/api/v1/subs/{kind}")
    await asyncio.to_thread(process.stop)


async def test_a_room_shows_its_event_types_and_their_schema(view: View) -> None:
    listed = await view.call(TAX, "GET", "/api/v1/eventType")
    assert (listed.status_code, listed.json()) == (200, sorted([CHANGED, STRUCK_OFF, "enterprise.registered"]))
    shown = (await view.call(TAX, "GET", f"/api/v1/eventType/{CHANGED}")).json()
    assert shown["eventType"] == CHANGED
    assert {"name", "status", "scope"} <= set(shown["schema"]["properties"])
    assert (await view.call(TAX, "GET", "/api/v1/eventType/enterprise.unheard")).status_code == 204
    assert (await view.call(TAX, "GET", "/api/v1/eventType", room="CN-YA/GOV/nobody/nothing")).status_code == 204


async def test_event_types_are_not_made_or_removed_here(view: View) -> None:
    made = await view.call(TAX, "POST", "/api/v1/eventType", {"eventType": "x", "schema": {}})
    removed = await view.call(TAX, "DELETE", f"/api/v1/eventType/{CHANGED}")
    assert [(each.status_code, each.json()["code"]) for each in (made, removed)] == [(403, "forbidden")] * 2


async def test_what_is_published_is_pulled_confirmed_and_comes_no_more(view: View) -> None:
    firm = view.scene.exchange.cast.buying_firm.id
    made = await view.call(TAX, "POST", f"/api/v1/subs/{CHANGED}", {"eventType": CHANGED, "delivery": "PULL"})
    assert made.status_code == 200, made.text
    assert (made.json()["delivery"], made.json()["form"]) == ("PULL", "full")
    assert made.json()["subscriberId"]["memberCode"] == "tax"
    assert [row["eventType"] for row in (await view.call(TAX, "GET", "/api/v1/subs")).json()] == [CHANGED]
    assert (await view.call(TAX, "GET", f"/api/v1/subs/{CHANGED}")).json() == made.json()
    again = await view.call(TAX, "POST", f"/api/v1/subs/{CHANGED}", {"eventType": CHANGED, "delivery": "PULL"})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert (await view.call(TAX, "GET", f"/pull/v1/{CHANGED}")).status_code == 404

    ids = []
    for scope in ("甲", "乙"):
        event = {"subject": firm, "scope": scope}
        said = await view.call(ENTERPRISE, "POST", f"/pub/v1/{CHANGED}", {"eventType": CHANGED, "event": event})
        assert said.status_code == 201, said.text
        ids.append(said.json()["id"])

    async def there() -> bool:
        return (await view.call(TAX, "GET", f"/pull/v1/{CHANGED}")).status_code == 200

    await until_yes(there)
    for number, name in enumerate(ids, 1):
        first, same = [(await view.call(TAX, "GET", f"/pull/v1/{CHANGED}")).json() for _ in range(2)]
        assert (first["id"], first["sequence"], first["eventType"]) == (name, number, CHANGED)
        assert same["event"] == first["event"], "until it is confirmed it is the next one"
        assert (first["event"]["subject"], first["event"]["uscc"]) == (firm, firm)
        assert first["publisherId"]["applicationCode"] == "enterprise"
        assert verified(view.scene, first["delivery"]) == number
        assert (await view.call(TAX, "DELETE", f"/pull/v1/{CHANGED}/{'0' * 32}")).status_code == 404
        if number == 2:
            # Another outway process knows nothing of what this one has read.
            await asyncio.to_thread(view.process.stop)
            await asyncio.to_thread(view.process.start)
        assert (await view.call(TAX, "DELETE", f"/pull/v1/{CHANGED}/{name}")).status_code == 204
    assert (await view.call(TAX, "GET", f"/pull/v1/{CHANGED}")).status_code == 404
    assert (await view.call(TAX, "DELETE", f"/pull/v1/{CHANGED}/{ids[0]}")).status_code == 404
    assert (await view.call(TAX, "DELETE", f"/api/v1/subs/{CHANGED}")).status_code == 204
    assert (await view.call(TAX, "GET", f"/api/v1/subs/{CHANGED}")).status_code == 404


def verified(scene: Scene, token: str) -> int:
    """The number of a delivery that an application verifies for itself."""
    snapshot = scene.session.trust.current()

    def key_of(kid: str, owner: str) -> Any:
        entry = snapshot.key(kid)
        return entry.key if entry is not None and entry.owner == owner else None

    return verify_delivery(token, TAX, gateway_key_of=key_of, provider_key_of=key_of).place.sequence


async def test_a_repeated_publication_happens_once(view: View) -> None:
    body = {"eventType": CHANGED, "event": {"subject": view.scene.exchange.cast.buying_firm.id, "scope": "丙"}}
    said = [await view.call(ENTERPRISE, "POST", f"/pub/v1/{CHANGED}", body, X_Road_Id="publication-1") for _ in range(2)]
    assert [each.json()["id"] for each in said] == ["publication-1"] * 2


async def test_a_thin_right_gives_thin_events_of_nobody_until_somebody_is_on_the_list(view: View) -> None:
    made = await view.call(SOCIAL, "POST", f"/api/v1/subs/{CHANGED}", {"eventType": CHANGED, "delivery": "PUSH"})
    assert (made.json()["form"], made.json()["delivery"]) == ("thin", "PUSH")


async def test_the_page_is_true(view: View, tmp_path: Path) -> None:
    """docs/govstack.md, typed line by line into one shell."""
    script = " &&\n".join(told_commands(ROOT / "docs" / "govstack.md"))
    programs = tmp_path / "bin"
    programs.mkdir()
    home, firm = view.scene.session.home.root, view.scene.exchange.cast.buying_firm.id
    shell = Shell(programs, home, OUTWAY=view.url, FIRM=firm)
    printed = await asyncio.to_thread(shell.type, script)
    assert printed.count('"govstack-0001"') == 2, "it was published, and pulled"
    assert '"code"' not in printed, "nothing was refused"
    assert (await view.call(TAX, "GET", f"/api/v1/subs/{CHANGED}")).status_code == 404


@pytest.mark.invariant("I-27")
async def test_what_is_withheld_says_so(view: View) -> None:
    scene = view.scene
    right, token = scene.right_of(TAX, LICENCE), await scene.session.token("registrar")
    await view.call(TAX, "POST", f"/api/v1/subs/{CHANGED}", {"eventType": CHANGED, "delivery": "PULL"})
    await scene.say(CHANGED, scene.exchange.cast.buying_firm.id, {"scope": "丁"})
    await scene.registry().suspend_right(token, right, "test")

    async def pulled() -> dict[str, Any]:
        answer = await view.call(TAX, "GET", f"/pull/v1/{CHANGED}")
        assert answer.status_code == 200
        return dict(answer.json())

    try:
        assert (await scene.eventually(pulled))["event"] == {"withheld": "right-missing"}
    finally:
        await scene.registry().lift_right(token, right)


@pytest.mark.parametrize(
    ("who", "verb", "path", "body", "status", "code"),
    [
        ("CN-YA/GOV/nobody/x", "GET", "/api/v1/eventType", None, 401, "unauthenticated"),
        (TAX, "POST", f"/pub/v1/{CHANGED}", {"eventType": CHANGED, "event": {"subject": "x"}}, 403, "forbidden"),
        (
            ENTERPRISE,
            "POST",
            f"/pub/v1/{CHANGED}",
            {"eventType": STRUCK_OFF, "event": {"subject": "x"}},
            400,
            "malformed-request",
        ),
        (ENTERPRISE, "POST", f"/pub/v1/{CHANGED}", {"eventType": CHANGED, "event": {"scope": "x"}}, 400, "malformed-request"),
        (ENTERPRISE, "POST", f"/pub/v1/{CHANGED}", {"eventType": CHANGED, "event": {"subject": "1"}}, 400, "malformed-request"),
        (ENTERPRISE, "POST", "/pub/v1/no.such", {"eventType": "no.such", "event": {"subject": "1"}}, 404, "not-found"),
        (ENTERPRISE, "POST", f"/pub/v1/{CHANGED}", [], 400, "malformed-request"),
        (ENTERPRISE, "POST", f"/api/v1/subs/{CHANGED}", {"eventType": CHANGED, "delivery": "PULL"}, 403, "right-missing"),
        (TAX, "POST", f"/api/v1/subs/{CHANGED}", {"eventType": CHANGED, "delivery": "PUSH"}, 400, "malformed-request"),
        (TAX, "POST", f"/api/v1/subs/{CHANGED}", {"eventType": CHANGED, "delivery": "FAX"}, 400, "malformed-request"),
        (TAX, "POST", "/api/v1/subs/no.such", {"eventType": "no.such", "delivery": "PULL"}, 404, "not-found"),
        (TAX, "GET", f"/pull/v1/{STRUCK_OFF}", None, 404, "not-found"),
        (TAX, "DELETE", f"/api/v1/subs/{STRUCK_OFF}", None, 404, "not-found"),
    ],
)
async def test_what_cannot_be_is_refused_with_a_code(
    view: View, who: str, verb: str, path: str, body: object, status: int, code: str
) -> None:
    answer = await view.call(who, verb, path, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_two_names_on_one_call_are_refused(view: View) -> None:
    answer = await view.call(TAX, "GET", "/api/v1/eventType", X_Road_Client=SOCIAL)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")
