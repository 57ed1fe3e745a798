"""What a declaration may say, and that everything else is a fault with its line, its path and what would be right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from departments.adapter_config import AdapterSettings
from departments.adapting.document import MAX_BYTES
from departments.adapting.expression import FUNCTIONS, WORDS
from departments.adapting.forms import (
    AUTHENTICATION,
    BackEndForm,
    CallForm,
    ConditionForm,
    DataSetForm,
    FactForm,
    Form,
    ItemForm,
    ValueForm,
)
from departments.adapting.model import AuthenticationKind, Found, Unknown, ValueType
from departments.adapting.reading import STRICT, Allowances, read_declaration
from departments.client import Declaration, Faults, load_declaration, service_form
from departments.model import DataItem, MaskRule
from registry.forms import ServiceForm

HERE = Path("/etc/yitong/adapter.yaml")
EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "marriage" / "adapter.yaml"
DECLARATION = """\
member: civil-affairs
subsystem: families
backend:
  base_url: https://back-end.example:8443/api
  addresses:
    - 10.20.0.0/24
    - 10.20.1.7/32
  ca_file: ./ca.pem
  connect_ms: 400
  authentication:
    kind: basic
    user: exchange
    password_file: /run/secrets/password
data_sets:
  - service: marriage
    schema_version: 3
    title_zh: 婚姻登记
    title_en: Marriage
    subject_kind: person
    sharing_class: conditional
    sharing_terms: 依法履职所必需
    items:
      status:
        title_zh: 状态
        title_en: Status
        classification: 2
        mask: hide
        type: text
        source: civil-affairs
      paid:
        title_zh: 缴费
        title_en: Paid
        classification: 3
        mask: totals
        type: list-of-objects
        source: social-security
        ranged: true
      since:
        title_zh: 登记日期
        title_en: Since
        classification: 1
        mask: year
        type: date
        source: civil-affairs
    inputs:
      share:
        type: decimal
    facts:
      is_married:
        title_zh: 已婚
        title_en: Is married
        holds: status == "20"
      paid_at_least:
        title_zh: 缴满
        title_en: Paid at least
        parameter: n
        allowed: [12, 24]
        holds: >-
          months_in(paid) >= n
          and share > 0.5
    call:
      method: POST
      path: /people/query
      query:
        v: 2
      headers:
        X-Case: exchange
      body: '{"id": "{subject}", "n": 1}'
    answer:
      subject: /data/id
      no_record:
        - status: 404
        - pointer: /code
          equals: "1001"
        - {pointer: /data, is: "null"}
      values:
        status:
          pointer: /data/status
          map:
            "10": single
            "99": null
          unknown: keep
        paid:
          pointer: /data/paid
          members:
            month:
              pointer: /ym
              type: month
              format: YYYYMM
            base:
              pointer: /base
              type: integer
        since:
          pointer: /data/since
          absent: "null"
          format: rfc3339
        share:
          pointer: /data/share
    timeouts:
      total_ms: 4000
