"""The clock, the subjects on the bus, and the way to a database."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.clock import ManualClock, SystemClock, parse_rfc3339, rfc3339
from exchange.database import with_password
from exchange.engine import sqlalchemy_url
from exchange.identifiers import MemberId, ServiceId, SubsystemId
from exchange.subjects import (
    CHECKPOINT_PUBLISHED,
    CONSENT_CHANGED,
    KEYS_CHANGED,
    SNAPSHOT_CHANGED,
    reply_inbox,
    request_subject,
    requests_of_member,
)

MEMBER = MemberId("CN-YA", "GOV", "public-security")
SERVICE = ServiceId(SubsystemId(MEMBER, "population"), "resident-identity")


def test_a_manual_clock_moves_by_hand_only() -> None:
    clock = ManualClock(1_760_000_000.5)
    assert (clock.now(), clock.now_ms()) == (1_760_000_000.5, 1_760_000_000_500)
    clock.advance(60)
    clock.advance(-0.5)
    assert clock.now() == 1_760_000_060


def test_the_systems_clock_tells_the_time() -> None:
    clock = SystemClock()
    before = clock.now()
    assert before <= clock.now_ms() / 1000 + 0.001
    assert before > 1_700_000_000


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis adds it
def test_times_in_documents_are_utc_and_come_back_to_the_second(moment: datetime) -> None:
    seconds = int(moment.timestamp())
    text = rfc3339(moment.timestamp())
    assert text.endswith("Z")
    assert len(text) == 20
    assert parse_rfc3339(text) == seconds


def test_a_fraction_of_a_second_may_be_read() -> None:
    assert parse_rfc3339("2026-10-09T08:53:20.25Z") == parse_rfc3339("2026-10-09T08:53:20Z") + 0.25


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Z",
        "2026-10-09",
        "2026-10-09T08:53:20",
        "2026-10-09T08:53:20+08:00",
        "2026-10-09T08:53:20z",
        "2026-10-09 08:53:20Z",
        "2026-10-09T08:53Z",
        "20261009T085320.000000Z",
        "2026-W41-5T08:53:20.00Z",
        "2026-13-09T08:53:20Z",
        "2026-02-29T08:53:20Z",
        "2026-10-09T25:53:20Z",
        "２０２６-10-09T08:53:20Z",
        "2026-10-09T08:53:20Z\n",
        "2026-10-09T08:53:20.1234567Z",
    ],
)
def test_no_other_form_of_a_time_is_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_rfc3339(text)


def test_a_subject_on_the_bus_is_made_of_identifiers_and_names_nobody() -> None:
    assert request_subject(SERVICE) == "ex.v1.req.CN-YA.GOV.public-security.population.resident-identity"
    assert requests_of_member(MEMBER) == "ex.v1.req.CN-YA.GOV.public-security.>"
    assert request_subject(SERVICE).startswith(requests_of_member(MEMBER)[:-1])


@given(st.lists(st.text("abcXYZ019_-", min_size=1, max_size=8), min_size=5, max_size=5, unique=True))
def test_two_services_never_share_a_subject(segments: list[str]) -> None:
    def subject(parts: list[str]) -> str:
        return request_subject(ServiceId(SubsystemId(MemberId(*parts[:3]), parts[3]), parts[4]))

    assert subject(segments).count(".") == 7
    assert not set(subject(segments)) & set("*> \t")
    assert subject(segments) != subject(segments[::-1])


def test_announcements_have_subjects_of_their_own() -> None:
    subjects = {SNAPSHOT_CHANGED, KEYS_CHANGED, CONSENT_CHANGED, CHECKPOINT_PUBLISHED}
    assert len(subjects) == 4
    assert all(subject.startswith("ex.v1.ctl.") for subject in subjects)


def test_inboxes_of_two_components_never_overlap() -> None:
    assert reply_inbox("gateway-1") == "_INBOX.gateway.1"
    assert reply_inbox("public-security") == "_INBOX.public-security"
    names = ["gateway-1", "gateway-2", "registry", "public-security", "market-regulation", "tax"]
    inboxes = [reply_inbox(name) + "." for name in names]
    assert not any(one != other and other.startswith(one) for one in inboxes for other in inboxes)


def test_a_password_stands_in_a_file_and_is_quoted_into_the_url(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("p@ss/w:rd?#%\n", encoding="utf-8")
    url = "postgresql://yitong_audit@127.0.0.1:5432/yitong?sslmode=disable"
    assert with_password(url, None) == url
    whole = with_password(url, file)
    assert whole == "postgresql://yitong_audit:p%40ss%2Fw%3Ard%3F%23%25@127.0.0.1:5432/yitong?sslmode=disable"
    assert sqlalchemy_url(whole).startswith("postgresql+asyncpg://yitong_audit:")
