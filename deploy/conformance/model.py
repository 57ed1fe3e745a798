"""What is checked, and what a check found. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """检测项. One thing that must hold: what it is called, and what to do when it does not."""

    code: str
    title_zh: str
    title_en: str
    advice_zh: str
    advice_en: str


_ROWS = (
    Check("reachable", "可访问", "It can be reached",
          "检查 base_url、addresses、认证文件和业务系统是否在运行；适配器日志写明了原因。",
          "Check base_url, addresses, the secret files, and whether the existing system runs; the adapter's log says why."),
    Check("schema", "数据项与声明一致", "Items are as declared",
          "按所列数据项修改声明中的 pointer、type、format 或 map，或修改业务系统。",
          "Correct pointer, type, format or map of the named items, or the existing system."),
    Check("masks", "脱敏正确", "Masked forms are right",
          "检查所列数据项的 mask：脱敏结果应保留规定部分，值过短时整体隐藏。",
          "Look at the mask of the named items: what they show is not what the rule keeps."),
    Check("facts", "核验项正确", "Facts are right",
          "把表达式与完整数据项对照；同一数据项应得出同一结论。",
          "Compare the expression with the items in full: the same items must give the same answer."),
    Check("no-record", "查无记录有签名应答", "An unknown subject gives a signed no record",
          "在 no_record 中写明业务系统表示“查无此人”的方式。",
          "Say in no_record how the existing system says that it knows nobody of that number."),
    Check("refusals", "错误请求被拒绝", "Wrong input is refused",
          "不合规范的主体、未声明的数据项和授权之外的参数必须被拒绝。",
          "A subject that is none, an item that is not declared and an argument outside the right must be refused."),
    Check("record", "数据凭据可验证", "Records verify",
          "检查签名密钥是否已登记、schema_version 是否与登记一致。",
          "Check that the signing key is enrolled, and that schema_version is the registered one."),
    Check("latency", "响应时间", "Answers are in time",
          "降低 total_ms，或提高业务系统的速度；p99 应低于网关期限的一半。",
          "Make the existing system faster, or total_ms smaller: p99 must stay below half of the gateway's deadline."),
    Check("joint-masks", "组合脱敏下限", "Masks hold together",
          "对同一人同时给出的号码、出生日期等不得使候选号码少于一万个：改用更强的 mask 或 hide。",
          "What is shown of one third person together must leave 10,000 ID numbers: use a harder mask, or hide."),
)  # fmt: skip

CHECKS: Mapping[str, Check] = MappingProxyType({row.code: row for row in _ROWS})


@dataclass(frozen=True, slots=True)
class Finding:
    """检测结论. What one check found; `details` names items, codes and figures, never a value or a subject."""

    code: str
    passed: bool
    details: Sequence[str] = ()
    figures: Mapping[str, float] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The row of a report, with words for both languages."""
        check = CHECKS[self.code]
        return {
            "code": self.code,
            "passed": self.passed,
            "title_zh": check.title_zh,
            "title_en": check.title_en,
            "details": list(self.details),
            # Canonical JSON has whole numbers only.
            "figures": {name: round(value) for name, value in self.figures.items()},
            "advice_zh": "" if self.passed else check.advice_zh,
            "advice_en": "" if self.passed else check.advice_en,
        }


@dataclass(frozen=True, slots=True)
class Samples:
    """样例主体. Test subjects that the register knows, and one that it does not."""

    known: tuple[str, ...]
    unknown: str
