"""What identity knows of the catalogue: titles for the text that a person is shown, as the registry puts them here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exchange.identifiers import parse_subject
from exchange.problem import Problem
from identity.model import ConsentTerms

SENSITIVE = 3


@dataclass(frozen=True, slots=True)
class Titles:
    """名称. One thing's name in both languages."""

    zh: str
    en: str

    def in_language(self, language: str) -> str:
        """The name for `zh-CN` or `en`."""
        return self.zh if language.startswith("zh") else self.en


@dataclass(frozen=True, slots=True)
class ItemNotice:
    """数据项告知. An item's titles, and whether its value is sensitive (敏感个人信息)."""

    titles: Titles
    is_sensitive: bool


@dataclass(frozen=True, slots=True)
class FactNotice:
    """核验项告知. A fact's titles, its parameter and the arguments that may be asked at all."""

    titles: Titles
    parameter: str | None
    allowed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ServiceNotice:
    """共享服务告知. What a person is told about a service and its provider."""

    service: str
    titles: Titles
    provider: Titles
    subject_kind: str
    items: Mapping[str, ItemNotice]
    facts: Mapping[str, FactNotice]


@dataclass(frozen=True, slots=True)
class Notice:
    """告知要素. Everything that the text names: the service, who asks, and for what."""

    service: ServiceNotice
    consumer: Titles
    contact: str
    purpose: Titles


def parse_titles(value: Mapping[str, Any]) -> Titles:
    """Read `{"title_zh", "title_en"}`. Raises KeyError."""
    return Titles(value["title_zh"], value["title_en"])


def parse_service(code: str, entry: Mapping[str, Any]) -> ServiceNotice:
    """Read the stored form of a service's entry. Raises KeyError."""
    return ServiceNotice(
        service=code,
        titles=parse_titles(entry),
        provider=Titles(entry["provider_zh"], entry["provider_en"]),
        subject_kind=entry["subject_kind"],
        items={
            name: ItemNotice(parse_titles(item), item["classification"] >= SENSITIVE) for name, item in entry["items"].items()
        },
        facts={
            name: FactNotice(parse_titles(fact), fact["parameter"], tuple(fact["allowed"]))
            for name, fact in entry["facts"].items()
        },
    )


def require_offered(service: ServiceNotice, terms: ConsentTerms, subject: str) -> str:
    """The subject in its plain form. Raises `malformed-request` for names, arguments or a subject the service cannot have."""
    unknown = [name for name in terms.items if name not in service.items]
    unknown += [name for name in terms.facts if name not in service.facts]
    if unknown:
        raise Problem("malformed-request", f"the data set has no {', '.join(unknown)}")
    for name, values in terms.facts.items():
        allowed = service.facts[name].allowed
        if bool(values) != bool(allowed) or not set(values) <= set(allowed):
            raise Problem("malformed-request", f"the fact {name} takes {', '.join(map(str, allowed)) or 'no arguments'}")
    return parse_subject(service.subject_kind, subject)
