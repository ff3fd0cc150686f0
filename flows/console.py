"""What a person sees while a run goes on: one line an instance, a bar for what is at work."""

import threading
import time

from rich.console import Console as Terminal
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

EVERY = 15.0  # seconds between plain lines of one instance where there is no terminal


class Console:
    """Bars on a terminal, plain lines elsewhere; on standard error, so that output stays clean."""

    def __init__(self) -> None:
        self._terminal = Terminal(stderr=True, highlight=False, markup=False)
        self._guard = threading.Lock()
        self._bars: dict[str, TaskID] = {}
        self._told: dict[str, float] = {}
        self._began: dict[str, float] = {}
        self._progress = Progress(
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._terminal,
            transient=True,
            disable=not self._terminal.is_terminal,
        )

    def __enter__(self) -> "Console":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def started(self, instance: str) -> None:
        """A job has a slot."""
        with self._guard:
            self._began[instance] = self._told[instance] = time.monotonic()
            self._bars[instance] = self._progress.add_task(instance, total=None, unit="")

    def progress(self, instance: str, done: float, total: float, unit: str) -> None:
        """A job is ``done`` of ``total`` ``unit``; rate and time left are worked out here."""
        with self._guard:
            bar = self._bars.get(instance)
            if bar is not None:
                self._progress.update(bar, completed=done, total=total, unit=unit)
            now = time.monotonic()
            if self._terminal.is_terminal or now - self._told.get(instance, now) < EVERY:
                return
            self._told[instance] = now
            seconds = now - self._began[instance]
            rate = done / seconds
            left = f", {(total - done) / rate:.0f} s left" if rate > 0 else ""
        self.say(f"{instance}  {done:.0f} of {total:.0f} {unit}, {rate:.1f} a second{left}")

    def ended(self, instance: str, words: str) -> None:
        """An instance is done with, one way or another."""
        with self._guard:
            bar = self._bars.pop(instance, None)
            if bar is not None:
                self._progress.remove_task(bar)
        self.say(f"{instance}  {words}")

    def say(self, words: str) -> None:
        """One line."""
        self._terminal.print(words, soft_wrap=True)
