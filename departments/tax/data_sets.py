"""What the tax office discloses. Amounts are whole fen."""

from departments.model import Classification, DataItem, DataSet, Fact, MaskRule, SubjectKind
from departments.tax import facts

_HERE = "tax"
_PUBLIC, _INTERNAL, _SENSITIVE = Classification

TAX_STATUS = DataSet(
    service="tax-status",
    subsystem="taxation",
    member=_HERE,
    schema_version=1,
    title_zh="纳税信用与欠税",
    title_en="Tax credit and arrears",
    subject_kind=SubjectKind.ENTERPRISE,
    items=(
        DataItem("credit_rating", "纳税信用等级", "Tax credit rating", _PUBLIC, MaskRule.HIDE, _HERE),
        DataItem("rated_year", "评定年度", "Year of rating", _PUBLIC, MaskRule.HIDE, _HERE),
        DataItem("arrears_amount", "欠税金额（分）", "Arrears (fen)", _SENSITIVE, MaskRule.HIDE, _HERE),
        DataItem("last_filing_on", "最近申报日期", "Last filing on", _INTERNAL, MaskRule.HIDE, _HERE),
    ),
    facts=(
        Fact("has_arrears", "存在欠税", "Has arrears", None, (), ("arrears_amount",), facts.has_arrears),
        Fact("is_rated_a", "纳税信用 A 级", "Is rated A", None, (), ("credit_rating",), facts.is_rated_a),
    ),
    table="tax_status",
    events=("tax.arrears-opened", "tax.arrears-cleared"),
)

DEED_TAX = DataSet(
    service="deed-tax",
    subsystem="taxation",
    member=_HERE,
    schema_version=1,
    title_zh="契税完税信息",
    title_en="Deed tax",
    subject_kind=SubjectKind.PERSON,
    items=(
        DataItem("certificate_number", "完税证明编号", "Certificate number", _INTERNAL, MaskRule.TAIL4, _HERE),
        DataItem("property_unit", "不动产单元号", "Property unit", _INTERNAL, MaskRule.HIDE, "real-estate"),
        DataItem("taxable_amount", "计税金额（分）", "Taxable amount (fen)", _SENSITIVE, MaskRule.HIDE, _HERE),
        DataItem("tax_paid", "已缴税额（分）", "Tax paid (fen)", _SENSITIVE, MaskRule.HIDE, _HERE),
        DataItem("paid_on", "完税日期", "Paid on", _PUBLIC, MaskRule.HIDE, _HERE),
    ),
    facts=(Fact("deed_tax_paid", "契税已完税", "Deed tax is paid", None, (), ("paid_on",), facts.deed_tax_paid),),
    table="deed_tax",
    events=("deed-tax.paid",),
)

INCOME_TAX = DataSet(
    service="income-tax",
    subsystem="taxation",
    member=_HERE,
    schema_version=1,
    title_zh="个人所得税纳税记录",
    title_en="Income tax payments",
    subject_kind=SubjectKind.PERSON,
    items=(
        DataItem("months", "各月纳税（分）", "Payments by month (fen)", _SENSITIVE, MaskRule.TOTALS, _HERE, ranged=True),
        DataItem("payer_name", "扣缴义务人", "Withholding agent", _INTERNAL, MaskRule.NAME, "market-regulation"),
    ),
    facts=(
        Fact(
            "paid_months_at_least", "纳税满 n 个月", "Paid for at least n months",
            "n", (12, 24, 60), ("months_total",), facts.paid_months_at_least,
        ),
    ),
    table="income_tax",
)  # fmt: skip

DATA_SETS = (TAX_STATUS, DEED_TAX, INCOME_TAX)
