"""The recipe's section ``base``."""

from typing import Literal, Self

from pydantic import Field, model_validator

from karma.section import Section, one_model


class TinyRecipe(Section):
    """A tiny Llama-shaped model and its tokenizer, trained here on text that is not Reddit's.

    The defaults learn the simulator's world in seconds on one core.
    """

    hidden: int = Field(default=64, ge=8)
    """The width of the hidden states; a multiple of twice ``heads``."""

    layers: int = Field(default=2, ge=1)
    """How many layers."""

    heads: int = Field(default=4, ge=1)
    """How many attention heads per layer."""

    intermediate: int = Field(default=128, ge=8)
    """The width inside the feed-forward blocks."""

    vocab: int = Field(default=1024, ge=260)
    """The tokenizer's size: 256 bytes, 3 special tokens, and merges learned from the text."""

    context: int = Field(default=512, ge=32)
    """The longest sequence that the model takes, in tokens."""

    text: tuple[Literal["world", "instructions"], ...] = ("world", "instructions")
    """What it reads: the simulator's base text, the instruction dialogues that starting policies
    learn from, or both."""

    sequences: int = Field(default=9000, ge=1)
    """How many sequences it learns from; texts repeat, or not all are read, as this asks."""

    max_tokens: int = Field(default=128, ge=8)
    """The longest sequence in training; a longer text is cut into pieces of this many tokens."""

    batch: int = Field(default=16, ge=1)
    """Sequences per step."""

    lr: float = Field(default=4e-3, gt=0)
    """The highest learning rate; it warms up for a twentieth of the steps, then falls as a cosine
    to zero."""

    seed: int = 0
    """The seed of the weights and of the order of texts."""

    @model_validator(mode="after")
    def _shapes_agree(self) -> Self:
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden ({self.hidden}) must be a multiple of 2 × heads")
        if self.max_tokens > self.context:
            raise ValueError(f"max_tokens ({self.max_tokens}) exceeds context ({self.context})")
        if not self.text:
            raise ValueError("text must name world, instructions, or both")
        return self


class BaseRecipe(Section):
    """Where the base model comes from: exactly one of ``model``, ``folder`` and ``tiny``."""

    model: str | None = None
    """A model of the Hugging Face hub, such as ``meta-llama/Llama-3.2-1B``; needs ``revision``."""

    revision: str | None = None
    """The hub model's full revision, 40 hex digits (``karma pin RECIPE`` writes it)."""

    folder: str | None = None
    """A local folder in the Hugging Face format, with weights as safetensors."""

    tiny: TinyRecipe | None = None
    """A tiny model, trained here."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = {"model": self.model, "folder": self.folder, "tiny": self.tiny}
        given = [name for name, value in sources.items() if value is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none"
            raise ValueError(f"give exactly one of model, folder and tiny (found {found})")
        if self.tiny is None or self.revision is not None:
            one_model(self.model, self.revision, self.folder)
        return self
