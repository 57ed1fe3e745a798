"""Bad HTTP: what the parser must refuse, and what must not mean two things to two readers."""

from __future__ import annotations

from collections.abc import Callable

from exchange.envelope import HttpRequest
from tests.hostile.corpus_body import MALFORMED, TOO_LARGE, Case
from tests.hostile.forge import CANARY, COVERED, PATH, Forge
from tests.hostile.raw import PARSER

NOT_ALLOWED = (405, "method-not-allowed")
NOT_FOUND = (404, "not-found")
REFUSED = (400, PARSER)
POPULATION = PATH.rpartition("/")[0]


def target(name: str, text: str, status: int = 400, code: str = "malformed-request") -> Case:
    """A case of a request line with another target."""
    return (f"target {name}", lambda forge: forge.wire(target=text), status, code)


def method(name: str, status: int = 405, code: str = "method-not-allowed") -> Case:
    """A case of another method."""
    return (f"method {name}", lambda forge: forge.wire(line=f"{name} {PATH} HTTP/1.1"), status, code)


def framing(name: str, *lines: str | bytes, length: str | None = None, status: int = 400, code: str = PARSER) -> Case:
    """A case of headers that say where the body ends."""
    return (name, lambda forge: forge.wire(add=lines, length=length), status, code)


def bare(name: str, raw: bytes, status: int = 400, code: str = PARSER) -> Case:
    """A case of bytes that are no request of ours."""
    return (name, lambda _: raw, status, code)


def chunks(name: str, make: Callable[[Forge], bytes], status: int = 400, code: str = PARSER) -> Case:
    """A case of a body in chunks."""
    return (f"chunks {name}", make, status, code)


# Where X-Road matches a right on another path than it sends on (or fails with a 500): a raw path below the service, and why.
XROADS: list[tuple[str, str]] = [
    ("dots undone behind the check", "a/%2e%2e/b"),
    ("dots that lead out", "../x"),
    ("dots that lead on", "a/../b"),
    ("an encoded space", "a%20b"),
    ("an encoded quote", "a%22b"),
    ("encoded braces", "a%7Bid%7D"),
    ("an encoded bar", "a%7Cb"),
    ("an encoded bracket", "a%5Bb"),
    ("an encoded question mark", "a%3Fsecret"),
    ("an encoded hash", "a%23x"),
    ("a first segment that is an authority", "/a/b"),
    ("an encoding undone twice", "a%2541"),
    ("an encoded slash that is none", "a%2Fb"),
    ("an encoded hyphen taken for a slash", "a%2Db"),
    ("two slashes below", "a//b"),
]

