"""The methods section: what was done, written from the recipe and the records, never from memory.

Also the sentences that stand above everything else: what kind of numbers these are.
"""

from typing import Any

from karma.evals import stats
from karma.report.collect import Records, Reward, policy_name
from karma.report.words import algorithm, count, listed, several

TINY = (
    "The base model was trained here from scratch, tiny: the numbers show that the machinery "
    "works, not what a real model would do."
)
SIMULATED = (
    "The Reddit threads come from the project's simulator: nothing here says anything about real "
    "communities."
)
BENCHMARKS = (
    "The benchmarks are the simulator's too: they have the names and shapes of the real ones, not "
    "their content."
)
FIELDS = {
    "subreddit": "subreddit",
    "depth": "depth",
    "delay": "time since the parent",
    "hour": "hour",
    "parent_score": "the parent's score",
}


def notes(records: Records) -> list[str]:
    """What a reader must know before the first number."""
    found = []
    if records.recipe["base"].get("tiny") is not None:
        found.append(TINY)
    if simulated(records.recipe):
        found.append(SIMULATED)
    if records.recipe["evals"]["data"] == "world":
        hub = records.recipe["evals"].get("hub") or {}
        but = f" Those of {listed(sorted(hub))} are real, from the hub." if hub else ""
        found.append(BENCHMARKS + but)
    return found


def simulated(recipe: dict[str, Any]) -> bool:
    """Whether dumps are the simulator's: the recipe says ``world``, or names none."""
    values = [recipe["dumps"][name] for name in ("comments", "submissions", "corpora")]
    names = [name for value in values for name in _listed(value)]
    return not names or "world" in names


