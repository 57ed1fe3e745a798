"""What others may know of the departments: their declarations, the made-up district that fills their registers, the adapter's."""

from __future__ import annotations

from typing import Any

from departments.adapting.faults import Fault, Faults
from departments.adapting.model import Declaration
from departments.adapting.reading import Allowances, load_declaration
from departments.declarations import DEPARTMENTS
from departments.event_door import EventDoor
from departments.joint_masks import FLOOR, Knowledge, candidates
from departments.loading import is_loaded, load
from departments.mask import IdProfile, apply_mask
from departments.model import DataItem, DataSet, Fact, MaskRule
from departments.people.casting import Cast, cast
from departments.service_form import Sharing, data_set_form

__all__ = [
    "DEPARTMENTS",
    "FLOOR",
    "Allowances",
    "Cast",
    "DataItem",
    "DataSet",
    "Declaration",
    "EventDoor",
    "Fact",
    "Fault",
    "Faults",
    "IdProfile",
    "Knowledge",
    "MaskRule",
    "Sharing",
    "apply_mask",
    "candidates",
    "cast",
    "data_set_form",
    "is_loaded",
    "load",
    "load_declaration",
    "service_form",
]


def service_form(declaration: Declaration, *, instance: str) -> list[dict[str, Any]]:
    """The registry's service form of each data set that a declaration of an existing system names."""
    return [data_set_form(adapted.data_set, adapted.sharing, instance=instance) for adapted in declaration.sets]
