"""Whom to ask about in the sandbox to see a case: a minor, somebody deceased, a mortgaged flat, a refusal."""

from __future__ import annotations

from dataclasses import dataclass

from departments.client import Cast, cast
from deploy.home import CONSUMER, SANDBOX, translated
from deploy.launching import SANDBOX_SEED
from deploy.local import PEOPLE

_IDENTITY = "public-security/population/resident-identity"
_DEED_TAX = "tax/taxation/deed-tax"
_ENCUMBRANCE = "real-estate/registration/encumbrance"
_OWNERSHIP = "real-estate/registration/ownership"
_LICENCE = "market-regulation/enterprise/business-licence"
_CONTRIBUTIONS = "social-security/insurance/contributions"
_TAX_STATUS = "tax/taxation/tax-status"
NOBODY = "no-record"


@dataclass(frozen=True, slots=True)
class Scenario:
    """测试情形. Ask `service` whether `fact` holds of `subject`; `answer` is yes, no, no-record, or the code of the refusal."""

    name: str
    zh: str
    en: str
    subject: str
    service: str
    fact: str
    answer: str

    @property
    def service_id(self) -> str:
        """The service in the sandbox."""
        return f"{SANDBOX}/GOV/{self.service}"


def scenarios(people: int = PEOPLE, seed: int = SANDBOX_SEED) -> tuple[Scenario, ...]:
    """The cases that the sandbox's people of this number and seed stand for."""
    who = cast(seed, people)
    return (*_of_people(who), *_of_flats(who), *_of_firms(who), *_of_refusals(who))


def consumer_of_sandbox() -> str:
    """The consumer whose test rights these cases need."""
    return translated(CONSUMER, SANDBOX)


def _of_people(who: Cast) -> tuple[Scenario, ...]:
    return (
        Scenario("adult", "成年、证件有效", "of age, with a valid card", who.buyer.id, _IDENTITY, "is_adult", "yes"),
        Scenario("minor", "未成年人", "a minor", who.minor.id, _IDENTITY, "is_adult", "no"),
        Scenario("deceased", "已故", "somebody deceased", who.deceased.id, _IDENTITY, "id_is_valid", "no"),
        Scenario("expired-card", "身份证过期", "an expired card", who.expired_card.id, _IDENTITY, "id_is_valid", "no"),
        Scenario(
            *("registered-elsewhere", "外地户籍", "registered elsewhere", who.registered_elsewhere.id),
            *(_IDENTITY, "is_registered_here", "no"),
        ),
        Scenario("ends-in-x", "号码以 X 结尾", "a number that ends in X", who.ends_in_x.id, _IDENTITY, "is_adult", "yes"),
        Scenario("dotted-name", "姓名带间隔号", "a name with a dot", who.dotted_name.id, _IDENTITY, "is_adult", "yes"),
        Scenario("nobody", "查无此人", "nobody of that number", who.nobody, _IDENTITY, "is_adult", NOBODY),
    )


def _of_flats(who: Cast) -> tuple[Scenario, ...]:
    return (
        Scenario("tax-paid", "契税已缴", "deed tax paid", who.buyer.id, _DEED_TAX, "deed_tax_paid", "yes"),
        Scenario("tax-owed", "契税未缴", "deed tax not paid", who.indebted_buyer.id, _DEED_TAX, "deed_tax_paid", "no"),
        Scenario("mortgaged", "房屋已抵押", "a mortgaged flat", who.mortgagor.id, _ENCUMBRANCE, "is_mortgaged", "yes"),
        Scenario("seized", "房屋被查封", "a seized flat", who.seized_seller.id, _ENCUMBRANCE, "is_seized", "yes"),
        Scenario("joint-owners", "共同共有", "a flat of two", who.mortgagor.id, _OWNERSHIP, "is_sole_owner", "no"),
    )


def _of_firms(who: Cast) -> tuple[Scenario, ...]:
    return (
        Scenario("firm", "存续企业", "an active firm", who.buying_firm.id, _LICENCE, "is_active", "yes"),
        Scenario("firm-gone", "注销企业", "a firm struck off", who.deregistered_firm.id, _LICENCE, "is_active", "no"),
        Scenario("firm-abnormal", "经营异常", "a firm listed as abnormal", who.abnormal_firm.id, _LICENCE, "is_abnormal", "yes"),
        Scenario("no-firm", "查无此企业", "no such firm", who.no_firm, _LICENCE, "is_active", NOBODY),
    )


def _of_refusals(who: Cast) -> tuple[Scenario, ...]:
    return (
        Scenario(
            *("no-consent", "未取得同意", "no consent was given", who.buyer.id, _CONTRIBUTIONS),
            *("contributed_months_at_least", "consent-required"),
        ),
        Scenario("no-right", "没有授权", "no right", who.firm_in_arrears.id, _TAX_STATUS, "has_arrears", "right-missing"),
    )
