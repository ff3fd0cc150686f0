"""The model card of a reward model: what it sees, to the letter, what it learnt, how good it is."""

from typing import Any

from karma.markdown import table
from karma.reward.score import view_of
from karma.reward.views import Slot
from karma.text import Turn

# An invented reply, shown as the model sees it.
TURNS: list[Turn] = [
    {"role": "title", "text": "My cat has learnt to open the fridge"},
    {"role": "comment", "text": "Mine only opens it at night."},
]
REPLY = "Then who turns on the light?"
SLOT: Slot = {
    "subreddit": "cats",
    "depth": 2,
    "delay": 700,
    "hour": 14,
    "parent_score": 21,
}

SEES = {
    "random": "Nothing: a standard normal number that SHA-256 draws from (seed, prompt, reply).",
    "length": "The length of the reply: the logarithm of one plus its characters.",
}
MEASURES = ("spearman", "pearson", "pair_accuracy", "f1")
BASELINES = ("length", "metadata", "words", "shuffled")
PROBES = {
    "unswapped_spearman": "Spearman as it is, on the replies that are probed",
    "swapped_spearman": "Spearman in another thread's context",
    "swapped_change": "mean absolute change in another thread's context",
    "filler_gain": "mean change with filler added",
}


def card(
    document: dict[str, Any],
    objective: dict[str, float],
    metrics: dict[str, float],
    tables: dict[str, Any],
) -> str:
    """The card as Markdown, from the artefact's documents and the recipe's objective."""
    sections = [
        f"# Reward model `{document['name']}`, seed {document['seed']}",
        "Says how a reply will be valued by the readers of a Reddit thread. Rewards are "
        "standardised with the mean and deviation of the validation threads, frozen in "
        "`reward.json`.",
        "## What it sees",
        *_sees(document),
        "## What it learnt",
        *_learnt(document, objective),
        "## How good it is",
        f"On {metrics['rows']:.0f} replies and {metrics['pairs']:.0f} pairs of test threads; 95 % "
        "intervals from a bootstrap over threads. Beside it baselines on the same rows: the "
        "reply's length alone, metadata alone (gradient boosting), the reply's words (TF-IDF, "
        "ridge), and these rewards given to other replies (shuffled). Above: by how much the "
        "reward's Spearman correlation is higher.",
        _quality(metrics),
        *_pairs(tables),
        "## What it leans on",
        *_leans(metrics),
        *_shares(metrics),
    ]
    return "\n\n".join(sections) + "\n"


def _sees(document: dict[str, Any]) -> list[str]:
    kind = document["kind"]
    if kind == "sum":
        rows = [f"| `{name}` | {weight} |" for name, weight in sorted(document["terms"].items())]
        return [
            "A weighted sum of these, each standardised first; their cards lie in `terms/`.",
            "\n".join(["| term | weight |", "|---|---|", *rows]),
        ]
    if kind != "model":
        return [SEES[kind]]
    view = view_of(document)
    lines = [
        f"Context: {'yes' if view.context else 'no'}. "
        f"Metadata: {', '.join(view.fields) or 'none'}. At most {view.max_tokens} tokens: the "
        "oldest turns are dropped first, the title never, and the end of a reply only if title "
        "and reply alone are longer.",
        "An invented reply, as the model sees it (the tokenizer's end token follows):",
        f"```\n{view.text(TURNS, REPLY, SLOT)}\n```",
    ]
    if view.fields:
        lines += [
            "In order: subreddit, depth, time since the parent, hour (UTC), the parent's score; "
            "rounded down to powers of two, hours to multiples of three; `?` is unknown. Where a "
            "prompt has no slot, this neutral one stands in (training medians):",
            f"```\n{view.text([], '', None).splitlines()[0]}\n```",
        ]
    return lines


