"""Events whose signature has been verified already, so that a hundred subscribers cost one verification."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from exchange.event import Event, verify_event
from exchange.keys import VerifyKey
from exchange.problem import Problem
from registry.client import Snapshot

MAX_KNOWN: Final = 4_096


class VerifiedEvents:
    """已验签事件. Remembers by the whole text; whose the key is, and whether it is revoked, is asked each time."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._known: OrderedDict[str, Event] = OrderedDict()

    def learn(self, text: str, event: Event) -> None:
        """This text was verified, and is this event."""
        self._known[text] = event
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def verify(self, text: str, snapshot: Snapshot) -> Event:
        """The event. Raises `record-invalid`, or `key-revoked` where its publisher's key may not be relied on any more."""

        def key_of(kid: str) -> VerifyKey | None:
            entry = snapshot.key(kid)
            return None if entry is None else entry.key

        event = self._known.get(text)
        if event is None:
            event = verify_event(text, key_of)
            self.learn(text, event)
        entry = snapshot.key(event.key.kid)
        if entry is None or entry.owner != event.claims.publisher or entry.key != event.key:
            raise Problem("record-invalid", reason="the event is signed by another system than its publisher")
        if entry.revoked:
            raise Problem("key-revoked", reason="the publisher's key is revoked")
        return event
