"""What a reward model sees: the exact text, and what is cut when it is too long."""

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.trainers import WordLevelTrainer
from transformers import PreTrainedTokenizerFast

from karma.reward.views import FIELDS, Slot, View
from karma.text import Turn

TITLE: Turn = {"role": "title", "text": "a b"}
TEXT: Turn = {"role": "text", "text": "c"}
OLD: Turn = {"role": "comment", "text": "d d d"}
NEW: Turn = {"role": "comment", "text": "e"}
TURNS = [TITLE, TEXT, OLD, NEW]
SLOT: Slot = {"subreddit": "jokes", "depth": 2, "delay": 500, "hour": 16, "parent_score": -21}
ALL = ("subreddit", "depth", "delay", "hour", "parent_score")


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    """One token a word, and ``<eos>`` as special token."""
    tokenizer = Tokenizer(WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    texts = ["Post: Text: Comment: Reply: a b c d e f g"]
    special = ["<pad>", "<eos>", "<unk>"]
    tokenizer.train_from_iterator(texts, WordLevelTrainer(special_tokens=special))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def seen(words: PreTrainedTokenizerFast, view: View, reply: str) -> tuple[str, dict[str, int]]:
    ids, counts = view.encode(words, [TURNS], [reply], [None])
    return words.decode(ids[0]), dict(counts)


def test_a_view_holds_what_it_declares_and_nothing_else():
    assert View(False, (), 99, None).text(TURNS, "f", SLOT) == "Reply: f"
    context = View(True, (), 99, None).text(TURNS, "f", SLOT)
    assert context == "Post: a b\nText: c\nComment: d d d\nComment: e\nReply: f"
    metadata = View(True, ALL, 99, SLOT).text(TURNS, "f", SLOT)
    assert metadata == "r/jokes d2 +8m @15h p-16\n" + context
    assert View(False, ("hour",), 99, SLOT).text(TURNS, "f", SLOT) == "@15h\nReply: f"


def test_a_prompt_without_a_slot_gets_the_neutral_one():
    view = View(False, ALL, 99, SLOT)
    assert view.text([], "f", None) == view.text([], "f", SLOT)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("subreddit", None, "r/?"),
        ("depth", 400, "d16"),
        ("delay", -3, "+0s"),
        ("delay", 45, "+32s"),
        ("delay", 3_600, "+1h"),
        ("delay", 90_000, "+1d"),
        ("delay", None, "+?"),
        ("hour", 23, "@21h"),
        ("hour", None, "@?h"),
        ("parent_score", 0, "p0"),
        ("parent_score", 1023.5, "p512"),
        ("parent_score", None, "p?"),
    ],
)
def test_metadata_are_rounded_to_values_that_a_model_sees_often(field, value, text):
    assert FIELDS[field](value) == text


def test_the_oldest_turns_go_first_and_the_title_stays(words):
    whole = "Post: a b Text: c Comment: d d d Comment: e Reply: f g<eos>"
    assert seen(words, View(True, (), 15, None), "f g")[0].replace(" <eos>", "<eos>") == whole
    cut, counts = seen(words, View(True, (), 13, None), "f g")
    assert "Text:" not in cut
    assert counts == {"rows": 1, "turns_dropped": 1, "reply_cut": 0}
    cut, counts = seen(words, View(True, (), 7, None), "f g")
    assert cut.replace(" <eos>", "<eos>") == "Post: a b Reply: f g<eos>"
    assert counts == {"rows": 1, "turns_dropped": 1, "reply_cut": 0}


def test_only_a_reply_that_is_too_long_with_its_title_alone_loses_its_end(words):
    cut, counts = seen(words, View(True, (), 8, None), "f f g g")
    assert cut.replace(" <eos>", "<eos>") == "Post: a b Reply: f f g<eos>"
    assert counts == {"rows": 1, "turns_dropped": 1, "reply_cut": 1}
