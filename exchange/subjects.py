"""NATS subjects, built from identifiers only: a person never stands in one."""

from __future__ import annotations

from exchange.identifiers import MemberId, ServiceId, SubsystemId

PREFIX = "ex.v1"
SNAPSHOT_CHANGED = f"{PREFIX}.ctl.snapshot"
KEYS_CHANGED = f"{PREFIX}.ctl.keys"
CONSENT_CHANGED = f"{PREFIX}.ctl.consent"
CHECKPOINT_PUBLISHED = f"{PREFIX}.ctl.checkpoint"


def request_subject(service: ServiceId) -> str:
    """Where a provider listens for requests to one service."""
    member = service.subsystem.member
    tokens = (member.instance, member.member_class, member.member, service.subsystem.subsystem, service.service)
    return f"{PREFIX}.req.{'.'.join(tokens)}"


def requests_of_member(member: MemberId) -> str:
    """All request subjects of one member."""
    return f"{PREFIX}.req.{member.instance}.{member.member_class}.{member.member}.>"


def reply_inbox(component: str) -> str:
    """The inbox prefix of one component; nobody else may listen below it."""
    kind, _, number = component.partition("-")
    return f"_INBOX.{kind}.{number}" if kind == "gateway" and number else f"_INBOX.{component}"


def event_subject(publisher: SubsystemId, event_type: str) -> str:
    """Where a publisher's events of one type go; a dotted type is further tokens."""
    member = publisher.member
    tokens = (member.instance, member.member_class, member.member, publisher.subsystem, event_type)
    return f"{PREFIX}.evt.{'.'.join(tokens)}"


def events_of_member(member: MemberId) -> str:
    """All event subjects of one member."""
    return f"{PREFIX}.evt.{member.instance}.{member.member_class}.{member.member}.>"


def event_stream(member: MemberId) -> str:
    """The name of the stream that keeps a member's events: one for each, so that its numbers are the publisher's own."""
    return f"EVT-{member.instance}-{member.member_class}-{member.member}"
