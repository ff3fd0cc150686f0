"""Processes that run jobs one after the other, so that torch is imported once a slot.

The parent writes one specification a line to a worker's standard input and reads messages, one
JSON document a line, from its standard output. A thread in the worker reads that input all the
time: when it ends, because the parent closed it or died, even by kill -9, the worker is gone at
once. What a job prints goes to its log.

Children never share threads: each runs with one thread, because two training processes with two
threads each came to a standstill on two cores.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from karma import jobs
from karma.cards import Card
from karma.errors import InputError, StageError, ToldError, UserError
from karma.fingerprint import changed

# Before torch is imported: a thread that waits must not spin.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "PYTHONUNBUFFERED": "1",
    # No module of the folder in which somebody starts a run is any of ours.
    "PYTHONSAFEPATH": "1",
}

# Seconds after which cards that another run has are asked for again.
LOOK_AGAIN = 1.0


class _DiedError(StageError):
    """A worker's process ended in the middle of a job."""


class Worker:
    """One child process that runs jobs; use it from one thread at a time."""

    def __init__(self, extra: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "karma.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **ENVIRONMENT, **extra},
        )

    def run(
        self,
        spec: dict[str, Any],
        folder: Path,
        fingerprint: dict[str, Any],
        report: jobs.Progress,
        limit: float | None = None,
    ) -> dict[str, Any]:
        """Run a job in ``folder`` (``out/``, ``state/``, ``log.txt``); return time and memory.

        Raises UserError for the user's mistakes, also if the files and libraries that the job uses
        are not as ``fingerprint`` says; StageError for anything else, also if the job takes longer
        than ``limit`` seconds, which ends the process.
        """
        line = json.dumps({"spec": spec, "folder": str(folder), "fingerprint": fingerprint})
        if limit is None:
            return self._ask(line, report)
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        watch = threading.Timer(limit, end)
        watch.start()
        try:
            return self._ask(line, report)
        except _DiedError:
            if late.is_set():
                raise StageError(f"it took longer than its time limit, {limit:g} s") from None
            raise
        finally:
            watch.cancel()

    def _ask(self, line: str, report: jobs.Progress) -> dict[str, Any]:
        """Send one request, pass its progress on, and wait for how it ends."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        for message in self._process.stdout:
            document = json.loads(message)
            if document["type"] == "progress":
                report(document["done"], document["total"], document["unit"])
            elif document["type"] == "done":
                return {name: document[name] for name in ("seconds", "cpu_seconds", "peak_mib")}
            elif document["user"]:
                raise ToldError(document["message"])
            else:
                raise StageError(document["message"])
        raise self._died()

    def _died(self) -> "_DiedError":
        code = self._process.wait()
        cause = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return _DiedError(f"the process that ran it ended with {cause}")

    @property
    def alive(self) -> bool:
        """Whether the process can take another job."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process; a job in it is lost."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@dataclass(eq=False)
class _Slot:
    """A core, or the cards of one job; and the worker that it has, if any."""

    cards: tuple[Card, ...] = ()
    worker: Worker | None = None

    @property
    def extra(self) -> dict[str, str]:
        """What its worker's environment has beyond others'."""
        names = ",".join(card.name for card in self.cards)
        return {"CUDA_VISIBLE_DEVICES": names} if self.cards else {}


