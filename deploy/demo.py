"""The story that a running exchange tells, every line of which it has seen happen.

A flat changes hands (不动产转移登记) by questions; then a firm ends and a person dies, and who must know learns it by events.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace

import httpx2

from audit.client import SearchRequest, load_trust, verify_receipt
from deploy import demo_events
from deploy.home import CONSUMER
from deploy.local import LocalExchange
from deploy.receipts import keep_receipt, write_trust
from deploy.session import Session
from deploy.speech import Speaker
from deploy.story import CASE, PURPOSE, RECOVERY_SECONDS, Story, StoryError
from exchange.canonical import canonical
from exchange.keys import SigningKey
from exchange.problem import Problem
from exchange.receipt import issue_receipt
from exchange.record import present, presentation_hash
from gateway.client import Fetched, Wanted, prepare, read_answer


async def ask_identity(story: Story) -> None:
    """Statutory duty: granted at once; the address comes masked, the ethnicity hidden."""
    buyer = story.cast.buyer
    names = ["name", "id_number", "birth_date", "address", "ethnicity"]
    fetched = await story.fetch(
        story.wanted("public-security/population/resident-identity", buyer.id, items=names, facts={"is_adult": {}})
    )
    story.first_request = fetched.request_id
    story.require(
        fetched.data["name"] == buyer.name,
        f"姓名 {fetched.data['name']}，公安签名有效",
        f"name {fetched.data['name']}, signed by public security",
    )
    address = fetched.data["address"]
    story.require("address" in fetched.masked and "*" in address, f"地址已脱敏：{address}", f"address masked: {address}")
    story.require(fetched.data["ethnicity"] == {"hidden": True}, "民族已隐藏", "ethnicity hidden")
    story.require(fetched.facts["is_adult"] is True, "核验：已成年", "fact: is an adult")


async def ask_deed_tax(story: Story) -> None:
    """A fact instead of a value, bound to the person."""
    service = "tax/taxation/deed-tax"
    paid = await story.fetch(story.wanted(service, story.cast.buyer.id, facts={"deed_tax_paid": {}}))
    story.require(
        paid.facts["deed_tax_paid"] is True,
        "买方契税已缴（只答是与否，不见金额）",
        "the buyer's deed tax is paid: a yes, no amount",
    )
    other = await story.fetch(story.wanted(service, story.cast.indebted_buyer.id, facts={"deed_tax_paid": {}}))
    story.require(
        other.facts["deed_tax_paid"] is False,
        "另一人契税未缴，答案各归其人",
        "another person's is not: the answer belongs to the person",
    )


async def ask_contributions(story: Story) -> None:
    """Consent: refused without, granted with, refused the moment it is withdrawn."""
    person = story.cast.buyer
    wanted = story.wanted("social-security/insurance/contributions", person.id, facts={"contributed_months_at_least": {"n": 24}})
    problem = await story.require_refusal("consent-required", story.fetch(wanted), "未经同意，拒绝", "without consent: refused")
    explained = await story.session.consumer().explain(str(problem.extra["request_id"]))
    story.require(
        explained["code"] == "consent-required", f"解释接口：{explained['advice']}", f"/explain says: {explained['advice']}"
    )
    identity = story.session.identity
    asked = await identity.ask_consent(
        CONSUMER,
        story.session.key(),
        subject=person.id,
        service=wanted.service,
        purpose=PURPOSE,
        facts={"contributed_months_at_least": [24]},
        valid_seconds=86_400,
    )
    story.consent = asked["id"]
    token = await story.session.token("citizen")
    shown = await identity.show_consent(token, story.consent)
    text = next(text for text in shown["texts"] if text["language"] == story.speaker.language)
    story.speaker.say(f"   [dim]{text['text'].strip()}[/]", f"   [dim]{text['text'].strip()}[/]")
    await identity.grant_consent(token, story.consent, text_hash=text["text_hash"], language=text["language"])
    fetched = await story.fetch(replace(wanted, consent=story.consent))
    story.require(
        fetched.facts["contributed_months_at_least"] is True,
        "群众同意后放行：缴费满 24 个月",
        "the citizen agrees: 24 months contributed",
    )
    await identity.withdraw_consent(token, story.consent)
    again = story.fetch(replace(wanted, consent=story.consent))
    await story.require_refusal(
        "consent-withdrawn", again, "撤回一经确认，立即拒绝", "withdrawn: refused from the moment it is acknowledged"
    )


async def ask_licence(story: Story) -> None:
    """A company buys: its representative's ID number comes masked."""
    firm = story.cast.buying_firm
    names = ["name", "status", "legal_representative", "representative_id"]
    fetched = await story.fetch(
        story.wanted("market-regulation/enterprise/business-licence", firm.id, items=names, facts={"is_active": {}})
    )
    masked = fetched.data["representative_id"]
    story.require(fetched.data["name"] == firm.name, f"营业执照：{firm.name}", f"licence of {firm.name}")
    story.require(masked.count("*") == 15, f"法定代表人身份证号已脱敏：{masked}", f"representative's ID number masked: {masked}")


