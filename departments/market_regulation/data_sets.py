"""What market regulation discloses. Amounts are whole fen."""

from departments.market_regulation import facts
from departments.model import Classification, DataItem, DataSet, Fact, MaskRule, SubjectKind

_HERE = "market-regulation"
_PUBLIC, _INTERNAL, _SENSITIVE = Classification

BUSINESS_LICENCE = DataSet(
    service="business-licence",
    subsystem="enterprise",
    member=_HERE,
    schema_version=1,
    title_zh="营业执照信息",
    title_en="Business licence",
    subject_kind=SubjectKind.ENTERPRISE,
    items=(
        DataItem("uscc", "统一社会信用代码", "Unified social credit code", _PUBLIC, MaskRule.HIDE, _HERE),
        DataItem("name", "企业名称", "Name", _PUBLIC, MaskRule.HIDE, _HERE),
        DataItem("type", "企业类型", "Type", _PUBLIC, MaskRule.HIDE, _HERE),
        DataItem("legal_representative", "法定代表人", "Legal representative", _INTERNAL, MaskRule.NAME, _HERE),
        DataItem(
            "representative_id", "法定代表人身份号码", "ID number of the representative",
            _SENSITIVE, MaskRule.ID, "public-security",
        ),
        DataItem("capital", "注册资本（分）", "Registered capital (fen)", _PUBLIC, MaskRule.HIDE, _HERE),
        DataItem("established_on", "成立日期", "Established on", _PUBLIC, MaskRule.HIDE, _HERE),
        DataItem("scope", "经营范围", "Business scope", _PUBLIC, MaskRule.HIDE, _HERE),
        DataItem("status", "登记状态", "Status", _PUBLIC, MaskRule.HIDE, _HERE),
        DataItem("address", "住所", "Address", _PUBLIC, MaskRule.HIDE, _HERE),
    ),
    facts=(
        Fact("is_active", "正常存续", "Is active", None, (), ("status",), facts.is_active),
        Fact("is_abnormal", "列入经营异常名录", "Is listed as abnormal", None, (), ("abnormal_since",), facts.is_abnormal),
    ),
    table="business_licence",
    events=("enterprise.registered", "enterprise.changed", "enterprise.deregistered"),
)  # fmt: skip

DATA_SETS = (BUSINESS_LICENCE,)
