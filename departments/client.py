"""What others may know of the departments: their declarations, and the made-up district that fills their registers."""

from __future__ import annotations

from departments.declarations import DEPARTMENTS
from departments.loading import is_loaded, load
from departments.model import DataItem, DataSet, Fact
from departments.people.casting import Cast, cast

__all__ = ["DEPARTMENTS", "Cast", "DataItem", "DataSet", "Fact", "cast", "is_loaded", "load"]
