"""Runs jobs where nothing of the project exists but what their fingerprints name.

Started as a script, with a file of requests. The libraries are imported once; then each request is
a child that sees a copy of the project of its own (``root``) and the paths in its specification,
and writes down what it touched there: modules, files, fields of its configuration.
"""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, ClassVar

LIBRARIES = ("duckdb", "numpy", "pyarrow.parquet", "torch", "transformers", "datasets")


class Read(dict):
    """A dict that remembers which of its keys were asked for."""

    asked: ClassVar[set[str]] = set()

    def __getitem__(self, name: Any) -> Any:
        Read.asked.add(name)
        value = super().__getitem__(name)
        return Read(value) if type(value) is dict else value

    def get(self, name: Any, default: Any = None) -> Any:
        Read.asked.add(name)
        return super().get(name, default)

    def items(self) -> Any:
        Read.asked |= self.keys()
        return super().items()


def perform(request: dict[str, Any]) -> None:
    """Run one job in this process; writes what it touched, and its error if it failed."""
    root = request["root"]
    opened: set[str] = set()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str):
            opened.add(str(Path(arguments[0]).absolute()))

    sys.path.insert(0, root)
    sys.addaudithook(hook)
    error = ""
    try:
        from karma import jobs

        _watch_sections()
        spec = {**request["spec"], "config": Read(request["spec"]["config"])}
        jobs.call(spec, Path(request["out"]), Path(request["scratch"]))
    except BaseException:
        error = traceback.format_exc()
    modules = [name for name in sys.modules if name.split(".")[0] == "karma"]
    seen = {"error": error, "modules": modules, "opened": sorted(opened)}
    seen["asked"] = sorted(str(name) for name in Read.asked)
    Path(request["seen"]).write_text(json.dumps(seen))


def _watch_sections() -> None:
    """Count the attributes of a recipe's sections as fields that were asked for."""
    try:
        from karma.section import Section
    except ModuleNotFoundError:  # the job reads no section
        return

    plain, dump = Section.__getattribute__, Section.model_dump

    def watched(self: Any, name: str) -> Any:
        Read.asked.add(name)
        return plain(self, name)

    def dumped(self: Any, **options: Any) -> dict[str, Any]:
        whole = dump(self, **options)
        Read.asked |= {leaf.split(".")[-1] for leaf in leaves(whole)}
        return whole

    # Replaced for good, which the type checker warns of: the process ends with the job.
    Section.__getattribute__ = watched  # type: ignore[method-assign]
    Section.model_dump = dumped  # type: ignore[method-assign]


def leaves(value: Any, path: str = "") -> list[str]:
    """The dotted paths of what nested dicts hold."""
    if not isinstance(value, dict):
        return [path]
    return [leaf for name, below in value.items() for leaf in leaves(below, f"{path}.{name}")]


def main() -> None:
    # The installed project itself must not be found: only a request's copy of it.
    project = Path(__file__).resolve().parents[1]
    sys.path = [p for p in sys.path if Path(p).resolve() != project and "editable" not in p]
    sys.meta_path = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "")]
    for library in LIBRARIES:
        __import__(library)
    assert not any(name.split(".")[0] == "karma" for name in sys.modules)
    for request in json.loads(Path(sys.argv[1]).read_text()):
        child = os.fork()
        if child == 0:
            perform(request)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