"""


def read(text: str, allowed: Allowances = STRICT) -> Declaration | Faults:
    return read_declaration(text.encode(), HERE, allowed)


def declared(text: str = DECLARATION, allowed: Allowances = STRICT) -> Declaration:
    found = read(text, allowed)
    assert isinstance(found, Declaration), "\n".join(map(str, found))
    return found


def faults_of(text: str, allowed: Allowances = STRICT) -> list[tuple[int, str, str]]:
    found = read(text, allowed)
    assert not isinstance(found, Declaration), "it was taken"
    assert {fault.file for fault in found} == {"adapter.yaml"}
    return [(fault.line, fault.path, fault.message) for fault in found]


def changed(before: str, after: str, text: str = DECLARATION) -> str:
    assert text.count(before) == 1, (before, text.count(before))
    return text.replace(before, after)


def line_of(text: str, part: str) -> int:
    """The line on which a part that occurs once begins."""
    assert text.count(part) == 1, (part, text.count(part))
    return text.count("\n", 0, text.index(part)) + 1


def test_a_right_declaration_says_what_a_provider_serves() -> None:
    declaration = declared()
    [adapted] = declaration.sets
    back_end, data_set = declaration.back_end, adapted.data_set
    assert (declaration.member, declaration.subsystem) == ("civil-affairs", "families")
    assert (back_end.url.scheme, back_end.url.host, back_end.url.port, back_end.url.path) == (
        "https", "back-end.example", 8443, "/api"
    )  # fmt: skip
    assert list(map(str, back_end.pins)) == ["10.20.0.0/24", "10.20.1.7/32"]
    assert back_end.ca_file == HERE.parent / "ca.pem"
    assert back_end.authentication.secret_file == Path("/run/secrets/password")
    assert (adapted.limits.connect_ms, adapted.limits.read_ms, adapted.limits.total_ms) == (400, 2000, 4000)
    assert data_set.schema_version == 3
    assert data_set.item("paid") == DataItem("paid", "缴费", "Paid", 3, MaskRule.TOTALS, "social-security", ranged=True)  # type: ignore[arg-type]  # an IntEnum
    fact = data_set.fact("paid_at_least")
    assert fact is not None
    assert (fact.parameter, fact.allowed, fact.needs) == ("n", (12, 24), ("paid", "share"))
    assert set(adapted.answer.values) == {"status", "paid", "since", "share"}
    assert adapted.answer.values["status"].mapped is not None
    assert adapted.answer.values["status"].mapped.values == {"10": "single", "99": None}


def test_an_input_is_read_for_facts_and_never_an_item() -> None:
    [adapted] = declared().sets
    assert adapted.data_set.item("share") is None
    assert adapted.data_set.columns_for(["status"], ["is_married"]) == ("status",)
    assert adapted.data_set.columns_for([], ["paid_at_least"]) == ("paid", "share")


def test_what_is_declared_is_a_form_that_the_registry_takes() -> None:
    example = load_declaration(EXAMPLE, Allowances(http=True, loopback=True))
    assert isinstance(example, Declaration)
    for declaration, identifier in (
        (declared(), "CN-YA/GOV/civil-affairs/families/marriage"),
        (example, "CN-YA/GOV/civil-affairs/marriage/marriage-registration"),
    ):
        [form] = service_form(declaration, instance="CN-YA")
        assert form["id"] == identifier
        assert ServiceForm.model_validate(form).model_dump() == form


def test_the_declaration_of_the_manual_is_one_and_names_every_key_that_there_is() -> None:
    manual = (EXAMPLE.parents[2] / "adapter.md").read_text(encoding="utf-8")
    _, _, rest = manual.partition("```yaml\n")
    assert "```yaml" not in rest
    [data_set] = declared(rest.partition("```")[0]).data_sets
    assert {fact.name: fact.needs for fact in data_set.facts} == {
        "is_active": ("account_state", "overdue"),
        "deposited_months_at_least": ("deposits", "opened_on"),
    }
    forms: list[type[Form]] = [BackEndForm, DataSetForm, ItemForm, FactForm, CallForm, ValueForm, ConditionForm]
    for form in [*forms, *AUTHENTICATION.values()]:
        for name, field in form.model_fields.items():
            assert re.search(rf"\b{field.alias or name}\b", manual), (form.__name__, name)
    settings = {f"YITONG_{name.upper()}" for name in AdapterSettings.__annotations__} - {"YITONG_ADAPTER_SCHEMA_VERSION"}
    for words in (ValueType, Found, Unknown, AuthenticationKind, FUNCTIONS, WORDS - {"false"}, settings):
        assert [word for word in words if str(word) not in manual] == []


# What is changed into what; the text on whose line the fault is; its path (from a point on within the data set); what it says.
FAULTS: list[tuple[str, str, str, str, str]] = [
    # the file
    ("member: civil-affairs\nsub", "sub", "subsystem", "member", "is missing"),
    ("member: civil-affairs", "member: 民政", "member: 民政", "member", "is a code of A-Z"),
    ("member: civil-affairs", "member: [a]", "member: [a]", "member", "should be a valid string"),
    ("subsystem: families", "subsystem: families\nversion: 2", "version: 2", "version", "is not known here; known here: member"),
    ("subsystem: families", "subsystem: families\nbackends: 2", "backends: 2", "backends", "did you mean backend?"),
    ("subsystem: families", "subsystem: families\nsubsystem: b", "subsystem: b", "", "'subsystem' occurs twice, first on line 2"),
    ("      status:\n        title", "      status: &s\n        title", "status: &s", "", "an anchor (&)"),
    ('equals: "1001"', "equals: *s", "equals: *s", "", "an alias (*)"),
    ("status: 404", "status: !!int 404", "!!int", "", "a tag (!)"),
    ("        v: 2", "        v: 2\n        ? [a]\n        : b", "? [a]", "", "a key that is not a text"),
    ("status: 404", "status: {a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}}", "status: {a", "", "nested more than 12 deep"),
    ("    timeouts:\n      total_ms: 4000\n", "---\na: b\n", "---", "", "a second document"),
    ("subsystem: families", "\tsubsystem: families", "\tsub", "", "not YAML"),
    # the back end
    ("https://back-end.example:8443/api", "http://back-end.example", "base_url", "backend.base_url", "https is needed"),
    ("https://back-end.example:8443/api", "[1]", "base_url", "backend.base_url", "should be a valid string"),
    ("- 10.20.0.0/24", "- 10.0.0.0/8", "10.0.0.0/8", "backend.addresses[0]", "a network is /16 or narrower"),
    ("- 10.20.1.7/32", "- 10.20.1.7", "- 10.20.1.7", "backend.addresses[1]", "one address is /32"),
    ("- 10.20.1.7/32", "- 10.20.1.7/24", "10.20.1.7/24", "backend.addresses[1]", "its host bits zero"),
    ("- 10.20.1.7/32", "- 169.254.169.254/32", "169.254.1", "backend.addresses[1]", "no back end lies in this network"),
    ("- 10.20.1.7/32", "- 127.0.0.1/32", "127.0.0.1", "backend.addresses[1]", "YITONG_ADAPTER_ALLOW_LOOPBACK"),
    ("- 10.20.1.7/32", "- ::1/128", "::1/128", "backend.addresses[1]", "YITONG_ADAPTER_ALLOW_LOOPBACK"),
    ("- 10.20.1.7/32", "- {a: b}", "{a: b}", "backend.addresses[1]", "is a text"),
    ("back-end.example", "10.30.0.1", "base_url", "backend.base_url", "its host is an address outside the pinned ranges"),
    ("./ca.pem", "ca.pem", "ca_file", "backend.ca_file", "absolute (/…) or beside the declaration (./…)"),
    ("./ca.pem", '"-----BEGIN CERTIFICATE-----"', "ca_file", "backend.ca_file", "what the file holds never stands here"),
    ("connect_ms: 400", "connect_ms: 400ms", "connect_ms", "backend.connect_ms", "should be a valid integer"),
    ("connect_ms: 400", "connect_ms: 5", "connect_ms", "backend.connect_ms", "greater than or equal to 10"),
    ("connect_ms: 400", "total_ms: 400", "total_ms: 400\n", "backend.total_ms", "is not less than connect_ms and read_ms"),
    ("connect_ms: 400", "max_answer_bytes: 9999999", "max_answer", "backend.max_answer_bytes", "less than or equal to 4194304"),
    ("connect_ms: 400", "password: hunter2", "password: h", "backend.password", "a secret never stands here"),
    ("kind: basic", "kind: digest", "kind: digest", "backend.authentication.kind", "kind is one of none, bearer, basic"),
    ("kind: basic\n", "kind: bearer\n", "authentication:", "backend.authentication.token_file", "is missing"),
    ("password_file: /run/secrets/password", "password: hunter2", "password: h", "backend.authentication.password",
     "in a file of its own: password_file"),
    ("password_file: /run/secrets/password", "password_file: hunter2", "hunter2", "backend.authentication.password_file",
     "what the file holds never stands here"),
    ("password_file: /run/secrets/password", "password_file: /run/secrets/password\n    value: x", "value: x",
     "backend.authentication.value", "a secret never stands here"),
    ("user: exchange", "user: ex:change", "user: ex", "backend.authentication.user", "should match pattern"),
    # a data set
    ("service: marriage", "service: a/b", "service: a/b", ".service", "is a code of A-Z"),
    ("schema_version: 3", "schema_version: 1.0.0", "schema_version", ".schema_version", "should be a valid integer"),
    ("schema_version: 3", "schema_version: 0", "schema_version", ".schema_version", "greater than or equal to 1"),
    ("title_zh: 婚姻登记", 'title_zh: "婚姻\\u202e登记"', "婚姻", ".title_zh", "is one line of visible text"),
    ("title_zh: 婚姻登记", f"title_zh: {'婚' * 129}", "婚" * 129, ".title_zh", "at most 128"),
    ("subject_kind: person", "subject_kind: dog", "dog", ".subject_kind", "'person' or 'enterprise'"),
    ("    sharing_terms: 依法履职所必需\n", "", "service: marriage", ".", "sharing_terms is missing"),
    # items
    ("      status:\n        title", "      Status:\n        title", "Status:\n", ".items.Status", "its key is a name of a-z"),
    ("      status:\n        title", "      in:\n        title", "  in:\n", ".items.in", "a word of the language"),
    ("classification: 2", "classification: secret", "secret\n        mask", ".items.status.classification", "2 (internal)"),
    ("mask: hide", "mask: year", "mask: year\n        type: text", ".items.status.mask",
     "year does not mask a text; these do: address, bank"),
    ("mask: hide", "mask: none", "mask: none", ".items.status.mask", "should be 'name'"),
    ("mask: totals", "mask: names", "mask: names", ".items.paid.mask", "of a ranged item is count, totals or hide"),
    ("type: text", "type: string", "type: string", ".items.status.type", "'list-of-objects'"),
    ("ranged: true", "ranged: maybe", "maybe", ".items.paid.ranged", "should be a valid boolean"),
    ("mask: year\n        type: date\n", "mask: hide\n        type: date\n        ranged: true\n", "type: date",
     ".items.since.type", "a ranged item is a list-of-months"),
    ("    inputs:\n      share:", "    inputs:\n      since:", "      since:\n        type: decimal", ".inputs.since",
     "is an item's or an input's already"),
    # facts
    ('holds: status == "20"', "holds: status = 20", "holds: status", ".facts.is_married.holds",
     "line 1, column 8: equality is written =="),
    ('holds: status == "20"', "holds: status == 20", "holds: status", ".facts.is_married.holds", "cannot be compared"),
    ('holds: status == "20"', "holds: stadium == 20", "holds: st", ".facts.is_married.holds",
     "stadium is no item or input"),
    ("allowed: [12, 24]", "allowed: [24, 12]", "allowed", ".facts.paid_at_least.allowed", "in rising order"),
    ("        allowed: [12, 24]\n", "", "paid_at_least:", ".facts.paid_at_least", "parameter and allowed come together"),
    ("parameter: n", "parameter: share", "parameter", ".facts.paid_at_least.parameter", "has the name of an item"),
    ("parameter: n", "parameter: m", "holds: >-", ".facts.paid_at_least.holds", "n is no item or input"),
    ("      is_married:", "      status:", "      status:\n        title_zh: 已婚", ".facts.status", "already"),
    # the call
    ("method: POST", "method: DELETE", "method", ".call.method", "'GET' or 'POST'"),
    ("method: POST", "method: GET", "body: '", ".call.body", "a GET has no body"),
    ("/people/query", "/people/../query", "path: /people", ".call.path", "without . or .."),
    ("/people/query", "/people/{id}", "path: /people", ".call.path", "is {subject}"),
    ("/people/query", "'/people?id={subject}'", "path: '/p", ".call.path", "a path is / and segments"),
    ("        v: 2", "        api_key: 2", "query:", ".call.query", "api_key looks like a secret"),
    ("X-Case: exchange", "Authorization: Basic eA==", "headers:", ".call.headers", "looks like a secret"),
    ("X-Case: exchange", "Host: other", "headers:", ".call.headers", "none that HTTP or the adapter itself sets"),
    ("X-Case: exchange", "Transfer-Encoding: chunked", "headers:", ".call.headers", "none that HTTP"),
    ("X-Case: exchange", 'X-Case: "a\\r\\nb: c"', "X-Case", ".call.headers.X-Case", "printable ASCII"),
    ('"n": 1}', '"appSecret": 1}', "body", ".call.body", "appSecret looks like a secret"),
    ('"n": 1}', '"n": 1', "body", ".call.body", "is JSON text in quotes or as a block: not JSON at character"),
    ('"n": 1}', '"id": 1}', "body", ".call.body", "occurs twice"),
    ('"{subject}"', '"somebody"', "call:", ".call", "nothing says whom it is about"),
    ('body: \'{"id": "{subject}", "n": 1}\'', 'body: {"id": "{subject}"}', "body", ".call.body", "valid string"),
    # the answer
    ("      subject: /data/id", "      subject: data.id", "subject: data.id", ".answer.subject", "begins with /"),
    ("      subject: /data/id", "      about: /data/id", "about", ".answer.about", "known here: values, no_record"),
    ("- status: 404", "- status: 403", "status: 403", ".answer.no_record[0]", "never of a person's record"),
    ("- status: 404", "- status: 503", "status: 503", ".answer.no_record[0].status", "less than or equal to 499"),
    ("- status: 404", "- status: 200", "status: 200", ".answer.no_record[0]", "a status other than 200"),
    ('          equals: "1001"\n', "", "pointer: /code", ".answer.no_record[1]", "one of equals and is"),
    ('is: "null"', "is: nothing", "is: nothing", ".answer.no_record[2].is", "'absent'"),
    ("pointer: /data/status", "pointer: /data/st~atus", "st~atus", ".answer.values.status.pointer", "~ is written ~0"),
    ("          unknown: keep\n", "", "map:", ".answer.values.status.unknown", "what an unknown code becomes"),
    ("unknown: keep", "unknown: guess", "guess", ".answer.values.status.unknown", "'fail'"),
    ('"99": null', '"10": null', '"10": null', "", "'10' occurs twice"),
    ('"99": null', '"99": [a]', '"99": [a]', ".answer.values.status.map.99", "is a single value"),
    ("pointer: /data/since\n", "pointer: /data/since\n          map: {x: yesterday}\n          unknown: fail\n",
     "map: {x", ".answer.values.since.map.x", "is not of type date"),
    ("format: rfc3339", "format: DD/MM/YY", "DD/MM/YY", ".answer.values.since.format", "YYYY, MM, DD once each"),
    ("pointer: /data/share", "pointer: /data/share\n          format: YYYY", "format: YYYY\n",
     ".answer.values.share.format", "does not go with the type decimal"),
    ("        share:\n          pointer: /data/share\n", "", "values:", ".answer.values.share", "without a place"),
    ("        share:\n          pointer", "        shares:\n          pointer", "shares:", ".answer.values.shares",
     "neither an item nor an input"),
    ("type: integer", "type: list-of-text", "list-of-text", ".answer.values.paid.members.base.type",
     "lists do not stand within lists"),
    ("              type: month\n              format: YYYYMM\n", "              type: text\n", "        paid:\n          point",
     ".answer.values.paid", "a ranged item has a member month"),
    ("mask: totals", "mask: count\n        ranges: 1", "ranges: 1", ".items.paid.ranges", "did you mean ranged?"),
    ("total_ms: 4000", "totl_ms: 4000", "totl_ms", ".timeouts.totl_ms", "did you mean total_ms?"),
    ("total_ms: 4000", "total_ms: 300", "total_ms: 300", ".timeouts.total_ms", "is not less than"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "at", "path", "said"), FAULTS)
def test_a_fault_is_told_with_its_line_its_path_and_what_would_be_right(
    before: str, after: str, at: str, path: str, said: str
) -> None:
    text = changed(before, after)
    found = faults_of(text)
    line = line_of(text, at)
    path = f"data_sets[0]{path}".removesuffix(".") if path.startswith(".") else path
    assert any((line, path) == fault[:2] and said in fault[2] for fault in found), (line, path, said, found)
    assert not any("hunter2" in message for _, _, message in found)


def test_every_fault_of_a_file_is_found_in_one_pass() -> None:
    text = DECLARATION
    for before, after in (
        ("10.20.1.7/32", "10.20.1.7/33"),
        ("mask: year\n", "mask: name\n"),
        ('holds: status == "20"', "holds: x"),
        ("share:\n  ", "shart:\n  "),
        ("/people/query", "//query"),
        ("unknown: keep", "unknown: x"),
        ("total_ms: 4000", "total_ms: 1"),
    ):
        text = text.replace(before, after)
    found = faults_of(text)
    assert [path for _, path, _ in found] == [
        "backend.addresses[1]",
        "data_sets[0].items.since.mask",
        "data_sets[0].facts.is_married.holds",
        "data_sets[0].facts.paid_at_least.holds",
        "data_sets[0].call.path",
        "data_sets[0].answer.values.status.unknown",
        "data_sets[0].timeouts.total_ms",
    ]
    assert [line for line, _, _ in found] == sorted(line for line, _, _ in found)


def test_a_fault_of_one_part_brings_no_others_in_parts_that_use_it() -> None:
    for before, after in (("type: text", "type: string"), ("type: list-of-objects", "type: list"), ("type: decimal", "type: x")):
        assert len(faults_of(changed(before, after))) == 1


def test_a_fault_is_written_as_editors_read_it() -> None:
    [fault] = read(changed("mask: hide", "mask: year"))  # type: ignore[misc]  # a declaration would fail the test as well
    assert str(fault).startswith("adapter.yaml:27: data_sets[0].items.status.mask: year does not mask a text")


def test_what_the_operator_allows_is_no_fault() -> None:
    here = changed("https://back-end.example:8443/api", "http://127.0.0.1:8700", changed("  ca_file: ./ca.pem\n", ""))
    here = changed("- 10.20.1.7/32", "- 127.0.0.1/32", here)
    assert declared(here, Allowances(http=True, loopback=True)).back_end.url.host == "127.0.0.1"
    assert [path for _, path, _ in faults_of(here, Allowances(http=True))] == ["backend.base_url", "backend.addresses[1]"]
    assert [path for _, path, _ in faults_of(here, Allowances(loopback=True))] == ["backend.base_url"]


def test_certificates_go_with_https_only() -> None:
    text = changed("https://back-end.example:8443", "http://back-end.example")
    assert faults_of(text, Allowances(http=True)) == [(3, "backend", "certificates are for https only")]


def test_names_of_objects_are_masked_by_their_member_name() -> None:
    text = changed("mask: totals", "mask: names", changed("        ranged: true\n", ""))
    assert [(path, said[:36]) for _, path, said in faults_of(text)] == [
        ("data_sets[0].answer.values.paid", "an item with the mask names has a me")
    ]
    declared(changed("            base:", "            name:", text.replace("type: integer", "type: text")))


def test_scalars_are_the_text_that_was_written() -> None:
    [adapted] = declared(changed('"10": single', "no: 1.10")).sets
    mapped = adapted.answer.values["status"].mapped
    assert mapped is not None
    assert mapped.values["no"] == "1.10"
    [adapted] = declared(changed('"99": null', '"99": "null"')).sets
    mapped = adapted.answer.values["status"].mapped
    assert mapped is not None
    assert mapped.values["99"] == "null"


def test_a_second_data_set_has_a_code_of_its_own() -> None:
    second = DECLARATION[DECLARATION.index("  - service") :]
    assert faults_of(DECLARATION + second) == [
        (DECLARATION.count("\n") + 1, "data_sets[1].service", "another data set has this code already")
    ]
    assert [data_set.service for data_set in declared(DECLARATION + second.replace(": marriage", ": divorce")).data_sets] == [
        "marriage",
        "divorce",
    ]


@pytest.mark.parametrize(
    ("raw", "line", "said"),
    [
        (b"", 1, "the file is empty"),
        (b"# nothing\n", 1, "the file is empty"),
        (b"a: b\nc: \xff\n", 2, "not UTF-8"),
        (b"a: \x00\n", 1, "not printable"),
        (b"#" * (MAX_BYTES + 1), 1, "a declaration has at most"),
        (b"[" * 10_000, 1, "nested more than 12 deep"),
        (b"a\n", 1, "is a mapping of names to values"),
        (b"- a\n", 1, "is a mapping of names to values"),
    ],
)
def test_what_is_no_declaration_at_all_is_told_too(raw: bytes, line: int, said: str) -> None:
    found = read_declaration(raw, HERE)
    assert not isinstance(found, Declaration)
    assert any(fault.line == line and said in fault.message for fault in found), found


def test_faults_without_end_are_not_all_told() -> None:
    found = read("".join(f"x{number}: 1\n" for number in range(1000)))
    assert not isinstance(found, Declaration)
    assert len(found) == 201


_LINES = DECLARATION.splitlines(keepends=True)


@given(st.integers(0, len(_LINES) - 1), st.sampled_from(["drop", "twice", "cut", "deeper", "scalar"]))
def test_however_a_line_is_spoilt_it_is_taken_or_told_with_a_line_of_the_file(at: int, how: str) -> None:
    line = _LINES[at]
    spoilt = {
        "drop": "",
        "twice": line * 2,
        "cut": line[: len(line) // 2] + "\n",
        "deeper": "  " + line,
        "scalar": line.partition(":")[0] + ": x\n",
    }[how]
    text = "".join([*_LINES[:at], spoilt, *_LINES[at + 1 :]])
    found = read(text)
    if not isinstance(found, Declaration):
        assert found
        assert all(1 <= fault.line <= text.count("\n") + 1 and fault.message for fault in found)


_YAML_LINES = st.lists(st.text(alphabet="ab:-[]{}&*!|>'\" \n#", max_size=10), max_size=8).map("\n".join)


@given(st.binary(max_size=200) | (st.text(max_size=200) | _YAML_LINES).map(str.encode))
def test_any_bytes_are_a_declaration_or_faults(raw: bytes) -> None:
    found: Any = read_declaration(raw, HERE)
    assert isinstance(found, tuple)
    assert found
