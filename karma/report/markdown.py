"""The report as Markdown: the page's numbers, readable as plain text.

The data card, and what the page explains beneath its tables, are in the page alone.

Text from strangers stands in indented code blocks, and what goes into a table or a sentence is
escaped, so that a renderer shows it and does not obey it.
"""

from typing import Any

from karma.markdown import plain, table
from karma.report.length import left_out_sentence
from karma.report.length import sentence as matched_sentence
from karma.report.page import matrix, parts
from karma.report.rewards import LEANS
from karma.report.sensitivity import sentence
from karma.report.words import (
    count,
    direction,
    evaluated,
    interval,
    mark,
    mean_length,
    number,
    percent,
    pvalue,
    signed,
    spoken,
)


def render(report: dict[str, Any], plots: dict[str, bytes]) -> str:
    """The whole report; figures are named as the files beside it."""
    blocks = [
        "# KARMA report",
        *(f"> {plain(note)}" for note in report["notes"]),
        "\n".join(f"- {plain(sentence)}" for sentence in report["summary"]),
        *_answers(report),
        *_beware(report),
        *_headline(report),
        *_differences(report, plots),
        *_further(report),
        *_sensitivity(report),
        *_length(report, plots),
        *_rewards(report, plots),
        *_policies(report, plots),
        *_samples(report),
        *_methods(report),
        *_data(report),
        *_lineage(report, plots),
        *_accepted(report),
        *_holes(report),
    ]
    return "\n\n".join(blocks) + "\n"


def _cell(cell: dict[str, Any] | None) -> str:
    return "hole" if cell is None else f"{number(cell['value'])} {interval(cell)}"


def _answers(report: dict[str, Any]) -> list[str]:
    found = ["## Answers"] if report["questions"] else []
    for row in report["questions"]:
        found += [
            f"### {plain(row['question'])} {plain(row['answer'])}",
            "\n".join(f"- {plain(sentence)}" for sentence in row["words"]),
        ]
    return found


def _beware(report: dict[str, Any]) -> list[str]:
    found = []
    for title, told in (
        ("Before you believe it", report["beware"]),
        ("Not measured", report["unmeasured"]),
    ):
        if told:
            found += [f"## {title}", "\n".join(f"- {plain(sentence)}" for sentence in told)]
    return found


def _headline(report: dict[str, Any]) -> list[str]:
    head = report["headline"]
    names = [f"{n} {direction(head['about'][n])}" for n in head["columns"]]
    rows = [
        [row["model"], *(_cell(row["cells"][name]) for name in head["columns"])]
        for row in head["rows"]
    ]
    measured = "; ".join(
        f"{plain(name)}: {plain(about['metric'])}, {count(about['n'])} items, "
        f"{count(about['broken'])} broken"
        for name, about in head["about"].items()
    )
    conditions = [
        [row["model"], *(_condition(row["cells"][name]) for name in head["columns"])]
        for row in report["conditions"]
    ]
    first = ["## Results by condition", table(["condition", *names], conditions)]
    by_model = ["## Results by model", table(["model", *names], rows), measured]
    return [*(first if conditions else []), *by_model]


def _condition(cell: dict[str, Any] | None) -> str:
    return _cell(cell) + (mark(cell["claim"]) if cell and cell["claim"] else "")


def _differences(report: dict[str, Any], plots: dict[str, bytes]) -> list[str]:
    primary, replies, side = parts(report)
    titles = {"What tuning changed": primary, "The replies themselves": replies}
    found = []
    if report["over_seeds"]:
        found += ["## Over seeds", plain(report["scope"]), _over_seeds(report["over_seeds"])]
    for title, names in (titles | {"Side effects": side}).items():
        found.append(f"## {title}")
        if names is primary and not report["over_seeds"]:
            found.append(plain(report["scope"]))
        for relation, words in (
            ("start", "Against its own starting policy"),
            ("random", "Against the policy of the random reward"),
        ):
            rows = [
                [row["model"], number(row["kl"]), *(_difference(cell) for cell in row["cells"])]
                for row in matrix(report, relation, names)
            ]
            if names and rows:
                found += [f"### {words}", table(["policy", "KL", *names], rows)]
    found += _tests(report["differences"])
    for name, words in (
        ("pareto.png", "Gain on primary benchmarks against change in factuality"),
        ("forest.png", "Differences with intervals"),
    ):
        if name in plots:
            found.append(f"![{words}]({name})")
    return found


def _further(report: dict[str, Any]) -> list[str]:
    found = ["## Further scores"] if report["further"] else []
    for part in report["further"]:
        rows = [
            [row["model"], *(_with_gaps(row["cells"][name]) for name in part["metrics"])]
            for row in part["over_seeds"] or part["rows"]
        ]
        head = ["condition" if part["over_seeds"] else "model", *part["metrics"]]
        found += [f"### {plain(part['benchmark'])}", table(head, rows)]
    return found


