"""The nodes that are inputs (files, folders, hub names), and the dumps among them.

Which files there are is asked of the disk here, and nowhere else in the DAG.
"""

import glob
import hashlib
import hmac
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from karma.dumps.columns import separator
from karma.dumps.privacy import salt
from karma.dumps.recipe import CORPUS, UTTERANCES, corpus_files
from karma.errors import RecipeError
from karma.evals.catalogue import BENCHMARKS
from karma.evals.formats import globs
from karma.evals.recipe import EvalsRecipe, harness_name
from karma.evals.task_file import data_files
from karma.fingerprint import minor
from karma.nodes import STAGES, Node, Source, beside
from karma.prompts.hub import pinned
from karma.recipe import Recipe
from karma.world.recipe import COMMENTS, SIMULATED, SUBMISSIONS, TRUTH

# The keys of the recipe that name inputs.
DUMPS = {
    "comments": "dumps.comments",
    "submissions": "dumps.submissions",
    CORPUS: "dumps.corpora",
}
SETTINGS = {
    "instructions": "prompts.unexposed.instructions",
    "source/base": "base.folder",
    "source/backbone": "reward.backbone.folder",
    "source/toxicity_classifier": "evals.toxicity.classifier.folder",
    "source/toxicity_rows": "evals.toxicity.rows",
    "source/removed": "dumps.removed",
}


def input_nodes(recipe: Recipe) -> list[Node]:
    """What the recipe reads, but for its dumps."""
    world = Node("world", config={"world": recipe.world.result()}, job=STAGES["world"].job)
    nodes = [world]
    nodes.append(_instructions(recipe.prompts.unexposed.instructions))
    nodes.append(
        Node(
            "source/base_text",
            inputs={"world": "world"},
            source=Source(member="base_text.jsonl"),
        )
    )
    nodes.append(Node("source/truth", inputs={"world": "world"}, source=Source(member=TRUTH)))
    backbone, classifier = recipe.reward.backbone, recipe.evals.toxicity.classifier
    folders = {
        "source/base": recipe.base.folder,
        "source/backbone": backbone.folder if backbone else None,
        "source/toxicity_classifier": classifier.folder if classifier else None,
    }
    nodes += [_folder(n, Path(folder)) for n, folder in folders.items() if folder is not None]
    if recipe.evals.toxicity.rows is not None:
        nodes.append(_file("source/toxicity_rows", Path(recipe.evals.toxicity.rows)))
    if recipe.dumps.removed is not None:
        nodes.append(_file("source/removed", Path(recipe.dumps.removed)))
    nodes += [_benchmark(name, recipe.evals) for name in _benchmarks(recipe)]
    nodes += [_task(task) for task in recipe.evals.lm_eval]
    return nodes


def _file(name: str, path: Path) -> Node:
    return Node(name, source=Source(path=path, files=(path,) if path.is_file() else ()))


def _folder(name: str, path: Path) -> Node:
    files = tuple(sorted(p for p in path.rglob("*") if p.is_file())) if path.is_dir() else ()
    return Node(name, source=Source(path=path, files=files))


def _instructions(where: str) -> Node:
    if where == "world":
        source = Source(member="instructions.json")
        return Node("instructions", inputs={"world": "world"}, source=source)
    if pinned(where):
        return Node("instructions", source=Source(revision=where))
    return _file("instructions", Path(where))


def _benchmark(name: str, evals: EvalsRecipe) -> Node:
    entry = BENCHMARKS[name]
    node = f"benchmark/{name}"
    if name in evals.hub:
        return Node(node, source=Source(revision=evals.hub[name]))
    if evals.data == "world":
        files = [each for pattern in entry.files + entry.instead for each in globs(pattern)]
        source = Source(member="benchmarks", patterns=tuple(files))
        return Node(node, inputs={"world": "world"}, source=source)
    folder = Path(evals.data)
    found = entry.found(folder)
    lacking = [pattern for pattern, files in found.items() if not files]
    if lacking:
        path = folder / globs(lacking[0])[0] if folder.is_dir() else folder
        return Node(node, source=Source(path=path))
    paths = tuple(sorted(path for paths in found.values() for path in paths))
    return Node(node, source=Source(path=folder, files=paths))


def _task(task: str) -> Node:
    """A task of the harness: a file and what lies beside it, or a name, which a version fixes."""
    name = f"benchmark/{harness_name(task)}"
    if not task.endswith(".yaml"):
        return Node(name, source=Source(revision=f"lm_eval {minor('lm_eval')} {task}"))
    path = Path(task)
    files = tuple(data_files(path)) if path.is_file() else ()
    return Node(name, source=Source(path=path.parent if files else path, files=files))


def _benchmarks(recipe: Recipe) -> list[str]:
    """The benchmarks that read files: those the recipe names, or all that its data hold."""
    names, hub = [n for n in chosen(recipe) if BENCHMARKS[n].files], recipe.evals.hub
    if recipe.evals.data == "world":
        return [n for n in names if n in SIMULATED or n in hub]
    if recipe.evals.data == "hub":
        return [n for n in names if n in hub]
    if recipe.evals.benchmarks != "all":
        return names
    folder = Path(recipe.evals.data)
    if not folder.is_dir():
        # A plan can be made without them; a run says what is missing. Only the simulator writes
        # what fit reads, so it is asked for only where it is there.
        return [n for n in names if n != "fit"]
    held = [n for n in names if n in hub or all(BENCHMARKS[n].found(folder).values())]
    if not held:
        raise RecipeError(
            f"evals.data {folder}",
            "it holds no benchmark's files",
            "docs/benchmarks.md lists the names that they must have.",
        )
    return held


