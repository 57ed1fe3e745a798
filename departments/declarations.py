"""All data sets of the departments that are built in, by member code."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from departments.market_regulation.data_sets import DATA_SETS as MARKET_REGULATION
from departments.model import DataSet
from departments.public_security.data_sets import DATA_SETS as PUBLIC_SECURITY
from departments.real_estate.data_sets import DATA_SETS as REAL_ESTATE
from departments.social_security.data_sets import DATA_SETS as SOCIAL_SECURITY
from departments.tax.data_sets import DATA_SETS as TAX

DEPARTMENTS: Final[Mapping[str, tuple[DataSet, ...]]] = MappingProxyType(
    {
        "public-security": PUBLIC_SECURITY,
        "tax": TAX,
        "social-security": SOCIAL_SECURITY,
        "market-regulation": MARKET_REGULATION,
        "real-estate": REAL_ESTATE,
    }
)
