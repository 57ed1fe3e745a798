"""Where bad requests are made: well signed ones with something wrong in them, and ones with something wrong about them."""

from __future__ import annotations

import base64
import json
import secrets
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deploy.home import CONSUMER, INSTANCE
from exchange.canonical import b64url
from exchange.clock import SystemClock
from exchange.envelope import HttpRequest, Tag, content_digest, sign_request, signature_base
from exchange.identifiers import person_check_digit
from exchange.keys import SigningKey

PATH = f"/r1/{INSTANCE}/GOV/public-security/population/resident-identity"
COVERED = (
    *("@method", "@path", "@query", "content-digest", "content-type", "x-road-client", "x-road-id"),
    *("x-road-userid", "x-road-issue", "exchange-purpose"),
)
Headers = Sequence[tuple[str, str]]


def person(first_seventeen: str) -> str:
    """An ID number with its check digit."""
    return first_seventeen + person_check_digit(first_seventeen)


# Nobody in the registers; whatever of these is seen in a log was written there by a request.
CANARY = person("11010119870605473")
OTHER_CANARY = person("11010119870605474")


@dataclass(frozen=True, slots=True)
class Forge:
    """Keys of the consumers, and a subject that exists."""

    authority: str
    key: SigningKey
    bank: SigningKey
    gateway: SigningKey
    subject: str

    def body(self, **members: object) -> bytes:
        """A body that is in order but for what is named; `...` leaves a member out."""
        whole: dict[str, object] = {"subject": CANARY, "items": ["name"], **members}
        return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode("ascii")

    def plain(
        self, body: bytes | None = None, *, path: str = PATH, query: str = "", add: Headers = (), without: Collection[str] = ()
    ) -> HttpRequest:
        """An unsigned request; `add` replaces headers of the same name."""
        headers = {
            "content-type": "application/json",
            "x-road-client": CONSUMER,
            "x-road-id": str(uuid.uuid4()),
            "exchange-purpose": "real-estate-transfer",
            "x-road-userid": "officer-007",
            "x-road-issue": "2026-0417",
        }
        headers |= dict(add)
        kept = [(name, value) for name, value in headers.items() if name not in without]
        return HttpRequest("POST", path, query, self.authority, kept, self.body() if body is None else body)

    def signed(
        self, body: bytes | None = None, *, seconds: float = 0, key: SigningKey | None = None, **plain: Any
    ) -> HttpRequest:
        """A signed request, made `seconds` from now."""
        return sign_request(key or self.key, self.plain(body, **plain), tag=Tag.REQUEST, now=now() + seconds)

    def covering(
        self, components: Sequence[str] = COVERED, *, parameters: str = "", listed: str = "", **more: Any
    ) -> HttpRequest:
        """A request whose signature covers exactly `components`.

        `parameters` replaces those behind the list, `listed` the list itself (what is signed then is the list as it stands).
        """
        plain = self.plain(**more)
        plain = replace(plain, headers=[*plain.headers, ("content-digest", content_digest(plain.body))])
        names = listed or "(" + " ".join(f'"{name}"' for name in components) + ")"
        raw = names + (parameters or self.parameters())
        base = signature_base(plain, [name for name in components if name[0] == "@" or plain.values(name)], raw)
        return self.with_signature(plain, f"exchange={raw}", f"exchange=:{base64.b64encode(self.key.sign(base)).decode()}:")

    def parameters(self, **replaced: object) -> str:
        """The parameters of a signature, in order but for what is named; None leaves one out."""
        usual = {
            "created": int(now()),
            "nonce": b64url(secrets.token_bytes(16)),
            "keyid": self.key.kid,
            "tag": "exchange-request",
        }
        members = {**usual, **replaced}
        texts = {name: f'"{value}"' if isinstance(value, str) else value for name, value in members.items() if value is not None}
        return "".join(f";{name}={value}" for name, value in texts.items())

    def with_signature(self, request: HttpRequest, signature_input: str, signature: str) -> HttpRequest:
        """A request with these signature headers."""
        kept = [(name, value) for name, value in request.headers if name not in {"signature", "signature-input"}]
        return replace(request, headers=[*kept, ("signature-input", signature_input), ("signature", signature)])

    def asking(self, path: str, query: str = "") -> bytes:
        """The bytes of a signed metadata request whose path is sent as it stands here."""
        request = HttpRequest("GET", path, query, self.authority, [("x-road-client", CONSUMER)], b"")
        return self.wire(sign_request(self.key, request, tag=Tag.CONTROL, now=now()), length=None)

    def wire(
        self,
        request: HttpRequest | None = None,
        *,
        line: str = "",
        target: str = "",
        add: Sequence[str | bytes] = (),
        without: Collection[str] = (),
        length: str | None = "",
        body: bytes | None = None,
        host: bool = True,
    ) -> bytes:
        """The bytes of a request (None: one in order).

        `line` and `target` replace what stands first, `add` are further header lines; `length` is the Content-Length as it is
        said (None: not said), `body` what is sent instead of the body.
        """
        request = self.signed() if request is None else request
        query = f"?{request.query}" if request.query else ""
        first = line or f"{request.method} {target or request.path + query} HTTP/1.1"
        headers = [f"{name}: {value}".encode() for name, value in request.headers if name not in without]
        headers += [entry if isinstance(entry, bytes) else entry.encode("utf-8") for entry in add]
        if length is not None:
            headers.append(f"content-length: {length or len(request.body)}".encode("ascii"))
        if host:
            headers.insert(0, f"host: {self.authority}".encode("ascii"))
        sent = request.body if body is None else body
        return first.encode("utf-8") + b"\r\n" + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + sent

    def chunked(
        self, *sizes_and_chunks: tuple[str, bytes], end: bytes = b"0\r\n\r\n", request: HttpRequest | None = None
    ) -> bytes:
        """A request whose body comes in chunks, each with its size as it is said."""
        request = self.signed() if request is None else request
        chunks = b"".join(size.encode("ascii") + b"\r\n" + chunk + b"\r\n" for size, chunk in sizes_and_chunks)
        return self.wire(request, add=["transfer-encoding: chunked"], length=None, body=chunks + end)

    def whole_in_chunks(self, request: HttpRequest, size: int, *, extension: str = "", end: bytes = b"0\r\n\r\n") -> bytes:
        """The body of a request in chunks of `size` bytes."""
        pieces = [request.body[at : at + size] for at in range(0, len(request.body), size)]
        return self.chunked(*((f"{len(piece):x}{extension}", piece) for piece in pieces), end=end, request=request)


@dataclass(frozen=True, slots=True)
class LocalForge(Forge):
    """The same for an outway: where others sign, a local system shows its token."""

    token: str

    def signed(
        self, body: bytes | None = None, *, seconds: float = 0, key: SigningKey | None = None, **plain: Any
    ) -> HttpRequest:
        """A request with the token; when and by whom it is signed, the outway sees to."""
        assert (seconds, key) == (0, None), "a local system signs nothing"
        request = self.plain(body, **plain)
        return replace(request, headers=[*request.headers, self._shown])

    def asking(self, path: str, query: str = "") -> bytes:
        """The bytes of a metadata request whose path is sent as it stands here."""
        headers = [("x-road-client", CONSUMER), self._shown]
        return self.wire(HttpRequest("GET", path, query, self.authority, headers, b""), length=None)

    @property
    def _shown(self) -> tuple[str, str]:
        return "authorization", f"Bearer {self.token}"


def now() -> float:
    """The time by the clock that the gateways read, unix seconds."""
    return SystemClock().now()