TARGETS: list[Case] = [
    *(target(f"with {name}", f"{PATH}/{below}") for name, below in XROADS),
    *(target(f"with {name}, in place of the service", f"{POPULATION}/{below}") for name, below in XROADS if "%" in below),
    target("with encoded dots twice", f"{POPULATION}/%252e%252e/population/resident-identity"),
    target("with overlong UTF-8 for a slash", f"{POPULATION}%c0%afresident-identity"),
    target("with a zero in a segment", f"{POPULATION}/resident%00-identity"),
    target("with an encoded line", f"{PATH}%0d%0ax-road-client:%20a"),
    target("with a parameter in a segment", f"{POPULATION};a=b/resident-identity"),
    target("with an encoded parameter", f"{PATH}%3bv=1"),
    target("with dots", f"{POPULATION}/../population/resident-identity"),
    target("with encoded dots", f"{POPULATION}/%2e%2e/population/resident-identity"),
    target("with one dot", f"{POPULATION}/./resident-identity"),
    target("with an encoded slash", f"{POPULATION}%2fresident-identity"),
    target("with an encoded backslash", f"{POPULATION}%5cresident-identity"),
    target("with a backslash", f"{POPULATION}\\resident-identity"),
    target("with two slashes", f"{POPULATION}//resident-identity"),
    target("with a slash at the end", f"{PATH}/"),
    target("with a segment too few", POPULATION),
    target("with a segment too many", f"{PATH}/{CANARY}"),
    target("with an ID number", f"{POPULATION}/{CANARY}", 401, "signature-invalid"),
    (
        "target with an ID number, signed",
        lambda forge: forge.wire(forge.signed(path=f"{POPULATION}/{CANARY}")),
        404,
        "unknown-service",
    ),
    (
        "target with an ID number for a department, signed",
        lambda forge: forge.wire(forge.signed(path=PATH.replace("public-security", CANARY))),
        404,
        "unknown-service",
    ),
    target("with a parameter", f"{PATH};v=1"),
    target("with an encoded zero", f"{PATH}%00"),
    target("with an encoded letter", PATH.replace("resident", "%72esident")),
    target("encoded twice", f"{POPULATION}/%252e%252e"),
    target("with half an encoding", f"{PATH}%"),
    target("with overlong UTF-8", f"{POPULATION}/%c0%ae%c0%ae"),
    target("with a look-alike", f"{POPULATION}/r%D0%B5sident-identity"),
    target("with full-width letters", f"{POPULATION}/%EF%BD%92esident-identity"),
    target("with a query of nothing but a subject", f"{PATH}?subject={CANARY}"),
    target("with an encoded prefix", PATH.replace("/r1/", "/%72%31/")),
    target("with two slashes before", f"/{PATH}", *NOT_FOUND),
    target("in upper case", PATH.replace("/r1/", "/R1/"), *NOT_FOUND),
    target("of the door alone", "/r1", *NOT_FOUND),
    target("of nothing", "/r1/"),
    target("of a document that is not served", "/openapi.json", *NOT_FOUND),
    target("of the documentation", "/docs", *NOT_FOUND),
    target("as an asterisk", "*", *NOT_FOUND),
    target("without a slash", "r1/CN-YA", *REFUSED),
    target("with a space", f"{PATH} a", *REFUSED),
    target("of bytes that are none of ASCII", f"{POPULATION}/\u4f4f", *REFUSED),
    ("target with a control character", lambda forge: forge.wire(line=f"POST {PATH}\x01 HTTP/1.1"), *REFUSED),
    ("target as an authority", lambda forge: forge.wire(target="127.0.0.1:1"), *REFUSED),
]