class Pool:
    """As many workers as there are slots, started when they are first needed.

    Jobs of one ``group`` run in one worker, one after the other, so that what they load is loaded
    once. With ``cards`` a job gets as many of them as it wants, which no other job of this user's
    runs on the machine uses, and a worker ends after its job, or after the last job of its group,
    so that the memory is free.
    """

    def __init__(self, slots: int, cards: tuple[str, ...] = ()) -> None:
        self._on_cards = bool(cards)
        self._open: set[Worker] = set()
        self._change = threading.Condition()
        self._free = [] if cards else [_Slot() for _ in range(slots)]
        self._idle = [Card(name) for name in cards]
        self._waiting: Counter[str] = Counter()
        self._at_work: set[str] = set()
        self._kept: dict[str, _Slot] = {}

    def run(
        self,
        spec: dict[str, Any],
        folder: Path,
        fingerprint: dict[str, Any],
        report: jobs.Progress,
        started: Callable[[], None],
        group: str = "",
        limit: float | None = None,
        cards: int = 1,
    ) -> dict[str, Any]:
        """Wait for a slot, say so, and run the job in it. Raises as ``Worker.run`` does.

        ``cards`` is how many of a pool of cards the job runs on, no more than there are.
        """
        slot = self._take(group, cards)
        try:
            if slot.worker is None or not slot.worker.alive:
                slot.worker = Worker(slot.extra)
                with self._change:
                    self._open.add(slot.worker)
            started()
            return slot.worker.run(spec, folder, fingerprint, report, limit)
        finally:
            self._give_back(slot, group)

    def _take(self, group: str, cards: int) -> _Slot:
        """The slot that the group's last job left, or a free one if no job of it is at work."""
        with self._change:
            self._waiting[group] += 1
            while (slot := self._found(group, cards)) is None:
                # Nobody tells when another run lets go of a card.
                self._change.wait(LOOK_AGAIN if self._on_cards else None)
            self._waiting[group] -= 1
            return slot

    def _found(self, group: str, cards: int) -> _Slot | None:
        if group in self._kept:
            return self._kept.pop(group)
        if group in self._at_work:
            return None
        if self._on_cards:
            slot = self._with_cards(cards)
        else:
            slot = self._free.pop(0) if self._free else None
        if slot is not None and group:
            self._at_work.add(group)
        return slot

    def _with_cards(self, count: int) -> _Slot | None:
        """A slot of ``count`` idle cards, all of them held; none is held if they are too few."""
        held: list[Card] = []
        for card in self._idle:
            if len(held) < count and card.take():
                held.append(card)
        if len(held) < count:
            for card in held:
                card.free()
            return None
        self._idle = [card for card in self._idle if card not in held]
        return _Slot(tuple(held))

    def _give_back(self, slot: _Slot, group: str) -> None:
        with self._change:
            if group and self._waiting[group]:
                self._kept[group] = slot
            else:
                self._at_work.discard(group)
                self._let_go(slot)
            self._change.notify_all()

    def _let_go(self, slot: _Slot) -> None:
        if not self._on_cards:
            self._free.append(slot)
            return
        if slot.worker is not None:
            slot.worker.close()
        for card in slot.cards:
            card.free()
        self._idle.extend(slot.cards)

    def close(self) -> None:
        """End all workers, also those in the middle of a job."""
        with self._change:
            for worker in self._open:
                worker.close()


def main() -> None:
    """The child: run jobs until the parent's end of the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    messages = os.fdopen(os.dup(1), "wb", buffering=0)
    waiting: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_listen, args=(waiting,), daemon=True).start()
    while True:
        request = json.loads(waiting.get())
        folder = Path(request["folder"])
        _send(messages, _perform(request["spec"], folder, request["fingerprint"], messages))


def _listen(waiting: "queue.Queue[bytes]") -> None:
    """Take requests from the parent; when its end of the pipe closes, end at once."""
    for line in sys.stdin.buffer:
        waiting.put(line)
    os._exit(1)


def _perform(
    spec: dict[str, Any], folder: Path, fingerprint: dict[str, Any], messages: BinaryIO
) -> dict[str, Any]:
    with (folder / "log.txt").open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    print(json.dumps(spec))
    last = 0.0

    def report(done: float, total: float, unit: str) -> None:
        nonlocal last
        if time.monotonic() - last > 0.2 or done >= total:
            last = time.monotonic()
            _send(messages, {"type": "progress", "done": done, "total": total, "unit": unit})

    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory starts anew
    wall, processor = time.monotonic(), time.process_time()
    try:
        _require_unchanged(changed(fingerprint))
        jobs.call(spec, folder / "out", folder / "state", report)
        # Our modules were imported at the start; the rest may be read as the job goes.
        _require_unchanged(changed(fingerprint, ("sql", "file", "version")))
    except UserError as error:
        print(f"error: {error}")
        return {"type": "error", "user": True, "message": str(error)}
    except Exception as error:
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return {"type": "error", "user": False, "message": message}
    finally:
        sys.stdout.flush()
    return {
        "type": "done",
        "seconds": round(time.monotonic() - wall, 3),
        "cpu_seconds": round(time.process_time() - processor, 3),
        "peak_mib": _peak_mib(),
    }


def keep_log(folder: Path) -> None:
    """Let a job's output travel with its artefact, outside the digest."""
    log = folder / "out" / "log"
    log.mkdir(exist_ok=True)
    (folder / "log.txt").rename(log / "output.txt")


def _require_unchanged(names: list[str]) -> None:
    """What is committed under a key must have been made by the code that the key stands for."""
    if names:
        raise InputError(
            ", ".join(names),
            "changed since the run was planned",
            "Run again; what is done is kept.",
        )


def _peak_mib() -> int:
    """The most memory that this process held since the peak was reset, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def _send(messages: BinaryIO, document: dict[str, Any]) -> None:
    messages.write(json.dumps(document).encode() + b"\n")


if __name__ == "__main__":
    main()
