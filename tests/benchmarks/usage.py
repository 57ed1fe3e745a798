"""What processes use of processor and memory, read from /proc; where there is none, nothing is known and nothing is said."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_BACKEND = re.compile(r"postgres: (?:yitong_)?(\w+) \S+ \S+\(\d+\)")
POSTGRES = "postgres"
ENDED = f"{POSTGRES}: ended"


@dataclass(frozen=True, slots=True)
class Reading:
    """Processor seconds used so far by each process: pid to (name, seconds)."""

    spent: Mapping[int, tuple[str, float]]

    def since(self, earlier: Reading) -> dict[str, float]:
        """Seconds by name between two readings; of processes that ended in between only the database's are known, as one."""
        used: dict[str, float] = {}
        for pid, (name, seconds) in self.spent.items():
            used[name] = used.get(name, 0.0) + seconds - earlier.spent.get(pid, (name, 0.0))[1]
        for pid, (name, seconds) in earlier.spent.items():
            if pid not in self.spent and name.startswith(f"{POSTGRES}: "):
                used[ENDED] = used.get(ENDED, 0.0) - seconds  # all of an ended process counts for its parent only now
        return used


@dataclass(frozen=True, slots=True)
class Meter:
    """Reads a set of named processes. That of the database stands for its children too, told apart by their role."""

    pids: Mapping[str, int]

    def read(self) -> Reading:
        """Processor seconds, user and system."""
        if not (PROC / "self" / "stat").exists():
            return Reading({})
        spent: dict[int, tuple[str, float]] = {}
        for name, pid in self.pids.items():
            with suppress(OSError, ValueError):
                spent[pid] = (name, _cpu_seconds(pid))
        if (postmaster := self.pids.get(POSTGRES)) is not None:
            with suppress(OSError, ValueError):
                spent[-postmaster] = (ENDED, _cpu_seconds(postmaster, ended_children=True))
            for pid in _children(postmaster):
                with suppress(OSError, ValueError):
                    spent[pid] = (_backend(pid), _cpu_seconds(pid))
        return Reading(spent)

    def memory_mb(self) -> dict[str, float]:
        """Resident memory; for the database the sum of its processes' proportional shares."""
        sizes: dict[str, float] = {}
        for name, pid in self.pids.items():
            with suppress(OSError, ValueError, IndexError):
                sizes[name] = _field_mb(pid, "status", "VmRSS")
        if (postmaster := self.pids.get(POSTGRES)) is not None:
            with suppress(OSError, ValueError, IndexError):
                everybody = [postmaster, *_children(postmaster)]
                sizes[POSTGRES] = sum(_field_mb(pid, "smaps_rollup", "Pss") for pid in everybody)
        return sizes


def _cpu_seconds(pid: int, *, ended_children: bool = False) -> float:
    """User and system time: proc(5) `stat` fields 14 and 15, or 16 and 17 for those of children that have ended."""
    fields = (PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    first = 13 if ended_children else 11
    return (int(fields[first]) + int(fields[first + 1])) / _TICKS


def _children(parent: int) -> Iterator[int]:
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError):
                fields = (entry / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
                if int(fields[1]) == parent:
                    yield int(entry.name)


def _backend(pid: int) -> str:
    title = (PROC / str(pid) / "cmdline").read_text(encoding="utf-8", errors="replace")
    found = _BACKEND.match(title)
    return f"{POSTGRES}: {found[1]}" if found else f"{POSTGRES}: background"


def _field_mb(pid: int, file: str, name: str) -> float:
    text = (PROC / str(pid) / file).read_text(encoding="ascii", errors="replace")
    [line] = [line for line in text.splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) / 1024


@dataclass(frozen=True, slots=True)
class Machine:
    """Processor seconds of the whole machine since it began: spent by anybody (the hypervisor's other guests too), and in all."""

    busy: float
    total: float

    @classmethod
    def read(cls) -> Machine:
        """Now; nothing where there is no /proc."""
        with suppress(OSError, ValueError):
            fields = (PROC / "stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
            ticks = [int(field) / _TICKS for field in fields]
            idle = ticks[3] + ticks[4]
            return cls(sum(ticks) - idle, sum(ticks))
        return cls(0.0, 0.0)

    def share_of_others(self, earlier: Machine, ours: float) -> float:
        """Which share of all processors went to others than us, who spent `ours` seconds, since an earlier reading."""
        total = self.total - earlier.total
        return max(0.0, self.busy - earlier.busy - ours) / total if total > 0 else math.nan


def machine_facts() -> dict[str, object]:
    """What the figures were taken on: processor, cores, memory, system, load before."""
    facts: dict[str, object] = {
        "system": f"{os.uname().sysname} {os.uname().release}",
        "architecture": os.uname().machine,
        "cores": os.cpu_count(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }
    with suppress(OSError, StopIteration):
        lines = (PROC / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        facts["processor"] = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    with suppress(OSError, StopIteration):
        lines = (PROC / "meminfo").read_text(encoding="ascii").splitlines()
        facts["memory_gb"] = next(round(int(line.split()[1]) / 1024**2, 1) for line in lines if line.startswith("MemTotal"))
    return facts


def peak_mb(pid: int) -> float:
    """The most memory that a process has held since its program began, in MiB (VmHWM of proc(5)).

    `getrusage` would count what its parent held when it forked.
    """
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    [peak] = [line for line in lines if line.startswith("VmHWM:")]
    return int(peak.split()[1]) / 1024
