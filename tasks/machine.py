"""How many jobs a machine, or the container that stands for one, can hold at once."""

import os
from collections.abc import Sequence
from pathlib import Path

# A frame of a dump asks for a window of 2 GiB, and a range of threads wants about as much.
JOB_MEMORY = 3 << 30
# Where the kernel says what a container may hold, by cgroups of version 2 and 1.
LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def slots(held: int) -> int:
    """As many jobs as there are cores, if ``held`` bytes of memory suffice; at least one."""
    return max(1, min(len(os.sched_getaffinity(0)), held // JOB_MEMORY))


def memory(limits: Sequence[Path] = LIMITS) -> int:
    """The bytes that this process may hold: the machine's, or a container's where that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    said = [path.read_text(encoding="ascii").strip() for path in limits if path.exists()]
    return min([machine, *(int(bytes_) for bytes_ in said if bytes_ != "max")])
