"""Writes a trained reward model as a plain Hugging Face folder, with a card that says its use.

The folder loads with ``AutoModelForSequenceClassification.from_pretrained``, without this project;
``karma score`` takes it as well.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from karma.errors import InputError
from karma.reward.card import REPLY, SLOT, TURNS
from karma.reward.score import view_of

MEASURES = ("spearman", "pearson", "pair_accuracy", "f1")

USE = """## How to use it

```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "."  # where this card lies
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder)
text = {text!r}
ids = tokenizer(text, split_special_tokens=True)["input_ids"]
if tokenizer.eos_token_id not in (None, ids[-1]):
    ids.append(tokenizer.eos_token_id)
logit = model(torch.tensor([ids])).logits.item()
reward = (logit - {mean!r}) / {deviation!r}
```

The text is the view that is described below, to the letter, with the end token behind it. The two
numbers standardise the reward with the mean and deviation of held-out replies. In a batch, pad on
the right and give the attention mask. `karma score` does all of this for JSON lines, and cuts what
is too long.

The weights follow the licence of the model that they started from, and what may be done with them
the terms of the data that they learnt from. A reward says what was voted for, not what is good.
"""


def export(folder: Path, out: Path) -> None:
    """Write the reward model in ``folder`` to ``out``, a new or empty folder.

    Raises InputError for a reward without weights, and for a folder that holds something.
    """
    document = json.loads((folder / "reward.json").read_text(encoding="utf-8"))
    if document["kind"] != "model":
        raise InputError(
            str(folder),
            f"a reward of kind {document['kind']} has no weights to export",
            "karma score computes it" + _terms(folder),
        )
    if not (folder / "model").is_dir():
        raise InputError(str(folder), "it is an export already", "Copy the folder.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(str(out), "it is there and not an empty folder", "Name a new folder.")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    card = (folder / "README.md").read_text(encoding="utf-8")
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted((folder / "model").iterdir()):
        shutil.copyfile(path, out / path.name)
    for name in ("reward.json", "metrics.json"):
        shutil.copyfile(folder / name, out / name)
    (out / "README.md").write_text(_card(document, metrics, card), encoding="utf-8")


def _terms(folder: Path) -> str:
    """The end of a sentence: which terms of a sum have weights."""
    trained = [str(path.parent) for path in sorted(folder.glob("terms/*/model"))]
    return f"; what can be exported of its terms: {', '.join(trained)}." if trained else "."


def _card(document: dict[str, Any], metrics: dict[str, float], card: str) -> str:
    """The hub's metadata block, how to load the folder, and the artefact's own card."""
    title, _, rest = card.partition("\n")
    text = view_of(document).text(TURNS, REPLY, SLOT)
    use = USE.format(text=text, mean=document["mean"], deviation=document["deviation"])
    return f"---\n{_metadata(document, metrics)}---\n{title}\n\n{use}{rest}"


def _metadata(document: dict[str, Any], metrics: dict[str, float]) -> str:
    """The metadata block of a model card, with the held-out metrics as its model index."""
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type="reddit",
            dataset_name="replies of held-out Reddit threads",
            metric_type=name,
            metric_value=metrics[name],
        )
        for name in MEASURES
        if name in metrics
    ]
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-classification",
        license="other",
        base_model=document["training"]["backbone"],
        tags=["reward-model", "karma", "reddit"],
        model_name=f"karma-reward-{document['name']}-{document['seed']}",
        eval_results=results,
    )
    return f"{data.to_yaml()}\n"