def _with_gaps(cell: dict[str, Any] | None) -> str:
    """A score and how far it is from those of the models that it is compared with."""
    if cell is None:
        return "–"
    gaps = [
        f"; {relation} {signed(gap['value'])} {interval(gap)}"
        for relation, gap in cell["differences"].items()
        if gap is not None
    ]
    return number(cell["value"]) + "".join(gaps)


def _sensitivity(report: dict[str, Any]) -> list[str]:
    head = ["policy", "against", "benchmark", "difference", "same sign", "smallest", "largest"]
    rows = [
        [
            row["model"],
            row["relation"],
            row["benchmark"],
            f"{signed(row['value'])} {interval(row)}",
            f"{row['same']} of {row['ways']}",
            *(f"{signed(row[end]['value'])} {row[end]['way']}" for end in ("least", "most")),
        ]
        for row in report["sensitivity"]
    ]
    told = plain(sentence(report["sensitivity"]))
    return ["## Does a sign hold however one asks?", told, *([table(head, rows)] if rows else [])]


def _length(report: dict[str, Any], plots: dict[str, bytes]) -> list[str]:
    found = ["## How much of it is length"]
    rows = [
        [
            row["model"],
            f"{mean_length(row['length_start'])} → {mean_length(row['length'])}",
            *(f"{signed(p['value'])} {interval(p)}" for p in _parts(row["gold"])),
            percent(row["gold"]["share"]),
            *_own(row["reward"]),
        ]
        for row in report["length"]["replies"]
    ]
    head = ["policy", "words a reply", "gold gain", "by length", "share"]
    if rows:
        found.append(table([*head, "own reward, first → last", "share"], rows))
    if "length.png" in plots:
        found.append("![Gain in gold reward and the part that length explains](length.png)")
    matched = [
        [
            row["model"],
            row["relation"],
            row["benchmark"],
            f"{signed(row['plain']['value'])} {interval(row['plain'])}",
            f"{signed(row['value'])} {interval(row)}",
        ]
        for row in report["length"]["matched_over_seeds"] or report["length"]["matched"]
    ]
    left_out = report["length"]["left_out"]
    if matched or left_out:
        found.append("### Primary benchmarks, matched by length")
    if left_out:
        found.append(plain(left_out_sentence(left_out)))
    if matched:
        found.append(
            matched_sentence(report["length"]["matched_over_seeds"] or report["length"]["matched"])
        )
        found.append(table(["policy", "against", "benchmark", "as asked", "matched"], matched))
    return found


