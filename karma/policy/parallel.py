"""A run in several processes: one a card, or on a CPU a few that wait for each other.

The job starts them through torch's launcher and passes on what the first of them says; Accelerate
sets up what they talk through. Each ends at once when the job's end of its pipe closes, so nothing
survives the job.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from karma.errors import StageError, ToldError, UserError
from karma.jobs import Job

ERROR = "error.json"
# A line of the first process that says how far it is, and nothing else.
PROGRESS = "\x1eprogress "


def run(job: Job, processes: int) -> None:
    """Run ``job`` in so many processes. Raises UserError or StageError as one of them did."""
    (job.scratch / ERROR).unlink(missing_ok=True)
    spec = {
        "config": job.config,
        "inputs": {role: str(path.resolve()) for role, path in job.inputs.items()},
        "out": str(job.out.resolve()),
        "scratch": str(job.scratch.resolve()),
        "compute": job.compute,
    }
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, "-m", *launcher, "-m", "karma.policy.parallel", json.dumps(spec)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )
    with process:
        try:
            _listen(process, job)
        finally:
            assert process.stdin is not None
            process.stdin.close()
    if process.returncode:
        raise _told(job.scratch / ERROR, process.returncode)


def _listen(process: "subprocess.Popen[str]", job: Job) -> None:
    """Pass on progress, and print what else is said."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(PROGRESS):
            done, total, unit = json.loads(line.removeprefix(PROGRESS))
            job.progress(done, total, unit)
        else:
            print(line, end="", flush=True)


def _told(path: Path, code: int) -> Exception:
    if not path.is_file():
        return StageError(f"one of its processes ended with exit code {code}")
    told = json.loads(path.read_text(encoding="utf-8"))
    return ToldError(told["message"]) if told["user"] else StageError(told["message"])


def main() -> None:
    """One of the processes."""
    threading.Thread(target=_end_with_the_job, daemon=True).start()
    spec = json.loads(sys.argv[1])
    inputs = {role: Path(path) for role, path in spec["inputs"].items()}
    job = Job(spec["config"], inputs, Path(spec["out"]), Path(spec["scratch"]), spec["compute"])
    try:
        _work(job)
    except (UserError, StageError) as error:
        document = {"user": isinstance(error, UserError), "message": str(error)}
        (job.scratch / ERROR).write_text(json.dumps(document), encoding="utf-8")
        raise SystemExit(1) from None


def _end_with_the_job() -> None:
    """The job writes nothing: a read ends when its end of the pipe closes."""
    # A buffered reader would hold a lock that the interpreter's end wants.
    os.read(0, 1)
    os._exit(1)


def _work(job: Job) -> None:
    # The job imports this module, so it is imported here.
    from accelerate import PartialState

    from karma.policy.job import prepare, write
    from karma.policy.team import Team
    from karma.policy.train import train

    state: Any = PartialState(cpu=job.compute == "cpu")
    team = Team(state.process_index, state.num_processes)
    first = team.rank == 0
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(sys.stdout if first else nowhere),
    ):
        told = replace(job, report=_progress) if first else job
        study = prepare(told, team)
        progress = train(told, study)
        if first:
            write(told, study, progress)
    state.destroy_process_group()


def _progress(done: float, total: float, unit: str) -> None:
    print(f"{PROGRESS}{json.dumps([done, total, unit])}", flush=True)


if __name__ == "__main__":
    main()