METHODS: list[Case] = [
    *(method(name) for name in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND")),
    method("post", *REFUSED),
    method("TELL", *REFUSED),
    method("POST\x00", *REFUSED),
]

FRAMING: list[Case] = [
    framing("length and chunks", "transfer-encoding: chunked", length=""),
    framing("chunks and length", "transfer-encoding: chunked", "content-length: 5"),
    framing("a length twice, the same", "content-length: 44", "content-length: 44"),
    framing("a length twice, another", "content-length: 44", "content-length: 45"),
    framing("two lengths in one", "content-length: 44, 44"),
    framing("a length with a plus", "content-length: +44"),
    framing("a length below nothing", "content-length: -1"),
    framing("a length in hexadecimal", "content-length: 0x2c"),
    framing("a length with a space in it", "content-length: 4 4"),
    framing("a length beyond all", f"content-length: {2**64}"),
    framing("no length in it", "content-length: "),
    framing("a length before a colon with a space", "content-length : 44"),
    framing("chunks before a colon with a space", "transfer-encoding : chunked"),
    framing("a coding that is not the last", "transfer-encoding: chunked, identity"),
    framing("a coding that there is not", "transfer-encoding: xchunked"),
    framing("a coding with a tab", "transfer-encoding: \x0bchunked"),
    framing("a coding of nothing", "transfer-encoding: identity"),
    framing("a header that is folded", "x-a: b\r\n c", length=""),
    framing("a header without a colon", "x-a", length=""),
    framing("a header without a name", ": b", length=""),
    framing("a header with a space in its name", "x a: b", length=""),
    framing("a header with a zero", b"x-a: b\x00c", length=""),
    framing("a header with a carriage return", b"x-a: b\rc", length=""),
    framing("a header with letters beyond ASCII in its name", "x-\u00e9: b", length=""),
]

CHUNKED = ["transfer-encoding: chunked"]

CHUNKS: list[Case] = [
    chunks("with a size that is none", lambda forge: forge.chunked(("zz", b"{}"))),
    chunks("with a size below nothing", lambda forge: forge.chunked(("-2", b"{}"))),
    chunks("with a size in a known prefix", lambda forge: forge.chunked(("0x2", b"{}"))),
    chunks("with a size beyond all", lambda forge: forge.chunked(("fffffffffffffffff", b"{}"))),
    chunks("longer than they say", lambda forge: forge.chunked(("1", b"{}"))),
    # Not a byte behind the one that is too many: what nobody reads would cut the answer off.
    chunks("beyond the limit", lambda forge: forge.wire(add=CHUNKED, length=None, body=b"10001\r\n" + b" " * 65_537), *TOO_LARGE),
    chunks(
        "with a trailer that names another officer",
        lambda forge: forge.whole_in_chunks(forge.signed(without=["x-road-userid"]), 16, end=b"0\r\nx-road-userid: boss\r\n\r\n"),
        *MALFORMED,
    ),
]

PROTOCOLS: list[Case] = [
    bare("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64)),
    bare("an SSH banner", b"SSH-2.0-OpenSSH_9.2\r\n"),
    bare("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    bare("a PROXY line", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1\r\n\r\n"),
    bare("noise on the line", bytes(range(128, 256)) * 8),
    bare("nothing but zeros", bytes(64)),
    bare("no version", f"POST {PATH}\r\n\r\n".encode(), *MALFORMED),
    bare("a version that there is not", f"POST {PATH} HTTP/9.9\r\n\r\n".encode()),
    bare("a version of another protocol", f"POST {PATH} ICAP/1.0\r\n\r\n".encode()),
    bare("line feeds alone", f"POST {PATH} HTTP/1.1\nhost: a\nx-road-client: {CANARY}\n\n".encode()),
    ("an older version", lambda forge: forge.wire(line=f"GET {PATH} HTTP/1.0"), *NOT_ALLOWED),
    ("no host", lambda forge: forge.wire(host=False), *MALFORMED),
    ("two hosts", lambda forge: forge.wire(add=["host: another"]), *MALFORMED),
    ("an offer to speak otherwise", lambda forge: forge.wire(add=["connection: upgrade", "upgrade: h2c"]), *MALFORMED),
    ("an offer of a web socket", lambda forge: forge.wire(add=["connection: upgrade", "upgrade: websocket"]), *MALFORMED),
    ("a gigabyte announced", lambda forge: forge.wire(length=str(2**30)), *TOO_LARGE),
]

SMALL_X = "11010119900307731x"
WITH_HOST = (*COVERED, "host")

# What looks odd and is in order: it is answered.
ODD: list[tuple[str, Callable[[Forge], bytes]]] = [
    ("chunks", lambda forge: forge.whole_in_chunks(forge.signed(), 7)),
    ("chunks with extensions", lambda forge: forge.whole_in_chunks(forge.signed(), 16, extension=";a=b")),
    ("a trailer that says nothing", lambda forge: forge.whole_in_chunks(forge.signed(), 16, end=b"0\r\nx-a: b\r\n\r\n")),
    ("an absolute target", lambda forge: forge.wire(target=f"http://{forge.authority}{PATH}")),
    ("an absolute target of another host", lambda forge: forge.wire(target=f"http://another.example{PATH}")),
    ("an empty line before", lambda forge: b"\r\n" + forge.wire()),
    ("an offer to wait", lambda forge: forge.wire(add=["expect: 100-continue"])),
    ("a fragment behind the target", lambda forge: forge.wire(target=f"{PATH}#a")),
    (
        "a proxy's headers",
        lambda forge: forge.wire(add=["x-forwarded-for: 10.0.0.1", "x-forwarded-host: evil", "x-original-url: /a"]),
    ),
    ("another proxy's signature", lambda forge: forge.wire(with_foreign_signature(forge))),
    ("a method to be overridden", lambda forge: forge.wire(add=["x-http-method-override: DELETE"])),
    (
        "more than must be covered",
        lambda forge: forge.wire(forge.covering(WITH_HOST, add=[("host", forge.authority)]), host=False),
    ),
    ("a small x", lambda forge: forge.wire(forge.signed(forge.body(subject=SMALL_X)))),
]


def with_foreign_signature(forge: Forge) -> HttpRequest:
    """A request with one more signature, as a proxy on the way adds it."""
    request = forge.signed()
    listed, signature = request.values("signature-input")[0], request.values("signature")[0]
    foreign = 'proxy=("@method");created=1;keyid="proxy";tag="other"'
    return forge.with_signature(request, f"{foreign}, {listed}", f"proxy=:AAAA:, {signature}")
