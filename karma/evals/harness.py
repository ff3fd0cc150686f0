"""Tasks of an installed lm-evaluation-harness, asked by the harness, kept as any other benchmark.

A task is one of the harness's own, by its name, or a YAML file whose data files lie beside it. Its
first metric that is a mean over items leads. What the harness does with prompts, choices and
batches is its own affair; rows are what its samples say.
"""

import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from karma.errors import CheckError, InputError
from karma.evals import choices, model, task_file
from karma.evals.benchmark import Item, Result, Row, by_category, limit, means
from karma.evals.job import write
from karma.evals.settings import EvalsSettings
from karma.jobs import Job

BATCH = 16  # requests that the harness puts through the model at once


def run(job: Job) -> None:
    """Ask the model one task; writes the files of a cell (``karma.evals.job``).

    Raises InputError if the harness has no such task or the file is none.
    """
    settings = EvalsSettings.model_validate(job.config["evals"])
    language_model = model.asked(job)
    # The harness prints to where results would be read from.
    with contextlib.redirect_stdout(sys.stderr):
        tasks = _tasks(job.config["task"], job.inputs.get("data"))
        found = _ask(language_model, tasks, settings)
    metric = _leading(found)
    rows = [
        _row(task, sample)
        for task, samples in sorted(found["samples"].items())
        for sample in _first_filter(samples)
    ]
    about = {
        "benchmark": job.config["benchmark"],
        "kind": "lm_eval",
        "rule": None,
        "variants": [metric],
        "primary": metric,
        "higher_is_better": all(of.get(metric, True) for of in found["higher_is_better"].values()),
        "ideal": None,
    }
    available = sum(len(task.eval_docs) for task in tasks.values())
    parts = by_category(rows, metric) if len(tasks) > 1 else {}
    # Other metrics may be those of some of a group's tasks alone.
    result = Result(rows, {metric: means(rows)[metric], **parts})
    write(job.out, about, {"lm_eval": result}, available, [])


def _tasks(task: str, folder: Path | None) -> dict[str, Any]:
    """The harness's tasks behind a name (a group has several), or the one of a file."""
    from lm_eval.tasks import TaskManager

    if folder is not None:
        spec: Any = task_file.read(folder / task)
        manager = TaskManager(include_defaults=False)
    else:
        spec, manager = task, TaskManager()
        if task not in manager.task_index:
            raise InputError(
                f"evals.lm_eval {task}",
                "the installed harness has no task of that name",
                "lm_eval ls tasks lists them.",
            )
    loaded: dict[str, Any] = manager.load([spec])["tasks"]
    return loaded


def _ask(
    language_model: model.LanguageModel, tasks: dict[str, Any], settings: EvalsSettings
) -> dict[str, Any]:
    """What the harness found, samples included."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    asked = {
        name: [
            int(item.id)
            for item in limit(
                [Item(str(number), "") for number in range(len(task.eval_docs))], settings.items
            )
        ]
        for name, task in tasks.items()
    }
    chat = settings.chat
    harness = HFLM(
        pretrained=language_model.model,
        tokenizer=language_model.tokenizer,
        batch_size=BATCH,
        device=str(language_model.device),
        chat_template_args={"chat_template": language_model.chat_template()} if chat else {},
    )
    found: dict[str, Any] = lm_eval.evaluate(
        lm=harness,
        task_dict=tasks,
        samples=asked,
        bootstrap_iters=0,
        apply_chat_template=chat,
    )
    return found


def _leading(found: dict[str, Any]) -> str:
    """The first metric whose score is the mean of its samples, in every task."""
    by_task = {name: _first_filter(samples) for name, samples in found["samples"].items()}
    first = next(iter(by_task.values()))
    for metric in first[0]["metrics"]:
        if all(_is_mean(found["results"][n], metric, s) for n, s in by_task.items()):
            return str(metric)
    raise CheckError(f"no metric of {', '.join(by_task)} is a mean over items")


def _is_mean(results: dict[str, Any], metric: str, samples: list[dict[str, Any]]) -> bool:
    values = [sample.get(metric) for sample in samples]
    score = results.get(f"{metric},{samples[0]['filter']}")
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if score is None or len(numbers) < len(values):
        return False
    return bool(abs(sum(numbers) / len(numbers) - score) < 1e-9)


def _first_filter(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A sample stands once for each filter of its task; the first filter's are kept."""
    return [sample for sample in samples if sample["filter"] == samples[0]["filter"]]


def _row(task: str, sample: dict[str, Any]) -> Row:
    """One sample; its choices' log-likelihoods if it has any, else what was generated."""
    name = f"{task}/{sample['doc_id']}"
    gold = sample["target"] if isinstance(sample["target"], int) else None
    prompt, *_ = sample["arguments"][0]
    answers = sample["filtered_resps"]
    row = Row(
        Item(name, group=name, category=task, gold=gold),
        template="lm_eval",
        prompt=str(prompt),
        cut=False,
        values={m: float(sample[m]) for m in sample["metrics"] if _number(sample[m])},
    )
    if not all(isinstance(answer, list | tuple) and _number(answer[0]) for answer in answers):
        return replace(row, generations=tuple(str(answer) for answer in answers))
    offered = [str(arguments[1]) for arguments in sample["arguments"]]
    logs = [float(answer[0]) for answer in answers]
    sizes = [max(1, len(choice.strip().encode())) for choice in offered]
    return replace(
        row,
        choices=tuple(offered),
        raw=tuple(logs),
        per_byte=tuple(value / size for value, size in zip(logs, sizes, strict=True)),
        prediction=choices.best(logs) if len(logs) > 1 else None,
    )


def _number(value: Any) -> bool:
    return isinstance(value, int | float)
