"""What public security discloses."""

from departments.model import Classification, DataItem, DataSet, Fact, MaskRule, SubjectKind
from departments.public_security import facts

_HERE = "public-security"
_PUBLIC, _INTERNAL, _SENSITIVE = Classification

RESIDENT_IDENTITY = DataSet(
    service="resident-identity",
    subsystem="population",
    member=_HERE,
    schema_version=1,
    title_zh="居民身份信息",
    title_en="Resident identity",
    subject_kind=SubjectKind.PERSON,
    items=(
        DataItem("id_number", "公民身份号码", "ID number", _SENSITIVE, MaskRule.ID, _HERE),
        DataItem("name", "姓名", "Name", _INTERNAL, MaskRule.NAME, _HERE),
        DataItem("gender", "性别", "Gender", _PUBLIC, MaskRule.HIDE, _HERE),
        DataItem("ethnicity", "民族", "Ethnicity", _SENSITIVE, MaskRule.HIDE, _HERE),
        DataItem("birth_date", "出生日期", "Date of birth", _INTERNAL, MaskRule.YEAR, _HERE),
        DataItem("address", "户籍地址", "Registered address", _SENSITIVE, MaskRule.ADDRESS, _HERE),
        DataItem("id_valid_until", "身份证有效期截止日期", "ID card valid until", _INTERNAL, MaskRule.HIDE, _HERE),
    ),
    facts=(
        Fact("is_adult", "已成年", "Is of age", None, (), ("birth_date",), facts.is_adult),
        Fact("id_is_valid", "身份证有效", "ID card is valid", None, (), ("deceased_on", "id_valid_until"), facts.id_is_valid),
        Fact(
            "is_registered_here", "本地户籍", "Is registered in the district",
            None, (), ("deceased_on", "registered_here"), facts.is_registered_here,
        ),
    ),
    table="resident_identity",
    events=("resident.registered", "resident.moved", "resident.deceased"),
)  # fmt: skip

HOUSEHOLD = DataSet(
    service="household",
    subsystem="population",
    member=_HERE,
    schema_version=1,
    title_zh="户籍信息",
    title_en="Household register",
    subject_kind=SubjectKind.PERSON,
    items=(
        DataItem("household_number", "户号", "Household number", _INTERNAL, MaskRule.TAIL4, _HERE),
        DataItem("head_name", "户主姓名", "Name of the head", _INTERNAL, MaskRule.NAME, _HERE),
        DataItem("relation_to_head", "与户主关系", "Relation to the head", _INTERNAL, MaskRule.HIDE, _HERE),
        DataItem("members", "户成员", "Members", _SENSITIVE, MaskRule.NAMES, _HERE),
        DataItem("registered_address", "户籍登记地址", "Registered address", _SENSITIVE, MaskRule.ADDRESS, _HERE),
        DataItem("registered_on", "登记日期", "Registered on", _INTERNAL, MaskRule.HIDE, _HERE),
    ),
    facts=(
        Fact(
            "is_local_household", "本地户", "Household is registered in the district",
            None, (), ("registered_here",), facts.is_local_household,
        ),
    ),
    table="household",
    events=("household.changed",),
)  # fmt: skip

DATA_SETS = (RESIDENT_IDENTITY, HOUSEHOLD)
