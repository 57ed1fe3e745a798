"""What the registry's endpoints work with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine

from exchange.clock import Clock
from registry.journal import Journal
from registry.publish import Publisher
from registry.registrar import Registrar
from registry.right_book import RightBook


@dataclass(frozen=True, slots=True)
class Desk:
    """登记窗口. Made once at the start."""

    instance: str
    registrar: Registrar
    rights: RightBook
    publisher: Publisher
    journal: Journal
    engine: AsyncEngine
    clock: Clock


def desk_of(request: Request) -> Desk:
    """FastAPI dependency: what the process works with."""
    found: Desk = request.app.state.desk
    return found


TheDesk = Annotated[Desk, Depends(desk_of)]
