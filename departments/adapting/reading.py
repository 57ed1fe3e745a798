"""Reading a declaration: every fault found in one pass, or the data sets that a provider serves and how they are fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from departments.adapting.document import MAX_BYTES, Place, Text, read_document
from departments.adapting.expression import FUNCTIONS, WORDS, ExpressionFault
from departments.adapting.expression_meaning import understand
from departments.adapting.faults import Fault, FaultList, Faults
from departments.adapting.filling import check_name, fill, require_child, require_children, require_elements
from departments.adapting.forms import (
    AUTHENTICATION,
    BackEndForm,
    BasicForm,
    BearerForm,
    CallForm,
    CertificateForm,
    DataSetForm,
    FactForm,
    Form,
    HeaderForm,
    HeadForm,
    InputForm,
    ItemForm,
    LimitsForm,
    require_no_secret,
)
from departments.adapting.model import (
    AdaptedSet,
    Authentication,
    AuthenticationKind,
    BackEnd,
    CallTemplate,
    Declaration,
    TimeLimits,
    ValueType,
)
from departments.adapting.reading_answer import ReadNames, read_answer_rules
from departments.adapting.template import body_names_subject, body_template, member_names, names_subject
from departments.model import DataItem, DataSet, Fact, MaskRule
from departments.service_form import Sharing
from exchange.address import AddressRules, Network, OutboundUrl, parse_base_url, parse_pin
from exchange.canonical import parse_json
from exchange.problem import Problem

MAX_DATA_SETS, MAX_ITEMS, MAX_INPUTS, MAX_FACTS = 32, 128, 64, 32
DEFAULT_LIMITS = TimeLimits(connect_ms=1_000, read_ms=2_000, total_ms=3_000)

_LISTS = frozenset({ValueType.TEXTS, ValueType.MONTHS, ValueType.OBJECTS})
_TEXTS = frozenset({ValueType.TEXT})
# What each mask understands; of another type it would hide every value, and nobody would notice why.
_MASKABLE: Mapping[MaskRule, frozenset[ValueType]] = {
    MaskRule.NAME: _TEXTS,
    MaskRule.ID: _TEXTS,
    MaskRule.PHONE: _TEXTS,
    MaskRule.ADDRESS: _TEXTS,
    MaskRule.BANK: _TEXTS,
    MaskRule.TAIL4: _TEXTS,
    MaskRule.EMAIL: _TEXTS,
    MaskRule.YEAR: frozenset({ValueType.DATE}),
    MaskRule.NAMES: frozenset({ValueType.TEXTS, ValueType.OBJECTS}),
    MaskRule.COUNT: _LISTS,
    MaskRule.TOTALS: frozenset({ValueType.OBJECTS}),
    MaskRule.HIDE: frozenset(ValueType),
}


@dataclass(frozen=True, slots=True)
class Allowances:
    """运维许可. What the operator, not the declaration, may allow: plain http, back ends on this very machine."""

    http: bool = False
    loopback: bool = False


STRICT = Allowances()


def load_declaration(path: Path, allowed: Allowances = STRICT) -> Declaration | Faults:
    """The declaration in a file or, if anything is wrong, all its faults in the order of lines. Raises OSError.

    Files that it names (secrets, certificates) are not looked at: they lie where the adapter runs.
    """
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    return read_declaration(raw, path, allowed)


def read_declaration(raw: bytes, path: Path, allowed: Allowances = STRICT) -> Declaration | Faults:
    """The same for the bytes of a file; `path` names it in faults, and relative paths start beside it."""
    faults = FaultList(path.name)
    root = read_document(raw, faults)
    if root is None:
        return faults.sorted()
    declaration = _Reader(path.parent, allowed, faults).declaration(Place(root, "", 1))
    if faults.found or declaration is None:
        return faults.sorted() or (Fault(path.name, 1, "", "not a declaration"),)
    return declaration


def _pin(place: Place) -> Network | None:
    """A pinned network, if it is one; that it is none the form has said."""
    try:
        return parse_pin(place.node.value) if isinstance(place.node, Text) else None
    except ValueError:
        return None


class _Reader:
    """Reads top to bottom; where a part is wrong it goes on with the others, and gives None for that part."""

    def __init__(self, directory: Path, allowed: Allowances, faults: FaultList) -> None:
        self._directory, self._allowed, self._faults = directory, allowed, faults

    def declaration(self, root: Place) -> Declaration | None:
        """The whole file."""
        head = fill(HeadForm, root, self._faults, apart=("backend", "data_sets"))
        place = require_child(root, "backend", self._faults, "where the existing system answers")
        back_end = self._back_end(place) if place else None
        place = require_child(root, "data_sets", self._faults, "what the system discloses")
        sets = self._data_sets(place, head, back_end.limits if back_end else DEFAULT_LIMITS) if place else ()
        return Declaration(head.member, head.subsystem, back_end, sets) if head and back_end else None

    # The back end

    def _back_end(self, place: Place) -> BackEnd | None:
        form = fill(BackEndForm, place, self._faults, apart=("authentication",))
        url = self._base_url(place)
        shown = self._authentication(place)
        limits = self._limits(form, DEFAULT_LIMITS, place)
        self._check_addresses(place, url)
        if form is None or url is None or shown is None:
            return None
        if url.scheme == "http" and (form.ca_file or shown.kind is AuthenticationKind.CLIENT_CERTIFICATE):
            self._faults.add(place.line, place.path, "certificates are for https only")
        return BackEnd(url, form.addresses, self._file(form.ca_file), limits, form.max_answer_bytes, shown)

    def _base_url(self, place: Place) -> OutboundUrl | None:
        """Read from the tree, so that it is judged even where another part of the back end is wrong."""
        written = place.child("base_url")
        if written is None or not isinstance(written.node, Text):
            return None
        try:
            return parse_base_url(written.node.value, allow_http=self._allowed.http)
        except ValueError as error:
            self._faults.add(written.line, written.path, str(error))
            return None

    def _check_addresses(self, place: Place, url: OutboundUrl | None) -> None:
        """Whether the pinned networks may be pinned here, and hold the host if that is an address."""
        listed = place.child("addresses")
        pins = [(where, network) for where in listed.elements() if (network := _pin(where))] if listed else []
        for where, network in pins:
            if network[0].is_loopback and not self._allowed.loopback:
                said = "this is the machine itself; only where the operator has set YITONG_ADAPTER_ALLOW_LOOPBACK"
                self._faults.add(where.line, where.path, said)
        if url is None or not url.is_address:
            return
        rules = AddressRules(tuple(network for _, network in pins), self._allowed.loopback)
        if (refusal := rules.refusal(url.host)) is not None:
            self._at(place, "base_url", f"its host is {refusal}")

    def _authentication(self, place: Place) -> Authentication | None:
        place_shown = require_child(place, "authentication", self._faults, "kind none, bearer, basic, header, client-certificate")
        if place_shown is None:
            return None
        kind = place_shown.child("kind")
        known = AUTHENTICATION.get(kind.node.value) if kind and isinstance(kind.node, Text) else None
        if known is None:
            where = kind or place_shown
            self._faults.add(where.line, where.path, f"kind is one of {', '.join(AUTHENTICATION)}")
            return None
        form = fill(known, place_shown, self._faults)
        return self._shown(form) if form else None

    def _shown(self, form: Form) -> Authentication:
        match form:
            case BearerForm():
                return Authentication(AuthenticationKind.BEARER, secret_file=self._file(form.token_file))
            case BasicForm():
                return Authentication(AuthenticationKind.BASIC, form.user, self._file(form.password_file))
            case HeaderForm():
                return Authentication(AuthenticationKind.HEADER, form.header, self._file(form.value_file))
            case CertificateForm():
                files = self._file(form.key_file), self._file(form.certificate_file)
                return Authentication(AuthenticationKind.CLIENT_CERTIFICATE, "", *files)
            case _:
                return Authentication(AuthenticationKind.NONE)

    def _file(self, written: str | None) -> Path | None:
        return None if written is None else self._directory / written

    def _limits(self, form: LimitsForm | None, default: TimeLimits, place: Place) -> TimeLimits:
        if form is None:
            return default
        limits = TimeLimits(
            form.connect_ms or default.connect_ms, form.read_ms or default.read_ms, form.total_ms or default.total_ms
        )
        if max(limits.connect_ms, limits.read_ms) > limits.total_ms:
            self._at(place, "total_ms", "is not less than connect_ms and read_ms")
        return limits

    # The data sets

    def _data_sets(self, place: Place, head: HeadForm | None, limits: TimeLimits) -> tuple[AdaptedSet, ...]:
        found, codes = [], set()
        for element in require_elements(place, self._faults, most=MAX_DATA_SETS):
            code = element.child("service")
            if code is not None and isinstance(code.node, Text):
                if code.node.value in codes:
                    self._faults.add(code.line, code.path, "another data set has this code already")
                codes.add(code.node.value)
            adapted = self._data_set(element, head, limits)
            if adapted is not None:
                found.append(adapted)
        return tuple(found)

    def _data_set(self, place: Place, head: HeadForm | None, limits: TimeLimits) -> AdaptedSet | None:
        parts = ("items", "inputs", "facts", "call", "answer", "timeouts")
        form = fill(DataSetForm, place, self._faults, apart=parts)
        items, types = self._items(place)
        self._inputs(place, types)
        place_answer = require_child(place, "answer", self._faults, "where each value lies in the back end's answer")
        names = ReadNames(
            types,
            ranged=frozenset(name for name, item in items.items() if item and item.ranged),
            by_name=frozenset(name for name, item in items.items() if item and item.mask is MaskRule.NAMES),
        )
        answer = read_answer_rules(place_answer, names, self._faults) if place_answer else None
        facts = self._facts(place, {name: names.in_expressions(name, answer) for name in types})
        place_call = require_child(place, "call", self._faults, "the request that asks about one subject")
        call = self._call(place_call) if place_call else None
        timeouts = place.child("timeouts")
        own = self._limits(fill(LimitsForm, timeouts, self._faults), limits, timeouts) if timeouts else limits
        if not items and not facts:
            self._faults.add(place.line, place.path, "discloses nothing: name items, or facts, or both")
        if form is None or head is None or answer is None or call is None or self._faults.found:
            return None
        data_set = DataSet(
            service=form.service,
            subsystem=head.subsystem,
            member=head.member,
            schema_version=form.schema_version,
            title_zh=form.title_zh,
            title_en=form.title_en,
            subject_kind=form.subject_kind,
            items=tuple(item for item in items.values() if item),
            facts=facts,
            table="",
        )
        return AdaptedSet(data_set, Sharing(form.sharing_class, form.sharing_terms or ""), call, answer, own)

    def _items(self, place: Place) -> tuple[dict[str, DataItem | None], dict[str, ValueType | None]]:
        items: dict[str, DataItem | None] = {}
        types: dict[str, ValueType | None] = {}
        for name, where in require_children(place.child("items"), self._faults, most=MAX_ITEMS):
            self._check_name(name, where, types)
            form = fill(ItemForm, where, self._faults)
            items[name], types[name] = None, form.type if form else None
            if form is None:
                continue
            self._check_mask(form, where)
            try:
                about = form.title_zh, form.title_en, form.classification, form.mask, form.source
                items[name] = DataItem(name, *about, ranged=form.ranged)
            except ValueError:
                self._at(where, "mask", "of a ranged item is count, totals or hide")
        return items, types

    def _check_mask(self, form: ItemForm, where: Place) -> None:
        if form.type not in _MASKABLE[form.mask]:
            fitting = ", ".join(sorted(mask for mask, types in _MASKABLE.items() if form.type in types))
            self._at(where, "mask", f"{form.mask} does not mask a {form.type}; these do: {fitting}")
        if form.ranged and form.type not in {ValueType.MONTHS, ValueType.OBJECTS}:
            self._at(where, "type", "a ranged item is a list-of-months, or a list-of-objects with a member month")

    def _inputs(self, place: Place, types: dict[str, ValueType | None]) -> None:
        for name, where in require_children(place.child("inputs"), self._faults, most=MAX_INPUTS):
            self._check_name(name, where, types)
            form = fill(InputForm, where, self._faults)
            types[name] = form.type if form else None

    def _check_name(self, name: str, where: Place, taken: Mapping[str, Any]) -> None:
        check_name(name, where, self._faults)
        if name in WORDS | FUNCTIONS:
            self._faults.add(where.line, where.path, "its name is a word of the language of facts; choose another")
        if name in taken:
            self._faults.add(where.line, where.path, "this name is an item's or an input's already")

    def _at(self, place: Place, name: str, message: str) -> None:
        """Note a fault of what stands, or should stand, under a key of a place."""
        where = place.at(name)
        self._faults.add(where.line, where.path, message)

    def _facts(self, place: Place, types: Mapping[str, ValueType | None]) -> tuple[Fact, ...]:
        facts, names = [], dict(types)
        for name, where in require_children(place.child("facts"), self._faults, most=MAX_FACTS):
            self._check_name(name, where, names)
            names[name] = None
            form = fill(FactForm, where, self._faults)
            fact = self._fact(name, form, where, types) if form else None
            if fact is not None:
                facts.append(fact)
        return tuple(facts)

    def _fact(self, name: str, form: FactForm, where: Place, types: Mapping[str, ValueType | None]) -> Fact | None:
        if form.parameter is not None and (form.parameter in types or form.parameter in WORDS | FUNCTIONS):
            self._at(where, "parameter", "has the name of an item, an input or a word of the language")
            return None
        try:
            found = understand(form.holds, types, form.parameter)
        except ExpressionFault as fault:
            self._at(where, "holds", str(fault))
            return None
        return Fact(name, form.title_zh, form.title_en, form.parameter, form.allowed, found.needs, found.rule)

    # The call

    def _call(self, place: Place) -> CallTemplate | None:
        form = fill(CallForm, place, self._faults)
        if form is None:
            return None
        body = self._body(form, place)
        templates = [form.path, *form.query.values(), *form.headers.values()]
        if not (any(map(names_subject, templates)) or body_names_subject(body)):
            self._faults.add(
                place.line, place.path, "nothing says whom it is about: put {subject} into path, query, headers or body"
            )
        return CallTemplate(form.method, form.path, tuple(form.query.items()), tuple(form.headers.items()), body)

    def _body(self, form: CallForm, place: Place) -> Any:
        if form.body is None:
            return None
        where = place.at("body")
        if form.method == "GET":
            self._faults.add(where.line, where.path, "a GET has no body; use POST, or query")
        try:
            value = parse_json(form.body.encode("utf-8"), max_bytes=16_384)
            if not isinstance(value, dict | list):
                self._faults.add(where.line, where.path, "is a JSON object or list")
            for name in member_names(value):
                require_no_secret(name)
            return body_template(value)
        except Problem as problem:
            self._faults.add(where.line, where.path, f"is JSON text in quotes or as a block: {problem.detail}")
        except ValueError as error:
            self._faults.add(where.line, where.path, str(error))
        return None
