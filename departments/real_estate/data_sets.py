"""What the real-estate register discloses. Areas are whole hundredths of a square metre, amounts whole fen."""

from departments.model import Classification, DataItem, DataSet, Fact, MaskRule, SubjectKind
from departments.real_estate import facts

_HERE = "real-estate"
_PUBLIC, _INTERNAL, _SENSITIVE = Classification

OWNERSHIP = DataSet(
    service="ownership",
    subsystem="registration",
    member=_HERE,
    schema_version=1,
    title_zh="不动产权属信息",
    title_en="Ownership",
    subject_kind=SubjectKind.PERSON,
    items=(
        DataItem("certificate_number", "不动产权证号", "Certificate number", _INTERNAL, MaskRule.TAIL4, _HERE),
        DataItem("property_unit", "不动产单元号", "Property unit", _INTERNAL, MaskRule.HIDE, _HERE),
        DataItem("location", "坐落", "Location", _SENSITIVE, MaskRule.ADDRESS, _HERE),
        DataItem("area", "建筑面积（0.01 平方米）", "Area (0.01 m²)", _INTERNAL, MaskRule.HIDE, _HERE),
        DataItem("share", "共有方式", "Share", _INTERNAL, MaskRule.HIDE, _HERE),
        DataItem("acquired_on", "登记日期", "Acquired on", _INTERNAL, MaskRule.HIDE, _HERE),
        DataItem("co_owners", "共有人", "Co-owners", _SENSITIVE, MaskRule.NAMES, _HERE),
    ),
    facts=(
        Fact(
            "owns_property_here", "本地有不动产", "Owns property in the district",
            None, (), ("acquired_on",), facts.owns_property_here,
        ),
        Fact("is_sole_owner", "单独所有", "Is the sole owner", None, (), ("share",), facts.is_sole_owner),
    ),
    table="ownership",
    events=("ownership.registered", "ownership.transferred"),
)  # fmt: skip

ENCUMBRANCE = DataSet(
    service="encumbrance",
    subsystem="registration",
    member=_HERE,
    schema_version=1,
    title_zh="抵押查封信息",
    title_en="Mortgages and seizures",
    subject_kind=SubjectKind.PERSON,
    items=(
        DataItem("mortgages", "抵押登记", "Mortgages", _SENSITIVE, MaskRule.COUNT, _HERE),
        DataItem("seizures", "查封登记", "Seizures", _SENSITIVE, MaskRule.COUNT, _HERE),
    ),
    facts=(
        Fact("is_mortgaged", "已抵押", "Is mortgaged", None, (), ("mortgages_total",), facts.is_mortgaged),
        Fact("is_seized", "已查封", "Is seized", None, (), ("seized_until",), facts.is_seized),
    ),
    table="encumbrance",
    events=("encumbrance.changed",),
)

DATA_SETS = (OWNERSHIP, ENCUMBRANCE)