def _listed(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def methods(records: Records, family: dict[str, Any], resamples: int) -> list[dict[str, Any]]:
    """Titled paragraphs, in the order of the pipeline."""
    parts = {
        "Conversations": _conversations(records),
        "Starting policies": _starts(records),
        "Reward models": _rewards(records),
        algorithm(records.recipe): _tuning(records),
        "The unexposed condition": _unexposed(records),
        "Evaluation and statistics": _statistics(records, family, resamples),
    }
    return [{"title": title, "paragraphs": found} for title, found in parts.items() if found]


def _conversations(records: Records) -> list[str]:
    valuation = records.recipe["labels"]["valuation"]["within"]
    rows = sum(profile["rows"] for profile in records.dumps.values())
    kept = sum(profile["conversations"] for profile in records.threads.values())
    within = listed(list(valuation)) or "the whole data set"
    return [
        f"{several(len(records.dumps), 'dump file')} gave {several(rows, 'row')}, and these "
        f"{count(kept)} conversations (accounts below; the data card, in MLflow's run labels/card, "
        "shows more): an eligible reply with the turns before it, oldest first. Threads, never "
        "single replies, fall by a stable hash into train, validation and test; training threads "
        "fall into uses that do not overlap: sft, reward, ppo, and gold for a reward model that "
        "nobody optimises. Benchmarks about replies use test threads only.",
        f"A reply's valuation is its karma's place within its {within}, on the training split, in "
        "[0, 1]. Its level, 0 to 7, is cut at medians of what lies above (our reading of Fang et "
        "al. 2016).",
    ]


def _starts(records: Records) -> list[str]:
    base = records.recipe["base"]
    if base.get("tiny") is not None:
        texts = listed(list(base["tiny"]["text"]))
        origin = f"The base model was trained here from random weights, on: {texts}."
    else:
        where = "a local folder" if base.get("folder") else f"{base['model']}@{base['revision']}"
        origin = (
            f"The base model is {where}. What text it was trained on is not known here; it may "
            "hold Reddit."
        )
    starts = [model for model in records.models if model.startswith("sft/")]
    return [
        f"{origin} It was tuned (sft, {_settings(records.recipe['sft'])}) to "
        f"{several(len(starts), 'starting policy')}: the reddit ones on real replies of the use "
        "sft, the unexposed ones on instruction dialogues."
    ]


def _rewards(records: Records) -> list[str]:
    recipe = records.recipe["reward"]
    seen = {reward.name.split("/")[0]: _told(reward) for reward in records.rewards.values()}
    lines = [f"{name} sees {text}" for name, text in seen.items()]
    return [
        f"Objective, the same for all trained variants: {_settings(recipe['objective'])}; "
        f"{_settings({k: v for k, v in recipe.items() if not isinstance(v, dict)})}. "
        f"They start from {_started(recipe)}. "
        "Rewards are standardised with statistics of held-out rows, frozen in the artefact.",
        *([f"Inputs: {'; '.join(lines)}."] if lines else []),
    ]


def _started(recipe: dict[str, Any]) -> str:
    """What reward models are made from."""
    backbone = recipe.get("backbone")
    if not backbone:
        return "the base model"
    return f"{backbone['model']}@{backbone['revision']}" if backbone["model"] else "a local folder"


def _told(reward: Reward) -> str:
    """What a reward model is given, and how much it learnt from."""
    learnt = reward.declared.get("training")
    if learnt is None:
        return sees(reward)
    return (
        f"{sees(reward)} (learnt from {count(learnt['rows'])} replies, "
        f"{count(learnt['pairs'])} pairs)"
    )


def sees(reward: Reward) -> str:
    """In words, what a reward model is given."""
    declared = reward.declared
    if declared["kind"] == "random":
        return "nothing: a hash of (seed, prompt, reply)"
    if declared["kind"] == "length":
        return "the reply's length"
    if declared["kind"] == "sum":
        return "a weighted sum: " + listed(sorted(declared["terms"]))
    view = declared["view"]
    parts = (["context"] if view["context"] else []) + ["reply"]
    return listed(parts + [FIELDS[field] for field in view["fields"]])


def _tuning(records: Records) -> list[str]:
    names = [name for name in map(policy_name, records.models) if name is not None]
    if not names:
        return []
    exposures = list(dict.fromkeys(name.exposure for name in names))
    variants = list(dict.fromkeys(name.variant for name in names))
    recipe = records.recipe["policy"]
    plain = {k: v for k, v in recipe.items() if k not in ("exposures", "variants")}
    return [
        f"{several(len(names), 'policy')}: exposures {listed(exposures)}; rewards "
        f"{listed(variants)}; {several(len(records.recipe['seeds']), 'seed')}. Each starts from "
        "its exposure's starting policy of the same seed, which stays the reference for the KL, "
        f"and is trained by {_learner(recipe)}. The evaluated model is {_evaluated(recipe)}. "
        f"Settings: {_settings(plain)}."
    ]


def _learner(recipe: dict[str, Any]) -> str:
    """The algorithm in words."""
    if recipe.get("algorithm") != "rloo":
        return "PPO with a value head"
    return (
        f"RLOO, not PPO: no critic; each of {recipe['replies']} replies to a prompt is held "
        "against the mean of the others (Ahmadian et al. 2024, by TRL)"
    )


def _evaluated(recipe: dict[str, Any]) -> str:
    point = recipe.get("evaluate", "final")
    if point == "final":
        return "the final step's"
    return f"the one whose KL first reached {point:g} nats a reply"


def _unexposed(records: Records) -> list[str]:
    names = [name for name in map(policy_name, records.models) if name is not None]
    if "unexposed" not in {name.exposure for name in names}:
        return []
    prompts = records.recipe["prompts"]["unexposed"]
    name = algorithm(records.recipe)
    # Only PPO has one.
    critic = ", and a critic started from it" * (name == "PPO")
    return [
        f"Neither the starting policy nor the {name} prompts hold Reddit text: the start is tuned "
        f"on instruction dialogues, and {several(prompts['count'], 'prompt')} at most are cut from "
        "others before an assistant's turn (six dialogues in ten are for the start, three for the "
        "prompts, one is held out). Reddit "
        f"reaches these policies through the reward alone{critic}. The reward "
        "reads a dialogue through the same view as a thread; its metadata are the view's neutral "
        "ones, the medians of its training rows, as these prompts have none of their own.",
        *([_overlap(records.overlap)] if records.overlap is not None else []),
    ]


# What the stage ``prompts`` calls the texts that it compares with Reddit's.
TEXTS = {
    "sft": "answers that the start learned from",
    "prompts": "prompts",
    "base": "texts that the base learned from",
}


def _overlap(found: dict[str, Any]) -> str:
    """How many rows of the unexposed condition hold a message of the threads."""
    counts = [
        f"{count(n['overlapping'])} of {count(n['rows'])} {text}"
        for kind, text in TEXTS.items()
        if (n := found["kinds"].get(kind)) is not None
    ]
    return (
        f"Compared with the {count(found['messages'])} messages of the threads, "
        f"{listed(counts)} share a run of {found['run']} words with one, or have one of at least "
        f"{found['least']} words as a turn."
    )


def _statistics(records: Records, family: dict[str, Any], resamples: int) -> list[str]:
    benchmarks = listed(family["benchmarks"]) or "none"
    evals = records.recipe["evals"]
    most = evals.get("templates")
    asked = "every wording" if most is None else several(most, "wording")
    return [
        f"Questions with choices are asked in {asked} that a benchmark has, and the choices "
        "compared by their whole log-likelihood, per token and per byte; the scores that lead are "
        f"those of the wording {evals.get('template', 'default')} by the rule "
        f"{evals.get('rule', 'raw').replace('_', ' ')}"
        f"{', each as a user turn of the chat template' if evals.get('chat') else ''}. A "
        "conclusion's sign is held against all of them.",
        *([f"From the hub: {_from_hub(evals['hub'])}."] if evals.get("hub") else []),
        f"{several(len(records.models), 'model')} on "
        f"{several(len(records.benchmarks), 'benchmark')}. Models are compared on the same items: "
        f"95 % intervals by bootstrap over groups of items ({count(resamples)} resamples, seeded; "
        f"Student's where there are fewer than {stats.FEW} groups; Wilson's for one model's share "
        "of right answers), p-values by McNemar's test (mid-p) where items are right or wrong and "
        "stand alone, by sign flips of whole groups elsewhere; both are two-sided. Effects are "
        "Cohen's d of the paired differences; detectable is the true difference that the test "
        "would have found with probability 0.8, uncorrected.",
        f"The family of tests is {benchmarks} × every comparison with a start or with the random "
        f"reward's policy: {several(family['size'], 'test')}, corrected by Holm's method. With "
        "five seeds or more, means over seeds get t intervals, corrected as a family of their own.",
    ]


def _from_hub(hub: dict[str, str]) -> str:
    return listed([f"{name} ({where})" for name, where in hub.items()])


def settings(recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """The whole recipe, a list of (key, value) a section; no folder of this machine in it."""
    parts: list[dict[str, Any]] = []
    whole = []
    for stage, value in recipe.items():
        if isinstance(value, dict):
            rows = [[key, _shown(part)] for key, part in _flat(value)]
            parts.append({"stage": stage, "rows": rows})
        else:
            whole.append([stage, _shown(value)])
    return [{"stage": "recipe", "rows": whole}, *parts]


def _flat(section: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in section.items():
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((prefix + key, value))
    return rows


def _shown(value: Any) -> str:
    """A setting as text; an absolute path by its last part."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_shown(part) for part in value) or "none"
    text = str(value)
    return text.rstrip("/").rsplit("/", 1)[-1] if text.startswith(("/", "~")) else text


def _settings(section: dict[str, Any]) -> str:
    """The section's settings in one line."""
    return ", ".join(f"{key} {_shown(value)}" for key, value in _flat(section))
