"""Model cards in the hub's form, one for each reward model and policy: a block of metadata that the
hub reads, then what the model is, what it was trained on and what it scores."""

from typing import Any

import yaml

from karma.markdown import plain, table
from karma.report import words
from karma.report.collect import Records, policy_name
from karma.report.methods import notes, sees

WARNING = (
    "Not for use with people without checks of your own: a reward learnt from votes says what was "
    "voted for, not what is good or true, and a policy tuned on it can become ruder or less "
    "truthful. Trained on Reddit conversations, directly or through a reward: Reddit's terms and "
    "the licence of the dumps and of the base model bind whoever uses it."
)


def cards(records: Records, report: dict[str, Any]) -> dict[str, str]:
    """The cards as Markdown by the model's id, ``reward/...`` and ``policy/...``."""
    found = {f"reward/{row['id']}": _reward(records, row) for row in report["rewards"]}
    return found | {row["id"]: _policy(records, report, row) for row in report["policies"]}


def _reward(records: Records, row: dict[str, Any]) -> str:
    results = [
        _result("Held-out Reddit threads", "reward-modeling", name, row[name]["value"])
        for name in ("spearman", "pair_accuracy", "f1")
        if row[name] is not None
    ]
    measured = [
        [words.spoken(name), words.number(row[name]["value"]), words.interval(row[name])]
        for name in (
            *("spearman", "pair_accuracy", "f1", "length_spearman", "shuffled_spearman"),
            "swap",
        )
        if row[name] is not None
    ]
    declared = records.rewards[row["id"]].declared
    trained = declared.get("training") or {}
    told = f"It learnt from {words.several(trained.get('rows', 0), 'reply')} and "
    told += f"{words.several(trained.get('pairs', 0), 'pair')} of train threads."
    return _card(
        records,
        f"reward/{row['id']}",
        _backbone(records.recipe) if declared["kind"] == "model" else None,
        "text-classification",
        ["reward-model"],
        results,
        [
            "## What it is",
            "Gives a reply the reward that readers of a Reddit thread are expected to, in standard "
            f"deviations. It sees {plain(sees(records.rewards[row['id']]))}.",
            "## Training",
            told
            if trained
            else "Nothing of its own was learnt; only the standardisation is fitted.",
            "## Evaluation",
            f"On {words.several(row['n'], 'reply')} of test threads.",
            table(["measure", "value", "95 % interval"], measured),
            *([f"⚑ {plain(row['flag'])}"] if row["flag"] else []),
        ],
    )


def _backbone(recipe: dict[str, Any]) -> str | None:
    """The model of the hub that trained rewards start from; None for a folder's."""
    start = recipe["reward"].get("backbone") or recipe["base"]
    model: str | None = start.get("model")
    return model


def _policy(records: Records, report: dict[str, Any], row: dict[str, Any]) -> str:
    name = policy_name(row["id"])
    assert name is not None
    [scores] = [r["cells"] for r in report["headline"]["rows"] if r["model"] == row["id"]]
    there = {benchmark: cell for benchmark, cell in scores.items() if cell is not None}
    results = [
        _result(benchmark, "text-generation", cell["metric"], cell["value"])
        for benchmark, cell in there.items()
    ]
    measured = [
        [benchmark, cell["metric"], words.number(cell["value"]), words.interval(cell)]
        for benchmark, cell in there.items()
    ]
    further = [
        [part["benchmark"], metric, words.number(model["cells"][metric]["value"])]
        for part in report["further"]
        for model in part["rows"]
        if model["model"] == row["id"]
        for metric in part["metrics"]
        if model["cells"][metric] is not None
    ]
    algorithm = words.algorithm(records.recipe)
    source = "Reddit contexts" if name.exposure == "reddit" else "instruction dialogues"
    return _card(
        records,
        row["id"],
        records.recipe["base"].get("model"),
        "text-generation",
        [algorithm.lower(), name.variant, name.exposure],
        results,
        [
            "## What it is",
            f"A language model that {algorithm} tuned on the reward {plain(name.variant)}, seed "
            f"{name.seed}, from {plain(name.start)}.",
            "## Training",
            f"{words.several(row['steps'], f'{algorithm} step')} on prompts from {source}. Reward "
            f"{words.number(row['reward_first'])} → {words.number(row['reward_last'])}, gold "
            f"reward {words.number(row['gold_first'])} → {words.number(row['gold_last'])}, KL "
            f"from the start {words.number(row['kl_final'])} nats a reply at the end.",
            *_evaluated(row),
            *([f"Alarms: {plain('; '.join(row['alarms']))}."] if row["alarms"] else []),
            "## Evaluation",
            table(["benchmark", "metric", "value", "95 % interval"], measured),
            *([table(["benchmark", "further score", "value"], further)] if further else []),
        ],
    )


def _evaluated(row: dict[str, Any]) -> list[str]:
    if row["evaluated"] is None:
        return []
    return [
        f"What is evaluated below is the policy of step {words.count(row['evaluated'])}, at a KL "
        f"of {words.number(row['kl'])}."
    ]


def _result(dataset: str, task: str, metric: str, value: float) -> dict[str, Any]:
    """One entry of the hub's ``model-index``."""
    return {
        "task": {"type": task},
        "dataset": {"name": dataset, "type": dataset},
        "metrics": [{"type": metric, "value": round(value, 6)}],
    }


def _card(
    records: Records,
    name: str,
    base: str | None,
    pipeline: str,
    tags: list[str],
    results: list[dict[str, Any]],
    body: list[str],
) -> str:
    metadata: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": pipeline}
    if base:
        metadata |= {"base_model": base}
    metadata |= {"tags": ["karma", *tags]}
    if results:
        metadata["model-index"] = [{"name": name, "results": results}]
    head = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    told = [f"> {plain(note)}" for note in notes(records)]
    blocks = [f"---\n{head}---", f"# {plain(name)}", *told, *body, "## Limits", WARNING]
    return "\n\n".join(blocks) + "\n"
