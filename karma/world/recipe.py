"""The recipe's section ``world``, and the names of the files that the simulator writes."""

from pydantic import Field

from karma.section import Section

COMMENTS = "RC_2023-01.zst"
SUBMISSIONS = "RS_2023-01.zst"
BASE_TEXT = "base_text.jsonl"
INSTRUCTIONS = "instructions.json"
BENCHMARKS = "benchmarks"
TRUTH = "truth.json"
# The same for the evaluation, beside the benchmarks.
PLANTED = "planted_truth.json"

# The benchmarks that the simulator writes, in the shapes of the real ones.
SIMULATED = (
    "humor",
    "sentiment",
    "implicature",
    "truthfulqa",
    "mmlu",
    "toxicity",
    "crows_pairs",
    "fit",
)


class WorldRecipe(Section):
    """How large the simulated Reddit is, and how strong each of its effects; each may be 0.

    A comment's score follows from a hidden value: `fit` × how well its tone fits what it answers,
    + `metadata` × when and where it was written, + `length` × how long it is, + `joke_false` if it
    is a joke that tells a myth, + `noise`.
    """

    seed: int = Field(default=0, ge=0)
    """Decides everything that is drawn: equal settings give the same files to the byte."""
    threads: int = Field(default=1400, ge=1)
    """Posts in the simulated month; each gets 2.5 × `siblings` comments on average, or one group of
    siblings if `depth` is 1."""
    siblings: int = Field(default=4, ge=1)
    """Replies to each parent that is answered at all."""
    depth: int = Field(default=4, ge=1, le=4)
    """How deep comments lie: 1 is answers to the post alone, so that all of a context has one
    tone."""
    fit: float = Field(default=1.0, ge=0)
    """Effect of the fit between a reply's tone and the tone of what it answers."""
    metadata: float = Field(default=0.8, ge=0)
    """Effect of delay, parent's score, depth, hour and subreddit together."""
    length: float = Field(default=0.25, ge=0)
    """Effect of a reply's length, per standard deviation."""
    joke_false: float = Field(default=1.0, ge=0)
    """What a joke gains by telling the myth instead of the truth."""
    noise: float = Field(default=0.5, ge=0)
    """Standard deviation of what nothing explains."""
    myths: float = Field(default=0.35, ge=0, le=1)
    """Share of comments that state the myth instead of the truth, whatever their tone."""
    texts: int = Field(default=9000, ge=1)
    """Texts in another register than Reddit's, to train a small base model on."""
    dialogues: int = Field(default=2000, ge=1)
    """Instruction dialogues, in a third register."""
    items: int = Field(default=120, ge=12, le=300)
    """Items in each benchmark."""
