"""Two runs compared: configuration, code, data and scores, and only what differs.

A run is known by its report. A difference of scores comes with its interval: paired, on the items
that both were asked, where the store still has both cells' items; otherwise each score has its own.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from karma.errors import InputError
from karma.fingerprint import differences
from karma.lineage.known import Known
from karma.store import Store, read_json

RESAMPLES = 2000
SEED = 0


@dataclass(frozen=True)
class Side:
    """One run: its report, and what the store knows of how it was made (nothing for a file)."""

    name: str
    report: dict[str, Any]
    fingerprint: dict[str, Any] | None


def find(store: Store, name: str) -> Side:
    """A run by a recipe's name or file (its last), the key or digest of a report (six digits or
    more), or the path of a report's folder or file, in this order.

    Raises InputError if there is none.
    """
    path = Path(name)
    recipe = path.stem if path.suffix in (".yaml", ".yml") else name
    ref = store.ref(recipe, "report") if re.fullmatch(r"[\w.-]+", recipe) else None
    if ref is None and path.exists():
        folder = path if path.is_dir() else path.parent
        return _side(name, folder, _record(store, folder.resolve().name))
    record = _record(store, ref["key"] if ref else name)
    if record is None:
        raise InputError(
            f"run {name}",
            f"it is no recipe that ran in {store.root}, no report's key or digest, and no file",
            "Name a recipe, a report's digest (karma lineage shows it) or a report.json.",
        )
    store.fetch(record["digest"])
    return _side(name, store.path(record["digest"]), record)


def _record(store: Store, mark: str) -> dict[str, Any] | None:
    """The one record of a report whose key or digest begins with ``mark``."""
    if not re.fullmatch(r"[0-9a-f]{6,64}", mark):
        return None
    found = []
    for path in sorted((store.root / "records" / "report").glob("*.json")):
        record = read_json(path)
        if record and (path.stem.startswith(mark) or record["digest"].startswith(mark)):
            found.append(record)
    return found[-1] if found else None


def _side(name: str, folder: Path, record: dict[str, Any] | None) -> Side:
    report = read_json(folder / "report.json")
    if not report or "headline" not in report:
        raise InputError(
            f"run {name}",
            f"{folder} holds no report.json",
            "Run its recipe again, or name another.",
        )
    return Side(name, report, record["fingerprint"] if record else None)


def compare(store: Store, first: Side, second: Side) -> dict[str, Any]:
    """What differs, as one document: ``causes`` (configuration, code, data, versions), ``scores``,
    ``rewards``, ``kl``, ``answers``, ``holes``. Differences are ``second`` − ``first``."""
    return {
        "schema": 1,
        "first": first.name,
        "second": second.name,
        "causes": _causes(store, first, second),
        "scores": _scores(store, first, second),
        "rewards": _rewards(first.report, second.report),
        "kl": _kl(first.report, second.report),
        "answers": _answers(first.report, second.report),
        "holes": _holes(first.report, second.report),
    }


def _causes(store: Store, first: Side, second: Side) -> list[dict[str, Any]]:
    """Everything that changed by itself, once each: what changed only because its inputs did is
    left out. Of two files alone, the settings that they print."""
    if first.fingerprint is not None and second.fingerprint is not None:
        found: dict[str, dict[str, Any]] = {}
        _walk(Known(store), first.fingerprint, second.fingerprint, found, set())
        return list(found.values())
    old, new = (
        {
            f"{part['stage']}.{key}": value
            for part in side.report["settings"]
            for key, value in part["rows"]
        }
        for side in (first, second)
    )
    return [
        {"kind": "config", "what": name, "old": old.get(name), "new": new.get(name)}
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _walk(
    known: Known,
    old: dict[str, Any],
    new: dict[str, Any],
    found: dict[str, dict[str, Any]],
    seen: set[tuple[str | None, str | None]],
) -> None:
    """Collect the causes of two fingerprints, and of the inputs that differ."""
    for cause in differences(old, new):
        if cause["kind"] != "input":
            found.setdefault(json.dumps(cause, sort_keys=True), dict(cause))
            continue
        pair = (cause["old"], cause["new"])
        if pair in seen:
            continue
        seen.add(pair)
        both = [known.fingerprint(digest) if digest else None for digest in pair]
        if both[0] is not None and both[1] is not None:
            _walk(known, both[0], both[1], found, seen)
        else:
            found.setdefault(json.dumps(cause, sort_keys=True), dict(cause))


def _cells(report: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (row["model"], name): cell
        for row in report["headline"]["rows"]
        for name, cell in row["cells"].items()
        if cell is not None
    }


def _scores(store: Store, first: Side, second: Side) -> list[dict[str, Any]]:
    """One row a cell whose score is not the same in both; of one that only one has, that one."""
    ours, theirs = _cells(first.report), _cells(second.report)
    rows = []
    for model, benchmark in dict.fromkeys([*ours, *theirs]):
        old, new = ours.get((model, benchmark)), theirs.get((model, benchmark))
        if old is not None and new is not None and old["value"] == new["value"]:
            continue
        row: dict[str, Any] = {"model": model, "benchmark": benchmark}
        row |= {"old": _score(old), "new": _score(new), "difference": None}
        if old is not None and new is not None and old["metric"] == new["metric"]:
            row["difference"] = _paired(store, first, second, f"evals/{model}/{benchmark}")
        rows.append(row)
    return rows


def _score(cell: dict[str, Any] | None) -> dict[str, Any] | None:
    return cell and {name: cell[name] for name in ("value", "low", "high", "metric", "n")}


def _paired(store: Store, first: Side, second: Side, cell: str) -> dict[str, Any] | None:
    """The difference on the items that both were asked, with its interval by group; None where the
    items are gone, or were others."""
    import numpy as np

    from karma.evals import stats

    new, old = _items(store, second, cell), _items(store, first, cell)
    if new is None or old is None:
        return None
    shared = [n for n in new if n in old and new[n]["prompt_hash"] == old[n]["prompt_hash"]]
    groups = [str(new[name]["group"]) for name in shared]
    if len(set(groups)) < stats.MIN_GROUPS:
        return None
    ours, theirs = (np.array([side[name]["value"] for name in shared]) for side in (new, old))
    low, high = stats.bootstrap(ours, theirs, groups, resamples=RESAMPLES, seed=SEED)
    value = float(np.mean(ours - theirs))
    return {"value": value, "low": low, "high": high, "n": len(shared)}


def _items(store: Store, side: Side, cell: str) -> dict[str, Any] | None:
    """A cell's rows of the leading wording by id, if the store still has them."""
    import pyarrow.parquet as pq

    digest = (side.fingerprint or {}).get("input", {}).get(cell)
    if digest is None:
        return None
    store.fetch(digest)
    if not (store.path(digest) / "items.parquet").exists():
        return None
    about = json.loads((store.path(digest) / "scores.json").read_bytes())
    columns = ["id", "group", "value", "prompt_hash", "template"]
    rows = pq.read_table(store.path(digest) / "items.parquet", columns=columns).to_pylist()
    return {row["id"]: row for row in rows if row["template"] == about["template"]}


