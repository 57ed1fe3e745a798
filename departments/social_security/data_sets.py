"""What social security discloses. Amounts are whole fen."""

from departments.model import Classification, DataItem, DataSet, Fact, MaskRule, SubjectKind
from departments.social_security import facts

_HERE = "social-security"
_PUBLIC, _INTERNAL, _SENSITIVE = Classification

INSURANCE_STATUS = DataSet(
    service="insurance-status",
    subsystem="insurance",
    member=_HERE,
    schema_version=1,
    title_zh="参保证明",
    title_en="Insurance status",
    subject_kind=SubjectKind.PERSON,
    items=(
        DataItem("insured_kinds", "参保险种", "Kinds of insurance", _INTERNAL, MaskRule.HIDE, _HERE),
        DataItem("employer_name", "参保单位", "Employer", _INTERNAL, MaskRule.HIDE, "market-regulation"),
        DataItem("insured_since", "参保日期", "Insured since", _INTERNAL, MaskRule.HIDE, _HERE),
        DataItem("status", "参保状态", "Status", _PUBLIC, MaskRule.HIDE, _HERE),
        DataItem("account", "社保卡银行账号", "Bank account of the social security card", _SENSITIVE, MaskRule.BANK, _HERE),
    ),
    facts=(Fact("is_insured", "当前参保", "Is insured", None, (), ("insured_since", "status"), facts.is_insured),),
    table="insurance_status",
    events=("insurance.enrolled", "insurance.ended"),
)

CONTRIBUTIONS = DataSet(
    service="contributions",
    subsystem="insurance",
    member=_HERE,
    schema_version=1,
    title_zh="社会保险缴费记录",
    title_en="Contributions",
    subject_kind=SubjectKind.PERSON,
    items=(
        DataItem("months", "缴费月份", "Months with contributions", _SENSITIVE, MaskRule.COUNT, _HERE, ranged=True),
        DataItem("base", "缴费基数（分）", "Contribution base (fen)", _SENSITIVE, MaskRule.HIDE, _HERE),
    ),
    facts=(
        Fact(
            "contributed_months_at_least", "缴费满 n 个月", "Contributed for at least n months",
            "n", (12, 24, 60), ("months_total",), facts.contributed_months_at_least,
        ),
    ),
    table="contributions",
)  # fmt: skip

DATA_SETS = (INSURANCE_STATUS, CONTRIBUTIONS)
