"""The exact words that a person is shown before answering (个人信息保护法 art. 17, 23, 29, 30), in both languages.

Deterministic: the same terms and titles give the same bytes, so that anybody can make the hash in a grant again.
"""

from __future__ import annotations

from datetime import UTC, datetime

from exchange.clock import CHINA
from identity.catalogue import Notice, Titles
from identity.model import ConsentTerms, ConsentText, Mode

CHINESE, ENGLISH = "zh-CN", "en"
LANGUAGES = (CHINESE, ENGLISH)


def write_texts(notice: Notice, terms: ConsentTerms, *, guardian_until_years: int | None) -> tuple[ConsentText, ...]:
    """The text in each language; `guardian_until_years` is the age up to which a guardian answers, None where nobody does."""
    return (
        ConsentText(CHINESE, "\n".join(_chinese(notice, terms, guardian_until_years)) + "\n"),
        ConsentText(ENGLISH, "\n".join(_english(notice, terms, guardian_until_years)) + "\n"),
    )


def _chinese(notice: Notice, terms: ConsentTerms, years: int | None) -> list[str]:
    life = f"，保存不超过 {terms.data_life_days} 天" if terms.data_life_days else ""
    start = _instant(terms.valid_from) if terms.valid_from else "自同意时起"
    lines = [
        "数据提供同意书",
        f"请求方：{notice.consumer.zh}（{terms.consumer}）",
        f"请求方联系方式：{notice.contact or '由请求方另行提供'}",
        f"提供方：{notice.service.provider.zh}",
        f"使用目的：{notice.purpose.zh}（{terms.purpose}）",
        f"数据来源：{notice.service.titles.zh}（{terms.service}）",
        *_named("提供的数据项：", _items(notice, terms, CHINESE)),
        *_named("只回答是或否的核验项：", _facts(notice, terms, CHINESE)),
        f"数据所属月份：{_months(terms, '不限', '至')}",
        f"使用方式：{'仅供查看，不得保存' if terms.mode is Mode.VIEW else '可以保存' + life}",
        f"使用次数：{f'最多 {terms.use.max_uses} 次' if terms.use.max_uses else '有效期内不限次数'}",
        f"有效期：{start} 至 {_instant(terms.valid_until)}（北京时间，不含截止时刻）",
    ]
    if years:
        lines.append(f"未满 {years} 周岁的，由监护人同意；监护人的同意在年满 {years} 周岁时失效。")
    lines.append("您可以拒绝，也可以随时撤回。撤回与同意同样简便；撤回经确认后，不再据此提供数据，此前已提供的不受影响。")
    return lines


def _english(notice: Notice, terms: ConsentTerms, years: int | None) -> list[str]:
    life = f", for {terms.data_life_days} days at most" if terms.data_life_days else ""
    start = _instant(terms.valid_from) if terms.valid_from else "your consent"
    lines = [
        "Consent to the provision of data",
        f"Who asks: {notice.consumer.en} ({terms.consumer})",
        f"How to reach them: {notice.contact or 'they will tell you'}",
        f"Who provides: {notice.service.provider.en}",
        f"What for: {notice.purpose.en} ({terms.purpose})",
        f"Source: {notice.service.titles.en} ({terms.service})",
        *_named("Data items provided:", _items(notice, terms, ENGLISH)),
        *_named("Questions answered with yes or no only:", _facts(notice, terms, ENGLISH)),
        f"Months of the data: {_months(terms, 'any', 'to')}",
        f"Use: {'to be looked at, not to be kept' if terms.mode is Mode.VIEW else 'may be kept' + life}",
        f"How often: {f'{terms.use.max_uses} at most' if terms.use.max_uses else 'any number of times while valid'}",
        f"Valid: from {start} until before {_instant(terms.valid_until)} (China time)",
    ]
    if years:
        lines.append(f"Below the age of {years} a guardian consents; a guardian's consent ends when that age is reached.")
    lines.append("You may decline, and you may withdraw at any time, as easily as you consent.")
    lines.append("Once a withdrawal is confirmed nothing more is provided on it; what was provided before is not affected.")
    return lines


def _months(terms: ConsentTerms, any_month: str, to: str) -> str:
    if terms.data_from is None and terms.data_until is None:
        return any_month
    return f"{terms.data_from or any_month} {to} {terms.data_until or any_month}"


def _named(title: str, rows: list[str]) -> list[str]:
    return [title, *(f"- {row}" for row in rows)] if rows else []


def _items(notice: Notice, terms: ConsentTerms, language: str) -> list[str]:
    mark = "，敏感个人信息" if language == CHINESE else ", sensitive personal information"
    items = ((name, notice.service.items[name]) for name in sorted(terms.items))
    return [_titled(item.titles, name, language) + (mark if item.is_sensitive else "") for name, item in items]


def _facts(notice: Notice, terms: ConsentTerms, language: str) -> list[str]:
    rows = []
    for name in sorted(terms.facts):
        fact, values = notice.service.facts[name], sorted(terms.facts[name])
        with_values = f" {fact.parameter} = {', '.join(map(str, values))}" if values else ""
        rows.append(_titled(fact.titles, name, language) + with_values)
    return rows


def _titled(titles: Titles, name: str, language: str) -> str:
    return f"{titles.zh}（{name}）" if language == CHINESE else f"{titles.en} ({name})"


def _instant(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S")
