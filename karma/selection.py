"""What of a plan a run may touch (``--only``, ``--from``, ``--force``), and what it will do.

    --only S    the instances of S, and nothing else
    --from S    the instances of S, and everything that is made from them
    --force S   the instances of S run although they are fresh, and what they make replaces what
                they had made; what is made from them follows if the bytes are others

``S`` is a stage, or the beginning of an instance's id (``policy``, ``policy/reddit``). ``--only``
and ``--from`` run what is stale; they never run on inputs that are stale themselves, because
nobody would know what such a result is of: that is an error before anything starts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from karma.dag import Dag
from karma.errors import RecipeError
from karma.instances import nearest
from karma.plan import FRESH, MISSING, PENDING, Entry, Plan

Runs = Literal["yes", "maybe", "no"]
LEVELS: tuple[Runs, ...] = ("no", "maybe", "yes")


@dataclass(frozen=True)
class Selection:
    """The three options of a command, as they were given; without any, everything is chosen."""

    only: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    force: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The options as a person types them; empty without any."""
        given = {"--only": self.only, "--from": self.start, "--force": self.force}
        return " ".join(f"{name} {part}" for name, parts in given.items() for part in parts)

    @property
    def whole(self) -> bool:
        """Whether all instances may run."""
        return not self.only and not self.start

    def chosen(self, dag: Dag) -> set[str]:
        """The instances that may run."""
        if self.whole:
            return set(dag.nodes)
        found = set(named(dag, (*self.only, *self.start)))
        if self.start:
            for node in dag.nodes.values():
                if found.intersection(node.inputs.values()):
                    found.add(node.id)
        return found

    def needed(self, dag: Dag) -> set[str]:
        """The instances that may run and all that they are made from."""
        found = self.chosen(dag)
        for node in reversed(dag.nodes.values()):
            if node.id in found:
                found.update(node.inputs.values())
        return found

    def forced(self, dag: Dag) -> set[str]:
        """The instances that run although they are fresh."""
        return set(named(dag, self.force))


EVERYTHING = Selection()


def named(dag: Dag, parts: Iterable[str]) -> list[str]:
    """The ids of the jobs that begin with one of ``parts``, whole words of it."""
    return [
        node.id
        for node in dag.nodes.values()
        if node.source is None and any(f"{node.id}/".startswith(f"{part}/") for part in parts)
    ]


@dataclass(frozen=True)
class Work:
    """A plan and what a run will do of it."""

    plan: Plan
    selection: Selection
    runs: dict[str, Runs]
    """``yes``; ``maybe`` where an input is made anew first and may turn out the same; ``no``."""

    def those(self, *runs: Runs) -> list[Entry]:
        """The entries of which a run will do this, in order."""
        return [self.plan.entries[name] for name, found in self.runs.items() if found in runs]

    @property
    def left_alone(self) -> int:
        """How many instances are not fresh and yet not to run."""
        return sum(self.runs[entry.node.id] == "no" for entry in self.plan.to_run)

    def document(self) -> dict[str, Any]:
        """The plan as ``plan --json`` prints it."""
        whole = self.plan.document()
        for stage in whole["stages"]:
            stage["runs"] = self.runs[stage["id"]]
        return whole


def work(plan: Plan, selection: Selection) -> Work:
    """What a run will do. Raises RecipeError where it must not run as it is asked to."""
    _known(plan.dag, selection)
    chosen, forced = selection.chosen(plan.dag), selection.forced(plan.dag)
    _in_reach(selection, chosen, forced)
    if not selection.whole:
        _inputs_known(plan, selection, chosen)
    needed = selection.needed(plan.dag)
    runs: dict[str, Runs] = {}
    for entry in plan.entries.values():
        name = entry.node.id
        above = {runs[above] for above in entry.node.inputs.values()}
        if name in forced:
            runs[name] = "yes"
        else:
            may = name in chosen or (name in needed and entry.node.source is not None)
            runs[name] = _runs(entry, above) if may else "no"
    _rebuild(plan, runs)
    return Work(plan, selection, runs)


def _runs(entry: Entry, above: set[Runs]) -> Runs:
    if entry.state == PENDING or (entry.state == FRESH and above & {"yes", "maybe"}):
        # Of a fresh one some input is forced, or waits for one that is.
        return "maybe"
    bytes_only = entry.digest is not None and entry.node.stage != "report"
    return "no" if entry.state == FRESH or bytes_only else "yes"


def _rebuild(plan: Plan, runs: dict[str, Runs]) -> None:
    """Files that are gone are made again, chosen or not, where something that runs needs them."""
    wanted: dict[str, Runs] = dict.fromkeys(runs, "no")
    for entry in reversed(plan.entries.values()):
        name = entry.node.id
        if entry.state == MISSING and entry.digest is not None:
            runs[name] = max(runs[name], wanted[name], key=LEVELS.index)
        asks = wanted[name] if entry.node.source else runs[name]
        for above in entry.node.inputs.values():
            wanted[above] = max(wanted[above], asks, key=LEVELS.index)


def _known(dag: Dag, selection: Selection) -> None:
    if selection.only and selection.start:
        raise RecipeError(
            selection.words, "each says alone what may run", "Give --only or --from, not both."
        )
    for part in (*selection.only, *selection.start, *selection.force):
        if not named(dag, [part]):
            raise RecipeError(
                f"stage {part}", "the recipe has no instance of that name", nearest(dag, part)
            )


def _in_reach(selection: Selection, chosen: set[str], forced: set[str]) -> None:
    if not forced <= chosen:
        name = sorted(forced - chosen)[0]
        raise RecipeError(
            selection.words,
            f"{name} is to be forced and is not among what may run",
            "Name it with --only or --from as well.",
        )


def _inputs_known(plan: Plan, selection: Selection, chosen: set[str]) -> None:
    """Raise RecipeError if what is chosen is made from something that is stale and not chosen."""
    above = [plan.entries[name] for name in selection.needed(plan.dag) - chosen]
    unknown = [e for e in above if e.digest is None and e.node.source is None]
    roots = [entry for entry in unknown if entry.state != PENDING] or unknown
    if not roots:
        return
    order = list(plan.entries)
    roots.sort(key=lambda entry: order.index(entry.node.id))
    without = selection.words.split()[0]
    names = [f"{entry.node.id} is {entry.state}" for entry in roots[:3]]
    more = f" and {len(roots) - 3} more" if len(roots) > 3 else ""
    raise RecipeError(
        selection.words,
        f"what it is made from is not up to date: {', '.join(names)}{more}",
        f"Run it first (--only {roots[0].node.stage}), or run without {without}.",
    )
