"""Which logs and witnesses are believed, and which of the witnesses together are enough: C2SP tlog-policy, one file of lines.

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> <k>|any|all <member>…
    quorum <name>|none

Names hold within the file only. A line refers to names of lines above it, and each name is a member once, so that every
witness counts in one way. The file is octets: names that look alike and are spelt differently are different.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from audit.note import NoteError, SignatureType, VerifiedSignature, VerifierKey, parse_decimal, parse_vkey

MAX_POLICY_BYTES: Final = 65_536
MAX_LOGS: Final = 32
MAX_WITNESSES: Final = 64
MAX_GROUPS: Final = 64
NONE: Final = "none"

_ALLOWED: Final = re.compile(rb"[\t\n\x20-\x7e\x80-\xff]*")
_GAP: Final = re.compile(r"[ \t]+")
_MAX_URL: Final = 2048


class PolicyError(ValueError):
    """A policy is malformed, or contradicts itself."""


@dataclass(frozen=True, slots=True)
class KnownLog:
    """受信日志. A log's key, whose name is the log's origin, and where it can be reached."""

    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class KnownWitness:
    """受信见证方. A witness by its name within the policy; `url` is its submission prefix (tlog-witness)."""

    name: str
    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """见证组. Has witnessed what at least `threshold` of its members (witnesses or groups) have."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """见证策略. Logs, witnesses, groups and the name of the quorum; None: no cosignature is asked for. Raises PolicyError."""

    logs: tuple[KnownLog, ...] = ()
    witnesses: tuple[KnownWitness, ...] = ()
    groups: tuple[Group, ...] = ()
    quorum: str | None = None
    _names: Mapping[VerifierKey, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.logs) > MAX_LOGS or len(self.witnesses) > MAX_WITNESSES or len(self.groups) > MAX_GROUPS:
            raise PolicyError("the policy names more than a policy may")
        self._require_keys()
        defined, members = {witness.name for witness in self.witnesses}, set[str]()
        if len(defined) != len(self.witnesses):
            raise PolicyError("two witnesses of one name")
        for group in self.groups:
            _require_group(group, defined, members)
            defined.add(group.name)
            members.update(group.members)
        if NONE in defined:
            raise PolicyError(f"{NONE} is the name of no witness and no group")
        if self.quorum is not None and self.quorum not in defined:
            raise PolicyError("the quorum is no witness and no group of the policy")
        object.__setattr__(self, "_names", {witness.key: witness.name for witness in self.witnesses})

    def _require_keys(self) -> None:
        if any(log.key.signature_type is not SignatureType.ED25519 for log in self.logs):
            raise PolicyError("a log signs with a key of type 0x01")
        if any(witness.key.signature_type is not SignatureType.COSIGNATURE for witness in self.witnesses):
            raise PolicyError("a witness cosigns with a key of type 0x04")
        # One key under two names would count twice; and a log that is its own witness says nothing twice.
        publics = [log.key.public for log in self.logs] + [witness.key.public for witness in self.witnesses]
        if len(set(publics)) != len(publics):
            raise PolicyError("each log and each witness has a key of its own")

    @property
    def witness_keys(self) -> tuple[VerifierKey, ...]:
        """The keys of all witnesses."""
        return tuple(witness.key for witness in self.witnesses)

    def is_met(self, cosigners: Iterable[VerifierKey]) -> bool:
        """Whether the witnesses with these keys are the quorum; other keys count for nothing."""
        if self.quorum is None:
            return True
        met = {self._names[key] for key in cosigners if key in self._names}
        for group in self.groups:  # a group stands below its members
            if sum(member in met for member in group.members) >= group.threshold:
                met.add(group.name)
        return self.quorum in met

    def met_at(self, cosignatures: Sequence[VerifiedSignature]) -> int | None:
        """The latest time (Unix seconds) at or after which a quorum has cosigned; None if no quorum has.

        So a checkpoint is as fresh as the oldest cosignature that it takes to make the quorum.
        """
        times = sorted({signature.at for signature in cosignatures if signature.at is not None}, reverse=True)
        for at in times:
            if self.is_met(each.key for each in cosignatures if each.at is not None and each.at >= at):
                return at
        return None

    def encode(self) -> bytes:
        """The policy as a file."""
        lines = [_line("log", str(log.key), log.url) for log in self.logs]
        lines += [_line("witness", witness.name, str(witness.key), witness.url) for witness in self.witnesses]
        lines += [_line("group", group.name, str(group.threshold), *group.members) for group in self.groups]
        lines.append(_line("quorum", self.quorum or NONE))
        return "".join(lines).encode("utf-8", "surrogateescape")


def _line(*parts: str | None) -> str:
    return " ".join(part for part in parts if part is not None) + "\n"


def _require_group(group: Group, defined: set[str], members: set[str]) -> None:
    if group.name in defined:
        raise PolicyError("a name is defined twice")
    if not 1 <= group.threshold <= len(group.members):
        raise PolicyError("a group asks for at least one and at most all of its members")
    if len(set(group.members)) != len(group.members) or members & set(group.members):
        raise PolicyError("each name is a member once")
    if not set(group.members) <= defined:
        raise PolicyError("a member of a group is not defined above it")


@dataclass(slots=True)
class _Reading:
    """One run through a file, line by line, so that what a line refers to must stand above it."""

    logs: list[KnownLog] = field(default_factory=list)
    witnesses: list[KnownWitness] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    quorum: str | None = None

    def take(self, words: Sequence[str]) -> None:
        match words:
            case ["log", vkey]:
                self.logs.append(KnownLog(parse_vkey(vkey)))
            case ["log", vkey, url]:
                self.logs.append(KnownLog(parse_vkey(vkey), _parse_url(url)))
            case ["witness", name, vkey]:
                self.witnesses.append(KnownWitness(self._new(name), parse_vkey(vkey)))
            case ["witness", name, vkey, url]:
                self.witnesses.append(KnownWitness(self._new(name), parse_vkey(vkey), _parse_url(url)))
            case ["group", name, threshold, *members]:
                self._take_group(name, threshold, members)
            case ["quorum", name]:
                self._take_quorum(name)
            case _:
                raise PolicyError("neither a log, a witness, a group nor a quorum")

    @property
    def _defined(self) -> set[str]:
        return {witness.name for witness in self.witnesses} | {group.name for group in self.groups}

    def _new(self, name: str) -> str:
        if name == NONE or name in self._defined:
            raise PolicyError("a name that is taken")
        return name

    def _take_group(self, name: str, threshold: str, members: Sequence[str]) -> None:
        least = {"any": 1, "all": len(members)}.get(threshold)
        group = Group(self._new(name), parse_decimal(threshold) if least is None else least, tuple(members))
        _require_group(group, self._defined, {member for each in self.groups for member in each.members})
        self.groups.append(group)

    def _take_quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise PolicyError("a second quorum")
        if name != NONE and name not in self._defined:
            raise PolicyError("the quorum is not defined above it")
        self.quorum = name


def _parse_url(text: str) -> str:
    if len(text) > _MAX_URL or not text.startswith(("https://", "http://")):
        raise PolicyError("a URL is http or https and not too long")
    return text


def parse_policy(raw: bytes) -> Policy:
    """Read a policy. Raises PolicyError, which names the line."""
    if len(raw) > MAX_POLICY_BYTES:
        raise PolicyError("the policy is too large")
    if not _ALLOWED.fullmatch(raw):
        raise PolicyError("a policy holds no control character but tab and newline")
    if not raw.endswith(b"\n"):
        raise PolicyError("each line of a policy ends in a newline")
    reading = _Reading()
    # Octets that are no UTF-8 stay what they are, so that names are compared as octets.
    for number, line in enumerate(raw.decode("utf-8", "surrogateescape").split("\n"), 1):
        words = _GAP.split(line.strip(" \t"))
        if words == [""] or words[0].startswith("#"):
            continue
        try:
            reading.take(words)
        except (PolicyError, NoteError) as error:
            _refuse(number, error)
    if reading.quorum is None:
        raise PolicyError("a policy has a quorum")
    quorum = None if reading.quorum == NONE else reading.quorum
    return Policy(tuple(reading.logs), tuple(reading.witnesses), tuple(reading.groups), quorum)


def _refuse(number: int, error: ValueError) -> NoReturn:
    raise PolicyError(f"line {number} of the policy: {error}") from error


def load_policy(path: Path) -> Policy:
    """Read a policy file. Raises OSError or PolicyError."""
    return parse_policy(path.read_bytes())
