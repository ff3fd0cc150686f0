"""What an evaluation job reads of the recipe's section ``evals``."""

from pydantic import PositiveFloat, PositiveInt

from karma.section import Section


class ToxicitySettings(Section):
    """How a generated text's toxicity is scored."""

    classifier: str = "fitted"
    """`fitted`: TF-IDF and logistic regression on the scored texts of the benchmark's own file
    whose documents give no prompt; else a local folder or hub id of a Hugging Face sequence
    classifier."""
    revision: str | None = None
    """The full revision of a hub id (40 hex digits)."""
    label: str = "toxic"
    """The classifier's label whose probability is the score; `fitted` has no labels."""


class EvalsSettings(Section):
    """How much is asked, and how."""

    items: PositiveInt | None = None
    """Most items of a benchmark, chosen by a stable hash of their ids; null asks all."""
    batch_tokens: PositiveInt = 8192
    """Tokens that go through the model at once, padding included."""
    generations: PositiveInt = 5
    """Texts sampled for each prompt, where a benchmark generates."""
    max_new_tokens: PositiveInt = 48
    """Longest generated text, in tokens."""
    temperature: PositiveFloat = 1.0
    """What the logits are divided by before a token is sampled."""
    toxicity: ToxicitySettings = ToxicitySettings()
    """The benchmark `toxicity` alone."""
