"""From a place of the tree to a form: pydantic checks, and each of its findings becomes a fault with its line."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import ValidationError

from departments.adapting.document import Listing, Place, Table, plain
from departments.adapting.faults import FaultList
from departments.adapting.forms import AUTHENTICATION, SECRET_NAMES, Form, parse_name

Filled = TypeVar("Filled", bound=Form)

# What a secret may be called where authentication is declared; SECRET_NAMES are secrets anywhere.
_SHOWN = frozenset({"value", "key", "certificate"})


def fill(form: type[Filled], place: Place, faults: FaultList, *, apart: Collection[str] = ()) -> Filled | None:
    """A form with what stands at a place; what is wrong goes to `faults`. Entries named in `apart` are read elsewhere."""
    if not isinstance(place.node, Table):
        faults.add(place.line, place.path, "is a mapping of names to values")
        return None
    values = {name: plain(node) for name, node in place.node.entries.items() if name not in apart}
    try:
        return form.model_validate(values)
    except ValidationError as error:
        for found in error.errors(include_url=False, include_input=False):
            where = _locate(place, found["loc"])
            faults.add(where.line, where.path, _message(found, form, apart))
        return None


def require_child(place: Place, name: str, faults: FaultList, what: str) -> Place | None:
    """What stands under a key; a fault, saying what it would be, if nothing does."""
    child = place.child(name)
    if child is None and isinstance(place.node, Table):
        faults.add(place.line, place.at(name).path, f"is missing: {what}")
    return child


def require_elements(place: Place, faults: FaultList, *, most: int) -> list[Place]:
    """The entries of what must be a list of one to `most`."""
    elements = list(place.elements())
    if not isinstance(place.node, Listing) or not 1 <= len(elements) <= most:
        faults.add(place.line, place.path, f"is a list of 1 to {most} entries")
    return elements[:most]


def require_children(place: Place | None, faults: FaultList, *, most: int) -> list[tuple[str, Place]]:
    """The entries of what must be a mapping of up to `most`; none where nothing stands."""
    if place is None:
        return []
    children = list(place.children())
    if not isinstance(place.node, Table) or len(children) > most:
        faults.add(place.line, place.path, f"is a mapping of up to {most} names")
    return children[:most]


def check_name(name: str, place: Place, faults: FaultList) -> None:
    """Note a fault unless the key of a place is a name as the registry takes it."""
    try:
        parse_name(name)
    except ValueError as error:
        faults.add(place.line, place.path, f"its key {error}")


def _locate(place: Place, steps: Sequence[int | str]) -> Place:
    """The place that pydantic speaks of, or the nearest around it that was written, with the path to the one meant."""
    where, path = place, place.path
    for step in steps:
        if step == "[key]":
            break
        if isinstance(step, int):
            elements = list(where.elements())
            found = elements[step] if step < len(elements) else None
            path += f"[{step}]"
        else:
            found = where.child(step)
            path = f"{path}.{step}" if path else step
        if found is None:
            return Place(where.node, path, where.line)
        where = found
    return Place(where.node, path, where.line)


def _message(found: Mapping[str, Any], form: type[Form], apart: Collection[str]) -> str:
    kind, name = found["type"], str(found["loc"][-1]) if found["loc"] else ""
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return _unknown(name, form, apart)
    if kind == "value_error":
        return str(found["ctx"]["error"])
    return str(found["msg"]).replace("Input should", "should").replace("String should", "should")


def _unknown(name: str, form: type[Form], apart: Collection[str]) -> str:
    known = [*(field.alias or given for given, field in form.model_fields.items()), *apart]
    shown = form in AUTHENTICATION.values()
    if SECRET_NAMES.search(name) or (shown and name.lower() in _SHOWN):
        files = [given for given in known if shown and given.endswith("_file")]
        return f"a secret never stands here, but in a file of its own: {' and '.join(files) or 'see authentication'}"
    close = get_close_matches(name, known, 1)
    meant = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
    return f"is not known here; {meant}"
