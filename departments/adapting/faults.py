"""What is wrong with a declaration: every fault with its file, line and path, collected instead of raised."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

MAX_FAULTS = 200


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """声明错误. One thing that is wrong and what would be right; never the value itself, which may be a secret."""

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        """`file:line: path: message`."""
        return (
            f"{self.file}:{self.line}: {self.path}: {self.message}" if self.path else f"{self.file}:{self.line}: {self.message}"
        )


Faults: TypeAlias = tuple[Fault, ...]


@dataclass(slots=True)
class FaultList:
    """错误收集. The faults of one file as they are found."""

    file: str
    found: list[Fault] = field(default_factory=list)

    def add(self, line: int, path: str, message: str) -> None:
        """Note a fault; beyond MAX_FAULTS only that there are more."""
        if len(self.found) < MAX_FAULTS:
            self.found.append(Fault(self.file, line, path, message))
        elif len(self.found) == MAX_FAULTS:
            self.found.append(Fault(self.file, line, "", "there are more faults; mend these first"))

    def sorted(self) -> Faults:
        """In the order of lines."""
        return tuple(sorted(self.found))