async def ask_encumbrance(story: Story) -> None:
    """A seized flat; and a gateway that hides the seizure is caught by the client."""
    seller = story.cast.seized_seller
    wanted = story.wanted("real-estate/registration/encumbrance", seller.id, facts={"is_seized": {}, "is_mortgaged": {}})
    fetched = await story.fetch(wanted)
    story.require(fetched.facts["is_seized"] is True, "该不动产已被查封，不得转移", "the flat is seized: no transfer")
    await story.require_refusal(
        "record-incomplete",
        _hide_seizure(story, wanted),
        "网关隐瞒查封，被客户端识破",
        "a gateway that hides the seizure is caught by the client",
    )


async def _hide_seizure(story: Story, wanted: Wanted) -> Fetched:
    """What a dishonest gateway would do: drop one disclosure, and make up an entry and sign a receipt over the rest."""
    session = story.session
    now = session.clock.now()
    prepared = prepare(CONSUMER, session.key(), wanted, now=now)
    headers = [*prepared.request.headers, ("accept", "application/sd-jwt")]
    answer = await session.http.post(session.gateways[0] + prepared.request.path, content=prepared.request.body, headers=headers)
    honest = read_answer(answer.status_code, answer.content, prepared, session.trust.current(), now=now).answer
    shortened = present(honest.record, lambda disclosure: disclosure.name != "is_seized")
    sd_hash = presentation_hash(shortened)
    leaf = canonical({**honest.leaf, "sd_hash": sd_hash, "facts": ["is_mortgaged"]})
    claims = replace(honest.receipt, sd_hash=sd_hash, entry=leaf)
    forged = issue_receipt(session.home.key(claims.gateway), shortened, claims)
    return read_answer(200, forged.encode("ascii"), prepared, session.trust.current(), now=now)


async def refuse_the_rest(story: Story) -> None:
    """An item outside the right, a replay, a stranger's signature."""
    session, buyer = story.session, story.cast.buyer
    service = "public-security/population/resident-identity"
    outside = story.fetch(story.wanted(service, buyer.id, items=["name", "id_valid_until"]))
    problem = await story.require_refusal(
        "item-not-covered", outside, "授权之外的数据项，指名拒绝", "an item outside the right is refused by name"
    )
    story.require("id_valid_until" in problem.detail, "拒绝中载明：id_valid_until", "the refusal names id_valid_until")
    prepared = prepare(CONSUMER, session.key(), story.wanted(service, buyer.id, items=["name"]), now=session.clock.now())

    async def send() -> Fetched:
        headers = [*prepared.request.headers, ("accept", "application/sd-jwt")]
        answer = await session.http.post(
            session.gateways[0] + prepared.request.path, content=prepared.request.body, headers=headers
        )
        return read_answer(answer.status_code, answer.content, prepared, session.trust.current(), now=session.clock.now())

    story.receipts.append(await send())
    await story.require_refusal("request-replayed", send(), "重放同一请求，拒绝", "the same request replayed: refused")
    stranger = session.consumer(key=SigningKey.generate())
    await story.require_refusal(
        "signature-invalid",
        stranger.fetch(story.wanted(service, buyer.id, items=["name"])),
        "陌生人的签名，拒绝",
        "a stranger's signature: refused",
    )


