"""What changed for consumers between two versions of a data set: what breaks them, what is new to ask, what they only see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from registry.catalogue.model import CatalogueEntry, EventNote, ItemNote, Words
from registry.model import FactEntry, ItemEntry, ServiceEntry, SharingClass


class Effect(StrEnum):
    """变更影响. What a change means for those who ask already."""

    BREAKING = "breaking"
    WIDENING = "widening"
    HARMLESS = "harmless"


@dataclass(frozen=True, slots=True)
class Change:
    """版本差异. One difference: where (`items.name`, `facts.n`, …), what it means, and the same in words."""

    place: str
    effect: Effect
    words: Words


@dataclass(frozen=True, slots=True)
class Version:
    """目录版本. A data set with its catalogue entry, which the oldest may lack."""

    service: ServiceEntry
    entry: CatalogueEntry | None


_STRICTNESS = {SharingClass.UNCONDITIONAL: 0, SharingClass.CONDITIONAL: 1, SharingClass.REFUSED: 2}


def compare(before: Version, after: Version) -> tuple[Change, ...]:
    """Everything that changed, what breaks first; empty for two equal versions. Pure."""
    changes = (
        *_whole(before, after),
        *_named("items", before.service.items, after.service.items),
        *_named("facts", before.service.fact_entries, after.service.fact_entries),
        *_events(before, after),
        *(change for name in _common(before.service.items, after.service.items) for change in _item(name, before, after)),
        *(
            change
            for name in _common(before.service.fact_entries, after.service.fact_entries)
            for change in _fact(name, before, after)
        ),
    )
    order = list(Effect)
    return tuple(sorted(changes, key=lambda change: (order.index(change.effect), change.place)))


def is_breaking(changes: tuple[Change, ...]) -> bool:
    """Whether somebody who asks already must change something."""
    return any(change.effect is Effect.BREAKING for change in changes)


def _change(place: str, effect: Effect, zh: str, en: str) -> Change:
    return Change(place, effect, Words(zh, en))


def _common(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    return [name for name in before if name in after]


def _whole(before: Version, after: Version) -> Iterator[Change]:
    old, new = before.service, after.service
    if old.subject_kind is not new.subject_kind:
        yield _change("subject_kind", Effect.BREAKING, "数据主体类别改变", "it is about another kind of subject")
    if old.sharing_class is not new.sharing_class:
        yield _sharing("sharing_class", old.sharing_class, new.sharing_class)
    if old.sharing_terms != new.sharing_terms:
        yield _change("sharing_terms", Effect.HARMLESS, "共享条件的表述改变", "the terms are worded otherwise")
    if (old.title_zh, old.title_en) != (new.title_zh, new.title_en):
        yield _change("title", Effect.HARMLESS, "名称改变", "it has another title")
    if before.entry is not None and after.entry is not None:
        yield from _entry(before.entry, after.entry)


def _entry(old: CatalogueEntry, new: CatalogueEntry) -> Iterator[Change]:
    if old.frequency is not new.frequency:
        yield _change("frequency", Effect.HARMLESS, f"更新周期改为 {new.frequency}", f"it is brought up to date {new.frequency}")
    gone = set(old.offered) - set(new.offered)
    for offer in sorted(gone):
        yield _change("offered", Effect.BREAKING, f"不再以 {offer} 方式提供", f"it is no longer offered as {offer}")
    for basis in sorted(set(old.bases) - set(new.bases)):
        yield _change("bases", Effect.BREAKING, f"不再接受 {basis} 作为依据", f"a right can no longer rest upon {basis}")
    for place in ("name", "abstract", "keywords", "unit", "maintainer", "conditions", "laws", "history", "gaps", "valid_until"):
        if getattr(old, place) != getattr(new, place):
            yield _change(place, Effect.HARMLESS, "目录说明改变", "the catalogue says something else")


def _sharing(place: str, old: SharingClass, new: SharingClass) -> Change:
    effect = Effect.BREAKING if _STRICTNESS[new] > _STRICTNESS[old] else Effect.WIDENING
    return _change(place, effect, f"共享属性由 {old} 改为 {new}", f"the sharing class was {old} and is {new}")


def _named(place: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[Change]:
    for name in old:
        if name not in new:
            yield _change(f"{place}.{name}", Effect.BREAKING, "不再提供", "it is gone")
    for name in new:
        if name not in old:
            yield _change(f"{place}.{name}", Effect.WIDENING, "新增", "it is new")


def _events(before: Version, after: Version) -> Iterator[Change]:
    yield from _named("events", dict.fromkeys(before.service.events), dict.fromkeys(after.service.events))
    for name in before.service.events:
        old, new = (None if version.entry is None else version.entry.events.get(name) for version in (before, after))
        if old is not None and new is not None:
            yield from _event(f"events.{name}", old, new)


def _event(place: str, old: EventNote, new: EventNote) -> Iterator[Change]:
    yield from _named(f"{place}.items", dict.fromkeys(old.items), dict.fromkeys(new.items))
    if old.retention_days != new.retention_days:
        # Who comes for its events less often than they are kept does not get all of them any more.
        effect = Effect.BREAKING if new.retention_days < old.retention_days else Effect.HARMLESS
        days = new.retention_days
        yield _change(f"{place}.retention_days", effect, f"保留天数改为 {days}", f"it is kept for {days} days")
    if (old.title, old.example) != (new.title, new.example):
        yield _change(place, Effect.HARMLESS, "说明改变", "the catalogue says something else of it")


def _item(name: str, before: Version, after: Version) -> Iterator[Change]:
    place, old, new = f"items.{name}", before.service.items[name], after.service.items[name]
    yield from _item_entry(place, old, new)
    notes = [None if version.entry is None else version.entry.items.get(name) for version in (before, after)]
    if notes[0] is not None and notes[1] is not None:
        yield from _note(place, notes[0], notes[1], before.service.sharing_class, after.service.sharing_class)


def _item_entry(place: str, old: ItemEntry, new: ItemEntry) -> Iterator[Change]:
    if old.classification != new.classification:
        effect = Effect.BREAKING if new.classification > old.classification else Effect.HARMLESS
        yield _change(place, effect, f"分级改为 {new.classification}", f"its classification is {new.classification}")
    if old.mask != new.mask:
        # Whoever reads the masked form reads another one now, whichever is the harder.
        effect = Effect.HARMLESS if old.mask is None else Effect.BREAKING
        yield _change(place, effect, f"脱敏规则改为 {new.mask}", f"its mask is {new.mask}")
    if old.ranged and not new.ranged:
        yield _change(place, Effect.BREAKING, "不再支持时间范围", "it takes no range any more")
    if new.ranged and not old.ranged:
        yield _change(place, Effect.WIDENING, "支持时间范围", "it takes a range")
    if old.source != new.source:
        yield _change(place, Effect.HARMLESS, f"数源部门改为 {new.source}", f"it comes from {new.source}")
    if (old.title_zh, old.title_en) != (new.title_zh, new.title_en):
        yield _change(place, Effect.HARMLESS, "名称改变", "it has another title")


def _note(place: str, old: ItemNote, new: ItemNote, *classes: SharingClass) -> Iterator[Change]:
    if old.type is not new.type:
        yield _change(place, Effect.BREAKING, f"类型由 {old.type} 改为 {new.type}", f"its type was {old.type} and is {new.type}")
    sharing = [note.sharing or whole for note, whole in zip((old, new), classes, strict=True)]
    if (old.sharing or new.sharing) is not None and sharing[0] is not sharing[1]:
        yield _sharing(place, *sharing)
    for code in sorted(set(old.codes) - set(new.codes)):
        yield _change(f"{place}.codes.{code}", Effect.BREAKING, "代码不再使用", "the code is gone")
    for code in sorted(set(new.codes) - set(old.codes)):
        # Who translates codes by a table of its own does not know a new one.
        yield _change(f"{place}.codes.{code}", Effect.WIDENING, "新增代码", "the code is new")
    for code in sorted(set(old.codes) & set(new.codes)):
        if old.codes[code] != new.codes[code]:
            yield _change(f"{place}.codes.{code}", Effect.BREAKING, "代码含义改变", "the code means something else")
    if (old.description, old.history, old.gaps) != (new.description, new.history, new.gaps):
        yield _change(place, Effect.HARMLESS, "说明改变", "the catalogue says something else of it")


def _fact(name: str, before: Version, after: Version) -> Iterator[Change]:
    place = f"facts.{name}"
    old: FactEntry = before.service.fact_entries[name]
    new: FactEntry = after.service.fact_entries[name]
    if old.parameter != new.parameter:
        yield _change(place, Effect.BREAKING, f"参数改为 {new.parameter}", f"its parameter is {new.parameter}")
    for argument in sorted(set(old.allowed) - set(new.allowed)):
        yield _change(place, Effect.BREAKING, f"不再允许参数值 {argument}", f"{argument} may not be asked any more")
    for argument in sorted(set(new.allowed) - set(old.allowed)):
        yield _change(place, Effect.WIDENING, f"允许参数值 {argument}", f"{argument} may be asked")
    if (old.title_zh, old.title_en) != (new.title_zh, new.title_en):
        yield _change(place, Effect.HARMLESS, "名称改变", "it has another title")
