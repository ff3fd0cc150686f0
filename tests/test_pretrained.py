"""Models that a user names: what is wrong with one is told in a line, and no pickle is read."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from karma.base import load
from karma.errors import InputError, words
from karma.evals.classifier import Pretrained
from karma.evals.settings import Classifier
from karma.reward import backbone
from tests.tiny_lm import saved, tokenizer


def pickled(folder: Path) -> None:
    weights = {"model.norm.weight": torch.zeros(16)}
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def cut(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def resized(folder: Path) -> None:
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"vocab_size": ', '"vocab_size": 1'))


OWN_CODE = '{"auto_map": {"AutoConfig": "code.Config"}}'
BREAK: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (shutil.rmtree, ""),
    "pickled": (pickled, "safetensors"),
    "cut": (cut, "deserializing"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "JSON"),
    "no object": (lambda f: (f / "config.json").write_text("[]"), ""),
    "no model": (lambda f: (f / "config.json").write_text('{"model_type": "foo"}'), ""),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), ""),
    "another size": (resized, ""),
    "own code": (
        lambda f: (f / "config.json").write_text('{"auto_map": {"AutoConfig": "c.C"}}'),
        "",
    ),
}


def reward(folder: Path) -> None:
    start = backbone.Source(str(folder), None)
    tokens, _ = backbone.tokenizer_of(start, 64)
    backbone.classifier(start, tokens, 0)


def classifier(folder: Path) -> None:
    settings = Classifier(folder=str(folder), label="LABEL_1")
    Pretrained(settings, folder, torch.device("cpu"))


def save_classifier(folder: Path) -> Path:
    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("how", BREAK)
@pytest.mark.parametrize(
    ("save", "read"),
    [(save_classifier, classifier), (saved, reward), (saved, load.local)],
    ids=["classifier", "reward", "base"],
)
def test_a_folder_that_cannot_be_read_is_told_in_one_line(tmp_path, save, read, how):
    folder = save(tmp_path / "model")
    read(folder)
    spoil, reason = BREAK[how]
    spoil(folder)
    with pytest.raises(InputError) as error:
        read(folder)
    (told,) = str(error.value).splitlines()
    assert str(folder) in told
    assert reason in told


def test_a_librarys_words_are_told_whole_on_one_line_or_else_the_errors_type():
    assert words(ValueError("\nno file.\n  In   there:")) == "no file. In there"
    assert words(KeyError()) == "KeyError"
    assert len(words(OSError("a " * 1000))) < 310
