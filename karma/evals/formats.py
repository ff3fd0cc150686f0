"""The formats in which a benchmark's table may lie in a folder; light, because a plan asks too."""

from pathlib import Path

FORMATS = (".csv", ".json", ".jsonl", ".parquet")


def globs(pattern: str) -> list[str]:
    """A glob as it is, or if it has no ending, one for each of ``FORMATS``."""
    return [pattern] if Path(pattern).suffix else [f"{pattern}{ending}" for ending in FORMATS]


def held(folder: Path, pattern: str) -> list[Path]:
    """The files of ``globs`` in a folder, sorted."""
    return sorted(path for each in globs(pattern) for path in folder.glob(each))
