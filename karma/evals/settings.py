"""What an evaluation job reads of the recipe's section ``evals``."""

from typing import Literal

from pydantic import PositiveFloat, PositiveInt, model_validator

from karma.section import Section, how, one_model

# How log-likelihoods are compared, and what a metric's name gets for it.
RULES = {"raw": "", "per_token": "_token", "per_byte": "_byte"}


class Classifier(Section):
    """A Hugging Face sequence classifier: a ``model`` of the hub or a ``folder``."""

    model: str | None = None
    """A model of the hub; needs ``revision``."""
    revision: str | None = None
    """The hub model's full revision (40 hex digits)."""
    folder: str | None = None
    """A local folder in the Hugging Face format, with weights as safetensors."""
    label: str = "toxic"
    """The label whose probability is the score."""

    @model_validator(mode="after")
    def _one_source(self) -> "Classifier":
        one_model(self.model, self.revision, self.folder)
        return self


class ToxicitySettings(Section):
    """How a generated text's toxicity is scored."""

    classifier: Classifier | None = None
    """A sequence classifier; null fits one (TF-IDF and logistic regression) on the scored texts of
    the benchmark's own file whose documents give no prompt."""
    rows: str | None = None
    """A JSON lines file of texts (`text`, `toxicity` from 0 to 1) that teach and measure the
    classifier instead of the benchmark's own."""


class EvalsSettings(Section):
    """How much is asked, and how."""

    items: PositiveInt | None = None
    """Most items of a benchmark, chosen by a stable hash of their ids; null asks all."""
    template: str = "default"
    """The wording whose scores are the headline; every benchmark has `default`."""
    templates: PositiveInt | None = None
    """How many wordings of a question are asked, the headline's first; null asks all."""
    rule: Literal["raw", "per_token", "per_byte"] = "raw"
    """How choices are compared for the headline: by their whole log-likelihood, or divided by
    their tokens or bytes. All three are always computed."""
    chat: bool = False
    """Whether a prompt is put as a user's turn into the model's chat template (chat models);
    `replies` are asked as the policies were trained."""
    batch_tokens: int = how(4096, ge=1)
    """Tokens that go through the model at once, padding included."""
    generations: PositiveInt = 5
    """Texts sampled for each prompt, where a benchmark generates."""
    max_new_tokens: PositiveInt = 48
    """Longest generated text, in tokens."""
    temperature: PositiveFloat = 1.0
    """What the logits are divided by before a token is sampled."""
    toxicity: ToxicitySettings = ToxicitySettings()
    """The benchmark `toxicity` alone."""
