"""Locks on open files: the kernel frees one when its holder dies, whatever killed it."""

import fcntl
from typing import IO, Any


def try_lock(file: int | IO[Any]) -> bool:
    """Hold the lock on an open file alone until it is closed, if nobody else holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
