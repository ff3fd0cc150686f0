"""The checkpoints that transformers' trainer leaves behind."""

import json
from pathlib import Path


def last_whole(folder: Path, last_file: str = "trainer_state.json") -> Path | None:
    """The latest ``checkpoint-*`` of a folder that was written to its end; None if none was.

    ``last_file`` is the JSON that is written last. It is written in its place, so a process that
    dies meanwhile leaves half of it.
    """
    steps = {int(p.name.removeprefix("checkpoint-")): p for p in folder.glob("checkpoint-*")}
    newest = (steps[step] for step in sorted(steps, reverse=True))
    return next((path for path in newest if _is_json(path / last_file)), None)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