async def kill_the_provider(story: Story) -> None:
    """The provider's process dies: a clear 503, then recovery."""
    wanted = story.wanted("tax/taxation/deed-tax", story.cast.buyer.id, facts={"deed_tax_paid": {}})
    supervisor = story.exchange.supervisor
    supervisor.kill("tax", signal.SIGKILL)
    await asyncio.to_thread(supervisor.wait_ended, "tax")
    await story.require_refusal(
        "provider-unavailable", story.fetch(wanted), "税务进程被杀：明确告知不可用", "the tax process is killed: a clear 503"
    )
    for _ in range(RECOVERY_SECONDS * 5):
        try:
            await story.fetch(wanted)
        except Problem:
            await asyncio.sleep(0.2)
        else:
            story.require(holds=True, zh="监督进程已将其重启，服务恢复", en="the supervisor has restarted it: served again")
            return
    story.require(holds=False, zh="服务未恢复", en="not served again")


async def audit_finds_all(story: Story) -> None:
    """The auditor finds every request of the case, refused ones too."""
    audit = story.session.audit(await story.session.token("auditor"))
    found = [line async for line in audit.search_all(SearchRequest(reason="demonstration", case=CASE))]
    codes = {line.leaf["code"] for line in found if line.kind == "deny"}
    releases = sum(line.kind == "release" for line in found)
    # One more than the receipts that were kept: the answer of which the dishonest gateway made its forgery.
    wanted = len(story.receipts) + 1
    story.require(releases == wanted, f"审计员查到全部 {releases} 次放行", f"the auditor finds all {releases} releases")
    expected = {"consent-required", "consent-withdrawn", "item-not-covered", "request-replayed", "provider-unavailable"}
    said = ", ".join(sorted(codes))
    story.require(expected <= codes, f"以及每一次拒绝：{said}", f"and every refusal: {said}")


async def verify_receipts(story: Story) -> None:
    """Every receipt verifies offline against the log's checkpoint; one with a flipped byte does not."""
    trust = load_trust(await write_trust(story.session))
    directory = story.exchange.home.root / "receipts"
    for number, fetched in enumerate([*story.receipts, *story.learned], start=1):
        await keep_receipt(story.session, fetched, directory / f"{number:02}.json")
    files = sorted(directory.glob("*.json"))
    reports = [verify_receipt(file.read_bytes(), trust) for file in files]
    whole = all(report.valid for report in reports)
    story.require(
        whole, f"{len(reports)} 张回执离线验证全部通过", f"{len(reports)} receipts verify offline, down to the log's checkpoint"
    )
    broken = bytearray(files[0].read_bytes())
    at = broken.index(b'"presentation":"') + 200
    broken[at] ^= 1
    story.require(
        not verify_receipt(bytes(broken), trust).valid, "改动一个字节的回执验证不通过", "one with a flipped byte does not"
    )


STEPS: tuple[tuple[str, str, Callable[[Story], Awaitable[None]]], ...] = (
    ("向公安核验买方身份（法定职责）", "Public security: who is the buyer? (statutory duty)", ask_identity),
    ("向税务核验契税", "Tax: is the deed tax paid?", ask_deed_tax),
    ("向社保核验缴费月数（须经本人同意）", "Social security: contributed months (consent needed)", ask_contributions),
    ("向市场监管查询购房企业", "Market regulation: the company that buys", ask_licence),
    ("向不动产登记查询查封抵押", "Real estate: is the flat encumbered?", ask_encumbrance),
    ("不该放行的，一概拒绝", "What must not leave, does not", refuse_the_rest),
    ("提供部门进程中断", "The provider's process dies", kill_the_provider),
    *demo_events.STEPS,
    ("审计员查证", "The auditor looks", audit_finds_all),
    ("离线验证回执", "Receipts, checked offline", verify_receipts),
)


async def tell(session: Session, exchange: LocalExchange, speaker: Speaker) -> None:
    """Play every step in order. Raises StoryError at the first that does not come out as told."""
    story = Story(session, exchange, speaker)
    for number, (zh, en, step) in enumerate(STEPS, start=1):
        speaker.step(number, zh, en)
        try:
            await step(story)
        except (Problem, httpx2.HTTPError) as error:
            speaker.bad(f"{error!r}", f"{error!r}")
            raise StoryError(en) from error
