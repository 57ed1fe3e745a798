"""Consents: asking for one, answering, withdrawing, handing a grant to a gateway, and what runs out by itself."""

from __future__ import annotations

import secrets
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.client import GroundKind
from exchange.clock import Clock, rfc3339
from exchange.keys import SigningKey
from exchange.log import get_logger
from exchange.problem import Problem
from exchange.subjects import CONSENT_CHANGED
from exchange.tokens import Person, Role
from identity import store
from identity.announce import Announcer
from identity.catalogue import Notice, parse_service, parse_titles, require_offered
from identity.deletion import begin_duty
from identity.entries import consent_entry, withdrawal
from identity.grant import sign_grant
from identity.ledger import Ledger
from identity.model import (
    BLIND_BYTES,
    Consent,
    ConsentGrant,
    ConsentState,
    ConsentTerms,
    ConsentText,
    Grantor,
    GrantorKind,
    comes_of_age_at,
    require_move,
    subject_commitment,
)
from identity.notice_text import write_texts
from identity.policy import Policy

PAGE = 50
SETTLE_BATCH = 200
RECONCILE_PAGE = 1000
MAX_OPEN = 20
"""Requests of one consumer that may wait for one person's answer."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HandedGrant:
    """转交的同意. What a gateway is given: the signed grant, the blind that opens its subject, and its state now."""

    grant: str
    blind: bytes
    state: ConsentState


@dataclass(frozen=True, slots=True)
class ConsentRegister:
    """同意登记簿. Every consent, from being asked for to its end; each change stands in the log before it is answered."""

    engine: AsyncEngine
    ledger: Ledger
    announcer: Announcer
    clock: Clock
    policy: Policy
    key: SigningKey

    async def ask(self, terms: ConsentTerms, subject: str) -> tuple[Consent, bool]:
        """Ask a person for consent; the request that already waits, and false, when the same is asked again.

        Raises `unknown-service`, `malformed-request` for what the service or purpose does not have, `conflict` while a
        decline still stands, `quota-exceeded` when too many wait for this person.
        """
        now = int(self.clock.now())
        if terms.valid_until > now + self.policy.seconds("consent-lasts-at-most") or terms.valid_until <= now:
            raise Problem("malformed-request", "valid_until is past, or further away than the policy allows")
        async with self.engine.begin() as connection:
            notice = await _find_notice(connection, terms)
            person = require_offered(notice.service, terms, subject)
            await store.serialise_asking(connection, terms.consumer, person)
            if twin := await store.find_open_twin(connection, terms.consumer, person, terms.fingerprint(), now):
                consent, is_new = twin, False
            else:
                await self._require_may_ask(connection, terms, person, now)
                consent, is_new = self._request(notice, terms, person, now), True
                await store.add_consent(connection, consent)
                entry = consent_entry(consent, "requested", self.clock.now_ms(), by=terms.consumer)
                await store.add_pending(connection, consent.id, entry)
        await self.ledger.flush(consent.id)
        return consent, is_new

    async def show_to_consumer(self, consumer: str, consent_id: str) -> Consent:
        """A consent for the consumer that asked. Raises `not-found` alike for an unknown one and for another's."""
        async with self.engine.connect() as connection:
            consent = await store.find_consent(connection, consent_id)
        if consent is None or consent.terms.consumer != consumer:
            raise Problem("not-found")
        return consent.at(self.clock.now())

    async def show(self, person: Person, consent_id: str) -> Consent:
        """A consent for the person whom it is about, or who answers for them. Raises `not-found` as above."""
        async with self.engine.connect() as connection:
            consent, _ = await self._find_theirs(connection, person, consent_id)
        return consent

    async def page(self, person: Person, *, state: ConsentState | None, before: int | None) -> list[Consent]:
        """The person's own consents and those of wards, youngest first, those before number `before`."""
        if person.subject is None:
            return []
        now = self.clock.now()
        async with self.engine.connect() as connection:
            wards = await store.list_wards(connection, person.subject) if Role.CITIZEN in person.roles else []
            subjects = {person.subject, *(ward.ward for ward in wards if self._is_minor(ward.ward, now))}
            found = await store.list_consents(connection, subjects, state=state, before=before, limit=PAGE, now=int(now))
        return [consent.at(now) for consent in found]

    async def grant(self, person: Person, consent_id: str, *, text_hash: str, language: str) -> Consent:
        """Grant what was shown. Repeating it changes nothing.

        Raises `not-found`, `forbidden` for a minor's own grant, `conflict` unless it waits for an answer and the text is the
        one that was shown, `audit-unavailable` when it cannot be recorded: then it does not count yet.
        """
        now = self.clock.now()
        async with self.engine.begin() as connection:
            consent, grantor = await self._find_theirs(connection, person, consent_id, lock=True)
            if grantor.kind is GrantorKind.SELF and consent.subject_kind == "person" and self._is_minor(consent.subject, now):
                raise Problem("forbidden", f"below the age of {self._years} a guardian answers")
            shown = next((text for text in consent.texts if (text.language, text.hash) == (language, text_hash)), None)
            if shown is None:
                raise Problem("conflict", "this is not the text that was shown", state=consent.state.value)
            if consent.state is not ConsentState.GRANTED:
                require_move(consent.state, ConsentState.GRANTED)
                consent = await self._save_grant(connection, consent, grantor, person, shown)
        await self.ledger.flush(consent_id)
        return consent

    async def decline(self, person: Person, consent_id: str) -> Consent:
        """Decline. Repeating it changes nothing. Raises `not-found`, `conflict`, `audit-unavailable`."""
        now = int(self.clock.now())
        async with self.engine.begin() as connection:
            consent, grantor = await self._find_theirs(connection, person, consent_id, lock=True)
            if consent.state is not ConsentState.DECLINED:
                require_move(consent.state, ConsentState.DECLINED)
                consent = replace(consent, state=ConsentState.DECLINED, answered_at=now, ended_at=now)
                await store.save_move(connection, consent)
                entry = consent_entry(consent, "declined", self.clock.now_ms(), by=grantor.kind.value)
                await store.add_pending(connection, consent.id, entry)
        await self.ledger.flush(consent_id)
        return consent

    async def withdraw(self, person: Person, consent_id: str) -> Consent:
        """Withdraw: once this has returned, no release is placed on the consent. Repeating it changes nothing.

        Raises `not-found`, `conflict` unless it is granted, `audit-unavailable` when the fence cannot be reached: then the
        withdrawal is not confirmed, and is finished at the next start at the latest.
        """
        async with self.engine.begin() as connection:
            consent, _ = await self._find_theirs(connection, person, consent_id, lock=True)
            if consent.state is ConsentState.WITHDRAWN:
                return consent
            require_move(consent.state, ConsentState.WITHDRAWN)
            # If we crash after this, `reconcile` asks for the fence: a withdrawal once asked for is carried out.
            await store.note_withdrawal_asked(connection, consent_id, int(self.clock.now()))
        return await self._finish_withdrawal(consent)

    async def hand_out(self, consent_id: str) -> HandedGrant:
        """The grant for a gateway. Raises `not-found` where nothing was granted, `audit-unavailable` while it is unrecorded."""
        async with self.engine.connect() as connection:
            consent = await store.find_consent(connection, consent_id)
            is_unrecorded = consent is not None and await store.has_pending(connection, consent_id)
        if consent is None or consent.grant is None or consent.blind is None:
            raise Problem("not-found")
        if is_unrecorded:
            await self.ledger.flush(consent_id)
        consent = consent.at(self.clock.now())
        is_going = consent.state is ConsentState.GRANTED and consent.withdrawal_asked_at is not None
        return HandedGrant(consent.grant or "", consent.blind or b"", ConsentState.WITHDRAWN if is_going else consent.state)

    async def use_up(self, consent_id: str, gateway: str) -> Consent:
        """Note what the fence told a gateway: the uses are used up. Raises `not-found`, and `conflict` if it has no limit."""
        now = int(self.clock.now())
        async with self.engine.begin() as connection:
            consent = await store.find_consent(connection, consent_id, lock=True)
            if consent is None or consent.grant is None:
                raise Problem("not-found")
            consent = consent.at(now)
            if consent.terms.use.max_uses is None:
                raise Problem("conflict", "the consent has no limited number of uses")
            if consent.state is not ConsentState.USED_UP:
                require_move(consent.state, ConsentState.USED_UP)
                consent = await self._end(connection, consent, ConsentState.USED_UP, now, by=gateway)
        await self.ledger.flush(consent_id)
        return consent

    async def settle(self) -> int:
        """Write down what has run out by itself, and enter in the log what still lacks its entry; how many moves it made."""
        now = int(self.clock.now())
        moved = 0
        while True:
            async with self.engine.begin() as connection:
                batch = await store.lock_run_out(connection, now, SETTLE_BATCH)
                for consent in batch:
                    over = consent.at(now)
                    await self._end(connection, consent, over.state, over.ended_at or now, by="time")
            moved += len(batch)
            if len(batch) < SETTLE_BATCH:
                break
        await self.ledger.flush()
        return moved

    async def reconcile(self) -> None:
        """Finish withdrawals that a crash, or a database restored from a copy, left behind the fence."""
        async with self.engine.connect() as connection:
            unfinished = set(await store.list_half_withdrawn(connection))
            after = -1
            while page := await store.list_consents_in(connection, after, RECONCILE_PAGE):
                after = page[-1][0]
                unfinished |= await self.ledger.find_fenced(GroundKind.CONSENT, [consent_id for _, consent_id in page])
        for consent_id in sorted(unfinished):
            async with self.engine.connect() as connection:
                consent = await store.find_consent(connection, consent_id)
            if consent is not None and consent.state is ConsentState.GRANTED:
                await self._finish_withdrawal(consent)
                log.info("withdrawal-finished-at-start-up")

    async def reassert(self) -> None:
        """Withdraw anew whatever the fence has lost: the log's database was put back to an older copy."""
        after = -1
        while True:
            async with self.engine.connect() as connection:
                page = await store.list_consents_in(connection, after, RECONCILE_PAGE, ConsentState.WITHDRAWN)
            if not page:
                return
            after, named = page[-1][0], [consent_id for _, consent_id in page]
            for consent_id in sorted(set(named) - await self.ledger.find_fenced(GroundKind.CONSENT, named)):
                async with self.engine.connect() as connection:
                    consent = await store.find_consent(connection, consent_id)
                if consent is not None:
                    await self.ledger.fence(withdrawal(consent, self.clock.now_ms()))
                    log.warning("withdrawal-reasserted")

    async def _finish_withdrawal(self, consent: Consent) -> Consent:
        now = int(self.clock.now())
        # The fence first, our own state second. A crash before the fence: only the note stands, `reconcile` goes on from
        # there. A crash after it: no release is placed any more, and `reconcile` writes our state.
        await self.ledger.fence(withdrawal(consent, self.clock.now_ms()))
        async with self.engine.begin() as connection:
            current = await store.find_consent(connection, consent.id, lock=True)
            if current is None or current.state is not ConsentState.GRANTED:
                return current or consent  # another call, or another process, was here in the meantime
            await store.note_withdrawal_asked(connection, consent.id, now)
            withdrawn = replace(current, state=ConsentState.WITHDRAWN, ended_at=now)
            await store.save_move(connection, withdrawn)
            await begin_duty(connection, withdrawn, self.policy, self.clock.now_ms())
        with suppress(Problem):
            # It is withdrawn; that the consumer has to delete is entered in the next round, if not now.
            await self.ledger.flush(consent.id)
        await self.announcer.announce(CONSENT_CHANGED, {"consent": consent.id, "state": ConsentState.WITHDRAWN.value})
        return withdrawn

    async def _save_grant(
        self, connection: AsyncConnection, consent: Consent, grantor: Grantor, person: Person, shown: ConsentText
    ) -> Consent:
        now, blind = int(self.clock.now()), secrets.token_bytes(BLIND_BYTES)
        until = consent.terms.valid_until
        if grantor.kind is GrantorKind.GUARDIAN:
            # 个人信息保护法 art. 31: from that birthday on the person decides, so the guardian's word ends there.
            until = min(until, comes_of_age_at(consent.subject, self._years))
        start = max(consent.terms.valid_from or now, now)
        if until <= start:
            raise Problem("conflict", "nothing would be left of the time that was asked for", state=consent.state.value)
        grant = ConsentGrant(
            id=consent.id,
            subject_commit=subject_commitment(blind, consent.subject),
            granted_by=grantor,
            terms=replace(consent.terms, valid_from=start, valid_until=until),
            text_hash=shown.hash,
            language=shown.language,
            assurance=person.assurance,
            issued_at=now,
        )
        granted = replace(
            consent,
            state=ConsentState.GRANTED,
            answered_at=now,
            granted_by=grantor.kind,
            grant=sign_grant(self.key, grant),
            blind=blind,
            valid_until=until,
        )
        columns = {"granted_by": grantor.kind.value, "grant": granted.grant, "blind": blind, "valid_until": until}
        await store.save_move(connection, granted, **columns)
        details = {"jws": granted.grant, "language": shown.language, "text": shown.text, "reference": grantor.reference}
        entry = consent_entry(granted, "granted", self.clock.now_ms(), by=grantor.kind.value, details=details)
        await store.add_pending(connection, consent.id, entry)
        return granted

    async def _end(self, connection: AsyncConnection, consent: Consent, state: ConsentState, at: int, *, by: str) -> Consent:
        ended = replace(consent, state=state, ended_at=at)
        await store.save_move(connection, ended)
        await store.add_pending(connection, consent.id, consent_entry(ended, state.value, self.clock.now_ms(), by=by))
        return ended

    def _request(self, notice: Notice, terms: ConsentTerms, subject: str, now: int) -> Consent:
        kind = notice.service.subject_kind
        years = self._years if kind == "person" and self._is_minor(subject, now) else None
        return Consent(
            id=str(uuid.uuid4()),
            number=0,
            subject=subject,
            subject_kind=kind,
            terms=terms,
            texts=write_texts(notice, terms, guardian_until_years=years),
            state=ConsentState.REQUESTED,
            requested_at=now,
            answer_by=min(now + self.policy.seconds("answer-within"), terms.valid_until),
        )

    async def _require_may_ask(self, connection: AsyncConnection, terms: ConsentTerms, subject: str, now: int) -> None:
        declined = await store.last_declined_at(connection, terms.consumer, subject, terms.purpose)
        again = None if declined is None else declined + self.policy.seconds("ask-again-after-decline")
        if again is not None and now < again:
            detail = f"the person declined; this purpose may be asked for again from {rfc3339(again)}"
            raise Problem("conflict", detail, ask_again_at=rfc3339(again))
        if await store.count_open(connection, terms.consumer, subject, now) >= MAX_OPEN:
            raise Problem("quota-exceeded", "too many requests wait for this person's answer", retry_after=3600)

    async def _find_theirs(
        self, connection: AsyncConnection, person: Person, consent_id: str, *, lock: bool = False
    ) -> tuple[Consent, Grantor]:
        """A consent and as whom the person may answer it. Raises `not-found`, the same for unknown and not theirs."""
        consent = await store.find_consent(connection, consent_id, lock=lock)
        grantor = await self._standing(connection, person, consent) if consent is not None else None
        if consent is None or grantor is None:
            raise Problem("not-found")
        return consent.at(self.clock.now()), grantor

    async def _standing(self, connection: AsyncConnection, person: Person, consent: Consent) -> Grantor | None:
        if person.subject is None:
            return None
        if consent.subject_kind == "enterprise":
            is_agent = Role.AGENT in person.roles and person.subject == consent.subject
            return Grantor(GrantorKind.AGENT, person.account) if is_agent else None
        if Role.CITIZEN not in person.roles:
            return None
        if person.subject == consent.subject:
            return Grantor(GrantorKind.SELF)
        if not self._is_minor(consent.subject, self.clock.now()):
            return None
        wards = await store.list_wards(connection, person.subject)
        return next((Grantor(GrantorKind.GUARDIAN, ward.reference) for ward in wards if ward.ward == consent.subject), None)

    @property
    def _years(self) -> int:
        return self.policy.figure("guardian-consent-below")

    def _is_minor(self, subject: str, now: float) -> bool:
        return now < comes_of_age_at(subject, self._years)


async def _find_notice(connection: AsyncConnection, terms: ConsentTerms) -> Notice:
    service = await store.find_entry(connection, "service", terms.service)
    purpose = await store.find_entry(connection, "purpose", terms.purpose)
    consumer = await store.find_entry(connection, "consumer", terms.consumer)
    if service is None:
        raise Problem("unknown-service")
    if purpose is None:
        raise Problem("malformed-request", "the purpose is not registered")
    if consumer is None:
        raise Problem("malformed-request", "the consumer is not in the catalogue, so no text could say who asks")
    return Notice(parse_service(terms.service, service), parse_titles(consumer), consumer["contact"], parse_titles(purpose))
