"""How much a machine holds at once."""

import os

from tasks import machine

WHOLE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_containers_limit_counts_where_it_is_less_than_the_machine(tmp_path):
    limit, absent = tmp_path / "memory.max", tmp_path / "absent"
    limit.write_text(f"{1 << 30}\n")
    assert machine.memory([limit, absent]) == 1 << 30
    limit.write_text("max\n")
    assert machine.memory([limit]) == WHOLE
    # Version 1 says it by a number that no machine has.
    limit.write_text("9223372036854771712\n")
    assert machine.memory([limit]) == WHOLE


def test_there_is_a_slot_on_the_smallest_machine_and_no_more_than_cores_on_the_largest():
    cores = len(os.sched_getaffinity(0))
    assert machine.slots(1 << 30) == 1
    assert machine.slots(machine.JOB_MEMORY * cores) == cores
    assert machine.slots(machine.JOB_MEMORY * cores * 10) == cores