def setting(node: Node, dag: dict[str, Node]) -> str:
    """The key of the recipe that names an input; ``dag`` has the dumps that read one."""
    if node.id.startswith("benchmark/"):
        return "evals.lm_eval" if node.id.startswith("benchmark/lm_eval.") else "evals.data"
    if node.id in SETTINGS:
        return SETTINGS[node.id]
    return DUMPS[dag[node.id.replace("source/", "dumps/", 1)].config["kind"]]


def chosen(recipe: Recipe) -> list[str]:
    """The benchmarks that the recipe names, there or not."""
    chosen = recipe.evals.benchmarks
    return list(BENCHMARKS) if chosen == "all" else list(chosen)


def dump_nodes(recipe: Recipe) -> list[Node]:
    """The dumps and their files. Raises RecipeError if a file is named twice."""
    section = recipe.dumps
    found = [
        (kind, source.member or str(source.path), source)
        for kind, value in (("comments", section.comments), ("submissions", section.submissions))
        for pattern in patterns(value)
        for source in _dump_files(pattern, kind)
    ]
    folders = [folder for pattern in patterns(section.corpora) for folder in _corpora(pattern)]
    found += [(CORPUS, str(folder), _corpus(folder)) for folder in folders]
    _require_once([source for _, _, source in found])
    often = Counter(Path(whole).name for _, whole, _ in found)
    nodes: list[Node] = []
    for kind, whole, source in found:
        name = _unique(whole, repeats=often[Path(whole).name] > 1)
        nodes += _dump(recipe, kind, name, source)
    return nodes


def _require_once(sources: list[Source]) -> None:
    """A file that is read twice would count twice. Raises RecipeError."""
    paths = Counter(source.path.absolute() for source in sources if source.path is not None)
    for path, times in paths.items():
        if times > 1:
            raise RecipeError(
                f"dumps {path}", f"it is named {times} times", "Let globs and names not overlap."
            )


def patterns(value: str | tuple[str, ...] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def globbed(pattern: str) -> list[Path]:
    """What a path or a glob names, there or not; nothing if a glob names nothing."""
    if not any(sign in pattern for sign in "*?["):
        return [Path(pattern)]
    found = glob.glob(pattern)  # noqa: PTH207 - Path.glob takes no absolute pattern
    return [Path(path) for path in sorted(found)]


def _dump_files(pattern: str, kind: str) -> list[Source]:
    """The files that a pattern names; one without files if there are none, which a run refuses."""
    if pattern == "world":
        return [Source(member=COMMENTS if kind == "comments" else SUBMISSIONS)]
    found = globbed(pattern) or [Path(pattern)]
    return [Source(path=path, files=(path,) if path.is_file() else ()) for path in found]


def _corpora(pattern: str) -> list[Path]:
    """The folders that a pattern names; the pattern itself if there are none, for a run to tell."""
    return [path for path in globbed(pattern) if path.is_dir()] or [Path(pattern)]


def _corpus(folder: Path) -> Source:
    """A ConvoKit corpus; without files if it holds no utterances, which a run refuses."""
    files = corpus_files(folder)
    return Source(path=folder, files=files) if files else Source(path=folder / UTTERANCES[0])


def _unique(whole: str, repeats: bool) -> str:
    """A name for a dump, from its file's; with a short hash if it is unusual, or if it repeats:
    then that of the absolute path, so that neither order nor spelling matter."""
    name = Path(whole).name
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    if plain == name and not repeats:
        return plain
    told = str(Path(whole).absolute()) if repeats else name
    return f"{plain}-{hashlib.sha256(os.fsencode(told)).hexdigest()[:8]}"


def _dump(recipe: Recipe, kind: str, name: str, source: Source) -> list[Node]:
    simulated = bool(source.member)
    inputs = {"file": f"source/{name}"}
    if recipe.dumps.removed is not None:
        inputs["removed"] = "source/removed"
    section = recipe.dumps.result("comments", "submissions", "corpora", "csv", "removed")
    config = {
        "dumps": section,
        "name": name,
        "kind": kind,
        "width": recipe.threads.width,
        "simulated": simulated,
        "salt": "" if simulated else salt_mark(),
    }
    if source.path is not None and kind != CORPUS and separator(source.path.name) is not None:
        config["csv"] = _table(recipe, kind, source.path)
    above = {"world": "world"} if simulated else {}
    return [
        Node(f"source/{name}", inputs=above, source=source),
        Node(
            f"dumps/{name}",
            inputs=inputs,
            config=config,
            manner={"dumps": recipe.dumps.manner()},
            job=STAGES["dumps"].job,
            files=beside("karma/dumps"),
        ),
    ]


def _table(recipe: Recipe, kind: str, path: Path) -> dict[str, Any]:
    """Which column of a CSV file holds what. Raises RecipeError if the recipe does not say so."""
    table = recipe.dumps.csv.table(kind)
    if table is None:
        raise RecipeError(
            f"dumps.csv.{kind}",
            f"it is missing, and {path} is CSV",
            "Say which of its columns holds what; docs/data.md shows how.",
        )
    return table.result()


def salt_mark() -> str:
    """A digest that changes with KARMA_SALT and does not tell it. Raises InputError without one."""
    return hmac.new(salt(simulated=False), b"karma salt", hashlib.sha256).hexdigest()[:16]