def _parts(gold: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return gold["gain"], gold["by_length"]


def _own(part: dict[str, Any] | None) -> list[str]:
    if part is None:
        return ["–"] * 2
    return [f"{number(part['first'])} → {number(part['last'])}", percent(part["share"])]


def _lineage(report: dict[str, Any], plots: dict[str, bytes]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    figure = ["![What was made from what](lineage.png)"] if "lineage.png" in plots else []
    return ["## Lineage and versions", *figure, plain(versions)]


def _accepted(report: dict[str, Any]) -> list[str]:
    if not report["accepted"]:
        return []
    rows = [
        [
            row["because"],
            f"{row['by']}, {row['day']}",
            ", ".join(row["changed"]),
            ", ".join(row["instances"]),
        ]
        for row in report["accepted"]
    ]
    return [
        "## Accepted without a run",
        "These artefacts were made before what is listed changed; somebody said why that cannot "
        "matter.",
        table(["because", "by", "what changed", "instances"], rows),
    ]


def _difference(cell: dict[str, Any] | str) -> str:
    if isinstance(cell, str):
        return cell
    tested = f", p {pvalue(cell['p'])}"
    if cell["p_holm"] is not None:
        tested += f", Holm {pvalue(cell['p_holm'])}"
    return f"{signed(cell['value'])} {interval(cell)}{mark(cell)}{tested}"


def _over_seeds(rows: list[dict[str, Any]]) -> str:
    head = ["condition", "benchmark", "against", "seeds", "KL", "mean difference"]
    return table(
        [*head, "effect", "detectable"],
        [
            [
                *(r["model"], r["benchmark"], r["relation"], str(r["seeds"]), number(r["kl"])),
                *(_difference(r), signed(r["effect"]), number(r["detectable"])),
            ]
            for r in rows
        ],
    )


def _tests(rows: list[dict[str, Any]]) -> list[str]:
    head = ["policy", "against", "benchmark", "items (groups)", "difference", "effect"]
    cells = [
        [
            *(r["model"], r["against"], f"{r['benchmark']} ({r['metric']})"),
            f"{count(r['n'])} ({count(r['groups'])})",
            *(_difference(r), signed(r["effect"]), number(r["detectable"]), r["test"]),
        ]
        for r in rows
    ]
    title = "### Every difference with its test"
    return [title, table([*head, "detectable", "test"], cells)] if rows else []


def _rewards(report: dict[str, Any], plots: dict[str, bytes]) -> list[str]:
    if not report["rewards"]:
        return ["## Reward models on held-out threads", "None."]
    keys = ("spearman", "pair_accuracy", "f1", "calibration_error")
    others = ("length_spearman", "metadata_spearman", "words_spearman", "shuffled_spearman")
    head = ["reward", "sees", "rows", *map(spoken, (*keys, *others))]
    rows = []
    for row in report["rewards"]:
        cells = ["–" if row[key] is None else _cell(row[key]) for key in (*keys, *others)]
        above = [_above(row[key]) for key in ("above_length", "above_shuffled", "swap")]
        rows.append([row["id"], row["sees"], count(row["n"]), *cells, *above])
    head += ["above length", "above shuffled", "swap probe"]
    flags = [f"- {plain(r['id'])}: {plain(r['flag'])}" for r in report["rewards"] if r["flag"]]
    figure = ["![Reward models](rewards.png)"] if "rewards.png" in plots else []
    return [
        "## Reward models on held-out threads",
        table(head, rows),
        *(["\n".join(flags)] if flags else []),
        *figure,
        *_leans(report["rewards"]),
        *_seeds(report["reward_seeds"]),
    ]


def _above(cell: dict[str, Any] | None) -> str:
    return "–" if cell is None else f"{signed(cell['value'])} {interval(cell)}"


def _leans(rows: list[dict[str, Any]]) -> list[str]:
    rows = [row for row in rows if row["explained_length"] is not None]
    cells = [[r["id"], *("–" if r[k] is None else _cell(r[k]) for k in LEANS)] for r in rows]
    head = ["reward", *map(spoken, LEANS)]
    return ["### What each reward leans on", table(head, cells)] if rows else []


def _seeds(rows: list[dict[str, Any]]) -> list[str]:
    cells = [
        [r["variant"], str(r["seeds"]), count(r["n"]), _cell(r["agreement"]), number(r["spread"])]
        for r in rows
    ]
    head = ["reward", "seeds", "replies", "agreement of two seeds (Spearman)", "spread"]
    return ["### Seeds of one reward on the same replies", table(head, cells)] if rows else []


def _policies(report: dict[str, Any], plots: dict[str, bytes]) -> list[str]:
    head = ["policy", "steps", "reward", "gold", "KL, last", "evaluated", "length", "alarms"]
    rows = [
        [
            row["id"],
            count(row["steps"]),
            f"{number(row['reward_first'])} → {number(row['reward_last'])}",
            f"{number(row['gold_first'])} → {number(row['gold_last'])}",
            number(row["kl_final"]),
            evaluated(row),
            f"{mean_length(row['length_first'])} → {mean_length(row['length_last'])}",
            "; ".join(row["alarms"]) or "none",
        ]
        for row in report["policies"]
    ]
    figure = ["![Training curves](curves.png)"] if "curves.png" in plots else []
    figure += ["![Reward against KL](frontier.png)"] if "frontier.png" in plots else []
    return [
        f"## {report['algorithm']}, policy by policy",
        table(head, rows) if rows else "None.",
        *figure,
    ]


def _samples(report: dict[str, Any]) -> list[str]:
    found = ["## Replies side by side"]
    for sample in report["samples"]:
        found += ["Prompt:", _quoted(sample["prompt"])]
        for reply in sample["replies"]:
            found += [f"{plain(reply['model'])}:", _quoted(reply["reply"])]
    for sample in report["training_samples"]:
        found += [f"While {plain(sample['model'])} was trained:", _quoted(sample["prompt"])]
        for reply in sample["replies"]:
            found += [f"step {count(reply['step'])}:", _quoted(reply["reply"])]
    return found if len(found) > 1 else [*found, "None were kept."]


def _quoted(text: str) -> str:
    """An indented code block, which nothing inside can end."""
    return "\n".join("    " + line for line in (text or "(empty)").splitlines())


def _methods(report: dict[str, Any]) -> list[str]:
    found = ["## Methods"]
    for part in report["methods"]:
        found += [f"### {part['title']}", *map(plain, part["paragraphs"])]
    rows = [
        [f"{part['stage']}: {key}", value]
        for part in report["settings"]
        for key, value in part["rows"]
    ]
    return [*found, "### Settings", table(["setting", "value"], rows)]


def _data(report: dict[str, Any]) -> list[str]:
    found = ["## Data accounts"]
    rows = [
        [
            row["name"],
            row["kind"],
            *(count(row[key]) for key in ("lines", "rows", "rejected", "blank")),
            "; ".join(f"{reason}: {count(n)}" for reason, n in row["reasons"]) or "–",
        ]
        for row in report["data"]["dumps"]
    ]
    if rows:
        head = ["dump", "kind", "lines", "= rows", "+ rejected", "+ blank", "rejected because"]
        found.append(table(head, rows))
    for block in report["data"]["counts"]:
        counts = [[spoken(name), *map(count, numbers)] for name, *numbers in block["rows"]]
        head = [block["title"], *block["columns"]]
        found.append(table([spoken(name) for name in head], counts))
    return found


def _holes(report: dict[str, Any]) -> list[str]:
    lines = [f"- {plain(hole['what'])}: {plain(hole['why'])}" for hole in report["holes"]]
    return ["## Holes", "\n".join(lines) or "None: every model has a score on every benchmark."]