def _rewards(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """The measures of reward models that are not the same in both, each with its own interval."""
    old, new = (
        {
            (row["id"], name): cell
            for row in report["rewards"]
            for name, cell in row.items()
            if isinstance(cell, dict) and "value" in cell
        }
        for report in (first, second)
    )
    return [
        {"reward": key[0], "measure": key[1], "old": old.get(key), "new": new.get(key)}
        for key in dict.fromkeys([*old, *new])
        if (old.get(key) or {}).get("value") != (new.get(key) or {}).get("value")
    ]


def _kl(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """The policies whose KL from their start is not the same in both."""
    old, new = ({row["id"]: row["kl"] for row in r["policies"]} for r in (first, second))
    return _unlike("model", old, new)


def _answers(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """The questions whose answer is another one."""
    old, new = ({row["question"]: row["answer"] for row in r["questions"]} for r in (first, second))
    return _unlike("question", old, new)


def _unlike(name: str, old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each key whose value is not the same in both; ``name`` says what the keys are."""
    return [
        {name: key, "old": old.get(key), "new": new.get(key)}
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]


def _holes(first: dict[str, Any], second: dict[str, Any]) -> dict[str, list[str]]:
    """Holes that only one of the two has."""
    old, new = ({hole["what"] for hole in report["holes"]} for report in (first, second))
    return {"old": sorted(old - new), "new": sorted(new - old)}


def text(document: dict[str, Any]) -> list[str]:
    """The document as lines for a terminal."""
    from karma.report.words import interval, number, signed

    lines = []
    for cause in document["causes"]:
        old, new = (_short(cause[side]) for side in ("old", "new"))
        lines.append(f"{cause['kind']:<8} {cause['what']}: {old} → {new}")
    for row in document["scores"]:
        sides = [
            f"{number(s['value'])} {interval(s)}" if s else "none" for s in (row["old"], row["new"])
        ]
        gap = row["difference"]
        told = f"  {signed(gap['value'])} {interval(gap)} on {gap['n']} items" if gap else ""
        lines.append(f"score    {row['model']} {row['benchmark']}: {' → '.join(sides)}{told}")
    for row in document["rewards"]:
        sides = [
            f"{number(s['value'])} {interval(s)}" if s else "none" for s in (row["old"], row["new"])
        ]
        lines.append(f"reward   {row['reward']} {row['measure']}: {' → '.join(sides)}")
    lines += [
        f"KL       {row['model']}: {number(row['old'])} → {number(row['new'])}"
        for row in document["kl"]
    ]
    lines += [
        f"answer   {row['question']} {row['old']} → {row['new']}" for row in document["answers"]
    ]
    for side, name in (("old", document["first"]), ("new", document["second"])):
        lines += [f"hole     {what}, only in {name}" for what in document["holes"][side]]
    return lines or [f"{document['first']} and {document['second']} do not differ."]


def _short(value: Any) -> str:
    shown = "nothing" if value is None else str(value)
    return shown[:12] + "…" if len(shown) == 64 else shown
