"""Bad bodies and bad headers of requests that are well signed otherwise: name, how it is made, status and code of the refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from exchange.identifiers import person_check_digit
from tests.hostile.forge import CANARY, OTHER_CANARY, PATH, Forge

Case = tuple[str, Callable[[Forge], bytes], int, str]
MALFORMED = (400, "malformed-request")
TOO_LARGE = (413, "too-large")
WRONG_DIGIT = CANARY[:17] + ("0" if CANARY[17] != "0" else "1")
FULL_WIDTH = "".join(chr(ord(character) + 0xFEE0) for character in CANARY)
ARABIC = "".join(chr(0x0660 + int(character)) if character.isdigit() else character for character in CANARY)


def body(name: str, raw: bytes, status: int = 400, code: str = "malformed-request") -> Case:
    """A case of a body, bytes as they are."""
    return (name, lambda forge: forge.wire(forge.signed(raw)), status, code)


def members(name: str, status: int = 400, code: str = "malformed-request", **changed: Any) -> Case:
    """A case of a body that is in order but for some members."""
    return (name, lambda forge: forge.wire(forge.signed(forge.body(**changed))), status, code)


def headers(name: str, status: int = 400, code: str = "malformed-request", **changed: str) -> Case:
    """A case of headers (underscores for hyphens) that are signed as they are."""
    named = [(header.replace("_", "-"), value) for header, value in changed.items()]
    return (f"header {name}", lambda forge: forge.wire(forge.signed(add=named)), status, code)


def lacking(name: str) -> Case:
    """A case of a header that is missing, though signed where every signature covers it."""
    always = name in {"x-road-client", "x-road-id", "content-type"}
    if always:
        return (f"no {name}", lambda forge: forge.wire(without=[name]), *MALFORMED)
    return (f"no {name}", lambda forge: forge.wire(forge.signed(without=[name])), *MALFORMED)


def appended(name: str, line: str, status: int = 400, code: str = "malformed-request") -> Case:
    """A case of one more header line, which the signature knows nothing of."""
    return (f"one more {name}", lambda forge: forge.wire(add=[line]), status, code)


BODIES: list[Case] = [
    body("no body", b""),
    body("half a brace", b"{"),
    body("words", b"give me all you have"),
    body("a list", b"[]"),
    body("a string", json.dumps(CANARY).encode()),
    body("null", b"null"),
    body("an empty object", b"{}"),
    body("a form", f"subject={CANARY}&items=name".encode()),
    body("XML", f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>{CANARY}&b;</a>'.encode()),
    body("a byte order mark", b'\xef\xbb\xbf{"subject":"' + CANARY.encode() + b'","items":["name"]}'),
    body("two values", b'{"subject":"' + CANARY.encode() + b'","items":["name"]} {}'),
    body("UTF-16", json.dumps({"subject": CANARY, "items": ["name"]}).encode("utf-16")),
    body("a comment", b'{"subject":"' + CANARY.encode() + b'",/**/"items":["name"]}'),
    body("a comma too many", b'{"subject":"' + CANARY.encode() + b'","items":["name"],}'),
    body("single quotes", f"{{'subject':'{CANARY}','items':['name']}}".encode()),
    body("no UTF-8", b'{"subject":"\xff\xfe","items":["name"]}'),
    body("overlong UTF-8", b'{"subject":"\xc0\xaf","items":["name"]}'),
    body("a surrogate in bytes", b'{"subject":"\xed\xa0\x80","items":["name"]}'),
    body("a lone surrogate", b'{"subject":"\\ud800","items":["name"]}'),
    body("a lone surrogate as a name", b'{"subject":"' + CANARY.encode() + b'","items":["name"],"\\udfff":1}'),
    body("U+0000", b'{"subject":"' + CANARY.encode() + b'\\u0000","items":["name"]}'),
    body("a raw control character", b'{"subject":"' + CANARY.encode() + b'\x01","items":["name"]}'),
    body("a name twice", f'{{"subject":"{CANARY}","subject":"{OTHER_CANARY}","items":["name"]}}'.encode()),
    body("a name twice, once escaped", f'{{"subject":"{CANARY}","s\\u0075bject":"{OTHER_CANARY}","items":["name"]}}'.encode()),
    body("a name twice in a fact", f'{{"subject":"{CANARY}","facts":{{"is_adult":{{"n":1,"n":2}}}}}}'.encode()),
    body("seventeen levels", b"[" * 17 + b"]" * 17),
    body("thirty thousand levels", b"[" * 30_000 + b"]" * 30_000),
    body("sixty thousand brackets", b"[" * 60_000),
    body("thirty thousand objects", b'{"a":' * 10_000),
    body("NaN", b'{"subject":"' + CANARY.encode() + b'","facts":{"is_adult":{"n":NaN}}}'),
    body("a fraction", b'{"subject":"' + CANARY.encode() + b'","facts":{"is_adult":{"n":1.5}}}'),
    body("an exponent", b'{"subject":"' + CANARY.encode() + b'","facts":{"is_adult":{"n":1e400}}}'),
    body("a number beyond all", b'{"subject":"' + CANARY.encode() + b'","facts":{"is_adult":{"n":' + b"9" * 5000 + b"}}}"),
    ("one byte too many", lambda forge: forge.wire(forge.signed(b" " * 65_537), body=b""), *TOO_LARGE),
    ("a megabyte", lambda forge: forge.wire(forge.signed(b" " * 1_048_576), body=b""), *TOO_LARGE),
    members("an unknown member", admin=True),
    members("a member of JavaScript", __proto__={"admin": True}),
    members("the permit along", permit={"items": {"name": "full"}}),
    members("no subject", subject=...),
    members("subject and subjects", subjects=[CANARY]),
    members("a subject that is a number", subject=int(CANARY[:17])),
    members("a subject that is a list", subject=[CANARY]),
    members("a subject that is an object", subject={"$ne": ""}),
    members("a subject that is null", subject=None),
    members("an empty subject", subject=""),
    members("a very long subject", subject="1" * 60_000),
    members("a wrong check digit", subject=WRONG_DIGIT),
    members("a subject of seventeen", subject=CANARY[:17]),
    members("a subject of the old form", subject=CANARY[:6] + CANARY[8:17]),
    members("full-width digits", subject=FULL_WIDTH),
    members("Arabic digits", subject=ARABIC),
    members("one look-alike digit", subject=CANARY[:5] + "\uff11" + CANARY[6:]),
    members("a joiner in it", subject=CANARY[:9] + "\u200d" + CANARY[9:]),
    members("a mark of direction before it", subject="\u202e" + CANARY),
    members("a line feed behind it", subject=CANARY + "\n"),
    members("a space before it", subject=" " + CANARY),
    members("a Cyrillic check letter", subject=CANARY[:17] + "\u0425"),
    members("no such day", subject="11010119870230001" + person_check_digit("11010119870230001")),
    members("no such region", subject="99010119870605473" + person_check_digit("99010119870605473")),
    members("a company's code", subject="91110000100000003X"),
    members("SQL", subject=f"{CANARY}'; DROP TABLE audit.entry; --"),
    members("a subject of the bus", subject="ex.v1.req.>"),
    members("items: a word", items="everything"),
    members("items: none", items=[]),
    members("items: an empty name", items=[""]),
    members("items: a name twice", items=["name", "name"]),
    members("items: not names", items=[1, None]),
    members("items: an ID number", items=[CANARY]),
    members("items: a name with an ID number in it", items=[f"a{CANARY}".lower()]),
    members("items: one that the data set does not have", items=["salary"]),
    members("items: a reserved name", items=["_sd"]),
    members("items: three dots", items=["..."]),
    members("items: upper case", items=["NAME"]),
    members("items: with SQL", items=['name", (SELECT password) AS "name']),
    members("items: too many", items=[f"item_{number}" for number in range(129)]),
    members("items: outside the right", items=["id_valid_until"], status=403, code="item-not-covered"),
    members("nothing asked for", items=...),
    members("facts: a list", facts=["is_adult"]),
    members("facts: unknown", facts={"is_rich": {}}),
    members("facts: an argument too many", facts={"is_adult": {"n": 1}}),
    members("facts: five arguments", facts={"is_adult": dict.fromkeys("abcde", 1)}),
    members("facts: an argument that is a word", facts={"is_adult": {"n": "1"}}),
    members("facts: an argument that is true", facts={"is_adult": {"n": True}}),
    members("facts: an ID number as argument", facts={"is_adult": {"n": int(CANARY[:15])}}),
    members("a range that the data set does not take", range={"from": "2024-01", "to": "2024-02"}),
    members("a range without an end", range={"from": "2024-01"}),
    members("a range that runs backwards", range={"from": "2024-02", "to": "2024-01"}),
    members("a range of a thirteenth month", range={"from": "2024-13", "to": "2024-14"}),
    members("a batch of nobody", subject=..., subjects=[]),
    members("a batch with one twice", subject=..., subjects=[CANARY, CANARY]),
    members("a batch of a hundred and one", subject=..., subjects=[str(number) for number in range(101)]),
    members("a batch of numbers", subject=..., subjects=[1, 2]),
]

HEADERS: list[Case] = [
    lacking("x-road-client"),
    lacking("x-road-id"),
    lacking("exchange-purpose"),
    lacking("x-road-userid"),
    lacking("x-road-issue"),
    lacking("content-type"),
    headers("of a form", content_type="application/x-www-form-urlencoded"),
    headers("of plain text", content_type="text/plain"),
    headers("with a very long id", x_road_id="1" * 129),
    headers("with a space in the id", x_road_id="a b"),
    headers("with a slash in the id", x_road_id="../../etc/passwd"),
    headers("with three segments", x_road_client="CN-YA/GOV/real-estate"),
    headers("with six segments", x_road_client="CN-YA/GOV/real-estate/transfer/a/b"),
    headers("with dots as a segment", x_road_client="CN-YA/GOV/real-estate/.."),
    headers("with an encoded slash", x_road_client="CN-YA/GOV/real-estate%2Ftransfer"),
    headers("with an encoded letter", x_road_client="CN-YA/GOV/real-estate/%74ransfer"),
    headers("with an encoded look-alike", x_road_client="CN-YA/GOV/real-estate/tr%D0%B0nsfer"),
    headers("with a segment too long", x_road_client=f"CN-YA/GOV/real-estate/{'a' * 65}"),
    headers("with another case", 401, "signature-invalid", x_road_client="CN-YA/GOV/Real-Estate/transfer"),
    headers("of another consumer", 401, "signature-invalid", x_road_client="CN-YA/COM/anju-bank/lending"),
    headers("of nobody", 401, "signature-invalid", x_road_client="CN-YA/GOV/nobody/nothing"),
    headers("with a purpose of two words", exchange_purpose="real estate"),
    headers("with a purpose that is none", 403, "purpose-not-covered", exchange_purpose="curiosity"),
    headers("with an ID number as purpose", 403, "purpose-not-covered", exchange_purpose=CANARY),
    headers("with a consent that is a path", exchange_consent="../keys"),
    headers("with a very long case", x_road_issue="1" * 257),
    headers("with half an encoding", x_road_issue="%E4%B8"),
    headers("with an encoded line feed", x_road_issue=f"{CANARY}%0d%0aX-Road-UserId:%20boss"),
    headers("with an encoded zero", x_road_userid="officer%00"),
    headers("with an encoded mark of direction", x_road_userid="officer%E2%80%AE"),
    headers("with a terminal's escape", x_road_userid="officer%1b%5b2J"),
    appended("id", "x-road-id: another"),
    appended("consumer", "x-road-client: CN-YA/COM/anju-bank/lending"),
    appended("purpose", "exchange-purpose: mortgage-lending"),
    appended("officer", "X-ROAD-USERID: boss"),
    appended("content type", "content-type: application/json"),
    appended("digest", "content-digest: sha-256=:AAAA:"),
    appended("signature", "signature: exchange=:AAAA:"),
    appended("list of what is signed", 'signature-input: exchange=("@method")'),
    appended("consent that is not signed", f"exchange-consent: {CANARY}"),
    appended("coding: gzip", "content-encoding: gzip"),
    appended("coding: identity", "content-encoding: identity"),
    appended("coding: brotli, twice", "content-encoding: br, br"),
    ("many headers", lambda forge: forge.wire(add=[f"x-{number}: {CANARY}" for number in range(64)]), *TOO_LARGE),
    ("very many headers", lambda forge: forge.wire(add=["x-a: b"] * 5000), *TOO_LARGE),
    ("a large header", lambda forge: forge.wire(add=[f"x-large: {CANARY * 900}"]), *TOO_LARGE),
    ("a large cookie", lambda forge: forge.wire(add=[f"cookie: {'a' * 300_000}"]), *TOO_LARGE),
    ("a long path", lambda forge: forge.wire(forge.signed(path=PATH + "a" * 500)), *TOO_LARGE),
    ("a very long path", lambda forge: forge.wire(target=PATH + "/" + "a" * 60_000), *TOO_LARGE),
]
