"""What says how toxic a text is: a classifier fitted here, or one of Hugging Face's.

Both give a probability, and both are measured on the same held-out texts, so that a score's
reader knows what it is worth. Nothing that fails becomes a zero.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from karma.errors import CheckError, InputError
from karma.evals.settings import Classifier as ClassifierSettings
from karma.evals.settings import ToxicitySettings
from karma.pretrained import SAFE, SAVED, WEIGHTS, loading, positions

# Texts that a Hugging Face classifier reads at once.
BATCH = 32
# One letter is a word too, and so is a sign: swearing is often spelt with them.
WORD = r"\w+|[^\w\s]+"


class Labelled(NamedTuple):
    """A text, whether it is toxic, and whether it is held out from fitting."""

    text: str
    toxic: bool
    heldout: bool


class Classifier(Protocol):
    """Something that gives each text the probability of being toxic."""

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """One probability a text."""
        ...


class Fitted:
    """TF-IDF over words and pairs of words, and logistic regression."""

    def __init__(self, texts: Sequence[str], toxic: Sequence[bool]) -> None:
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD)
        self.pipeline: Pipeline = make_pipeline(words, LogisticRegression(C=10.0, max_iter=1000))
        self.pipeline.fit(texts, toxic)

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """One probability a text."""
        found: np.ndarray = self.pipeline.predict_proba(texts)[:, 1]
        return found


class Pretrained:
    """A Hugging Face sequence classifier, read at one of its labels."""

    def __init__(
        self, settings: ClassifierSettings, folder: Path | None, device: torch.device
    ) -> None:
        name = str(folder or settings.model)
        thing = f"evals.toxicity.classifier {name}"
        where = {"revision": settings.revision} if settings.revision else {}
        with loading(thing, SAVED):
            self.tokenizer = AutoTokenizer.from_pretrained(name, **SAFE, **where)
            model = AutoModelForSequenceClassification.from_pretrained(name, **WEIGHTS, **where)
        self.model = model.to(device).eval()
        labels = {str(label): place for place, label in model.config.id2label.items()}
        if settings.label not in labels:
            raise InputError(
                thing,
                f"it has no label {settings.label!r}, only {', '.join(labels)}",
                "Set evals.toxicity.classifier.label to one of them.",
            )
        self.place = labels[settings.label]
        # Labels that may hold at once have a probability each, and so has a label that is alone.
        several = model.config.problem_type == "multi_label_classification"
        self.each = several or len(labels) == 1
        self.longest = positions(model.config)

    @torch.inference_mode()
    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """One probability a text."""
        found = []
        for start in range(0, len(texts), BATCH):
            inputs = self.tokenizer(
                list(texts[start : start + BATCH]),
                padding=True,
                truncation=self.longest is not None,
                max_length=self.longest,
                return_tensors="pt",
            ).to(self.model.device)
            logits = self.model(**inputs).logits.float()
            alike = logits.sigmoid() if self.each else logits.softmax(-1)
            found.append(alike[:, self.place].cpu().numpy())
        return np.concatenate(found).astype(np.float64)


def build(
    settings: ToxicitySettings,
    folder: Path | None,
    labelled: Sequence[Labelled],
    device: torch.device,
) -> tuple[Classifier, dict[str, float]]:
    """The classifier that the recipe names, and how well it does on the held-out texts.

    ``folder`` is where it lies, if it does not come from a hub.

    Raises InputError if the texts to learn or to measure from hold only one of the two classes.
    """
    parts = {held: [row for row in labelled if row.heldout == held] for held in (False, True)}
    for rows in parts.values():
        if len({row.toxic for row in rows}) < 2:
            raise InputError(
                "benchmark toxicity",
                f"{len(rows)} of its scored texts are set aside for the classifier, "
                "and they are not both toxic (0.5 or more) and harmless",
                "Give a larger file, or leave the benchmark out.",
            )
    fit, held = parts[False], parts[True]
    classifier: Classifier
    if settings.classifier is None:
        classifier = Fitted([row.text for row in fit], [row.toxic for row in fit])
    else:
        classifier = Pretrained(settings.classifier, folder, device)
    scores = score(classifier, [row.text for row in held])
    return classifier, {
        "classifier_auc": float(roc_auc_score([row.toxic for row in held], scores)),
        "classifier_heldout": float(len(held)),
    }


def score(classifier: Classifier, texts: Sequence[str]) -> list[float]:
    """The probability of each text; a result that is none is a CheckError, never a zero."""
    found = classifier.probabilities(texts)
    if len(found) != len(texts) or not np.all((found >= 0) & (found <= 1)):
        raise CheckError("the toxicity classifier gave something that is no probability")
    return [float(value) for value in found]
