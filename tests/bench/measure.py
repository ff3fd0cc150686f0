"""What every benchmark shares: the processor time of a child, the table, the last line.

Processor time (user and system) tolerates other load on the machine, wall time does not. A
benchmark's own process imports nothing heavy: a child's peak counts from its parent's size.
"""

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Usage:
    """What a child used: processor seconds of it and its own children; MiB of the largest."""

    seconds: float
    peak_mib: float


def child(command: list[str], output: IO[bytes] | int = subprocess.DEVNULL) -> Usage:
    """Run ``command`` to its end. Raises CalledProcessError if it fails."""
    process = subprocess.Popen(command, stdout=output)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Usage(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def python(*arguments: str | Path) -> Usage:
    """Run ``python -m`` with ``arguments``."""
    return child([sys.executable, "-m", *map(str, arguments)])


def least(*usages: Usage) -> float:
    """The fewest seconds of several tries: whatever disturbs one only adds to it."""
    return min(usage.seconds for usage in usages)


@dataclass(frozen=True)
class Row:
    """One ratio of the table, with what it is made of; ``target`` None if nothing is asked."""

    name: str
    ours: str
    peer: str
    ratio: float
    target: float | None
    at_least: bool = False

    def cells(self) -> tuple[str, ...]:
        """The row as it is printed."""
        if self.target is None:
            return self.name, self.ours, self.peer, f"{self.ratio:.2f}", "", ""
        met = self.ratio >= self.target if self.at_least else self.ratio <= self.target
        target = f"{'>=' if self.at_least else '<='} {self.target:g}"
        return self.name, self.ours, self.peer, f"{self.ratio:.2f}", target, "yes" if met else "NO"


def conclude(bench: str, rows: list[Row], notes: list[str]) -> None:
    """Print the table, the notes, and one line of JSON. A target that is not met fails nothing."""
    table = [("name", "ours", "peer", "ratio", "target", "met"), *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print(line.rstrip())
    print(*notes, sep="\n")
    ratios = {row.name: round(row.ratio, 3) for row in rows}
    print(json.dumps({"bench": bench, "ratios": ratios, "machine": machine()}))


def machine() -> dict[str, str | int]:
    """What the numbers were measured on."""
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            processor = line.split(":")[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return {
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": memory,
        "system": platform.platform(),
        "python": platform.python_version(),
    }