def _learnt(document: dict[str, Any], objective: dict[str, float]) -> list[str]:
    if "training" not in document:
        terms = "what its terms learnt, their cards say; " if document["terms"] else ""
        return [f"Nothing of its own: {terms}only the standardisation is fitted."]
    training, cut = document["training"], document["training"]["cut"]
    return [
        f"From {training['rows']} replies and {training['pairs']} pairs of threads whose use is "
        f"`{document['use']}`, in {training['steps']} steps. Of the replies, "
        f"{cut['turns_dropped']} lost their oldest turns and {cut['reply_cut']} the end of the "
        "reply to the limit of tokens.",
        "Objective: "
        + ", ".join(f"{name} {weight}" for name, weight in sorted(objective.items()))
        + ". Pairs: Bradley-Terry with a margin and centring. Regression: squared error against "
        "the normal score of the valuation, on every reply.",
        *([f"It started from `{training['backbone']}`."] if training["backbone"] else []),
        *(
            [f"Its tokenizer had no pad token of its own and was given `{training['pad']}`."]
            if training["pad"]
            else []
        ),
    ]


def _quality(metrics: dict[str, float]) -> str:
    baselines = [name for name in BASELINES if f"{name}_spearman" in metrics]
    rows = [
        [name, _value(metrics, name), *(_point(metrics, f"{b}_{name}") for b in baselines)]
        for name in MEASURES
        if name in metrics
    ]
    rows.append(["above", "", *(_value(metrics, f"above_{b}") for b in baselines)])
    if "calibration_error" in metrics:
        rows.append(["calibration error", _value(metrics, "calibration_error"), *[""] * 4])
    return table(["measure", "this reward", *baselines], [r[: len(baselines) + 2] for r in rows])


def _pairs(tables: dict[str, Any]) -> list[str]:
    """Pair accuracy by group, and the calibration, if there are pairs."""
    if not tables["breakdown"]:
        return ["There are no pairs to measure."]
    groups = [
        [row["by"], row["group"], f"{row['pairs']:,}", _interval(row)]
        for row in tables["breakdown"]
    ]
    bins = [
        [f"{row['said']:.2f}", f"{row['pairs']:,}", _interval(row)] for row in tables["calibration"]
    ]
    said = [
        "Said: the probability, from the difference of their rewards, that the reply with the "
        "higher one is preferred; found: how often it was.",
        table(["said", "pairs", "found"], bins, left=0),
    ]
    return [
        "Pair accuracy by margin (points of score), subreddit, and age of the preferred reply:",
        table(["by", "group", "pairs", "pair accuracy"], groups, left=2),
        *(said if bins else []),
    ]


def _leans(metrics: dict[str, float]) -> list[str]:
    factors = [
        [name, _value(metrics, f"explained_{name}"), _value(metrics, f"karma_{name}")]
        for name in ("length", "time", "subreddit")
    ]
    probes = [[words, _value(metrics, name)] for name, words in PROBES.items() if name in metrics]
    return [
        "Shares of variance on test threads that one thing alone explains, of the reward and of "
        "karma itself:",
        table(["explained by", "of the reward", "of karma"], factors),
        "The same replies in another thread's context, and with a sentence of filler added; "
        "changes in standard deviations of the reward:",
        table(["probe", "value"], probes),
    ]


def _shares(metrics: dict[str, float]) -> list[str]:
    rows = [
        [name.removeprefix("term_").removesuffix("_share"), f"{value:.3f}"]
        for name, value in metrics.items()
        if name.startswith("term_")
    ]
    words = "Shares of the sum's variance; they add up to 1:"
    return [words, table(["term", "share"], rows)] if rows else []


def _value(metrics: dict[str, float], name: str) -> str:
    return (
        f"{metrics[name]:.3f} [{metrics[f'{name}_low']:.3f}, {metrics[f'{name}_high']:.3f}]"
        if name in metrics
        else "none"
    )


def _point(metrics: dict[str, float], name: str) -> str:
    return f"{metrics[name]:.3f}" if name in metrics else "none"


def _interval(row: dict[str, Any]) -> str:
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
