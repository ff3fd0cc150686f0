"""The base model: trained here, or loaded from a folder, and fit for what follows."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    FalconConfig,
    GPTNeoConfig,
    MambaConfig,
    MistralConfig,
)

from karma.base.job import run
from karma.base.load import prepare
from karma.base.recipe import BaseRecipe
from karma.errors import InputError
from karma.jobs import Job

TINY: dict[str, Any] = {
    "hidden": 16,
    "layers": 1,
    "heads": 2,
    "intermediate": 32,
    "vocab": 300,
    "context": 64,
    "max_tokens": 32,
    "sequences": 400,
    "batch": 8,
    "lr": 0.01,
}
TEXTS = [f"The {a} is {b}." for a in ("sea", "sky", "hill") for b in ("blue", "green", "wide")]


def text_inputs(folder: Path) -> dict[str, Path]:
    """World texts and instruction dialogues, small."""
    folder.mkdir()
    world, dialogues = folder / "base_text.jsonl", folder / "instructions.json"
    world.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    turns = [{"from": "human", "value": "What is green?"}, {"from": "gpt", "value": "The hill."}]
    dialogues.write_text(json.dumps([{"id": "0", "conversations": turns}]))
    return {"text/world": world, "text/instructions": dialogues}


def base(out: Path, recipe: dict[str, Any], inputs: dict[str, Path]) -> Path:
    """Run the stage into ``out``."""
    out.mkdir()
    config = {"base": BaseRecipe.model_validate(recipe).model_dump(mode="json")}
    run(Job(config, inputs, out, out.with_name("scratch")))
    return out


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    return base(folder / "out", {"tiny": TINY}, text_inputs(folder / "in"))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_a_tiny_model_learns_its_text(tiny):
    metrics = json.loads((tiny / "metrics.json").read_text())
    assert metrics["loss_last"] < 0.5 * metrics["loss_first"]
    lines = (tiny / "log" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 50


def test_the_folder_is_plain_and_holds_no_pickle(tiny):
    names = set(content(tiny))
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "metrics.json"}
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".pth"))]
    assert not [name for name, text in content(tiny).items() if str(tiny.parent).encode() in text]


def test_the_tokenizer_begins_a_text_and_does_not_end_it_and_gives_every_text_back(tiny):
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    for text in ("Post: über 1  2\n\nReply:", " 🙂 it's", "\ttab "):
        ids = tokenizer(text)["input_ids"]
        assert ids.count(tokenizer.bos_token_id) == 1
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.eos_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_model(tiny, tmp_path):
    inputs = text_inputs(tmp_path / "in")
    again = base(tmp_path / "again", {"tiny": TINY}, inputs)
    assert content(again) == content(tiny)
    other = base(tmp_path / "other", {"tiny": {**TINY, "seed": 1}}, inputs)
    assert content(other)["model.safetensors"] != content(tiny)["model.safetensors"]


def test_a_local_folder_is_taken_over_as_it_is(tiny, tmp_path):
    out = base(tmp_path / "out", {"folder": "models/mine"}, {"folder": tiny})
    before, after = load_file(tiny / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not [name for name, text in content(out).items() if str(tiny).encode() in text]


def without_pad(tiny: Path, folder: Path, extra: list[str]) -> Path:
    """The tiny model with a tokenizer whose pad token is its end of text."""
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    renamed = json.dumps(spec).replace("<pad>", extra[0] if extra else "<unused>")
    tokenizer.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(renamed)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["pad_token"] = settings["eos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    AutoModelForCausalLM.from_pretrained(tiny).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("reserved", "pad", "grown"),
    [(["<|finetune_right_pad_id|>"], "<|finetune_right_pad_id|>", 0), ([], "<pad>", 1)],
)
def test_a_model_that_pads_with_its_end_of_text_gets_a_pad_token(
    tiny, tmp_path, reserved, pad, grown
):
    folder = without_pad(tiny, tmp_path / "model", reserved)
    out = base(tmp_path / "out", {"folder": str(folder)}, {"folder": folder})
    tokenizer, model = AutoTokenizer.from_pretrained(out), AutoModelForCausalLM.from_pretrained(out)
    assert tokenizer.pad_token == pad
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert model.config.pad_token_id == tokenizer.pad_token_id
    size = AutoModelForCausalLM.from_pretrained(tiny).config.vocab_size
    assert model.get_input_embeddings().num_embeddings == size + grown


SMALL = {"hidden_size": 16, "num_attention_heads": 2, "vocab_size": 64}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (MistralConfig(**SMALL, num_hidden_layers=1, sliding_window=16), "a window only"),
        (GPTNeoConfig(hidden_size=16, attention_types=[[["local"], 1]], num_layers=1), "a window"),
        (BloomConfig(**SMALL, n_layer=1), "no max_position_embeddings"),
        (FalconConfig(**SMALL, num_hidden_layers=1, alibi=True), "ALiBi"),
        (MambaConfig(hidden_size=16, num_hidden_layers=1), "no max_position_embeddings"),
    ],
    ids=["mistral", "gpt-neo", "bloom", "falcon", "mamba"],
)
def test_a_model_that_evals_could_not_ask_is_refused_before_anything_is_trained(config, reason):
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(InputError, match=reason) as error:
        prepare(model, None, "the model")
    assert "Llama" in str(error.value)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (None, "no such folder"),
        ([], "no config.json"),
        (["config.json", "pytorch_model.bin"], "no \\*.safetensors"),
        (["config.json", "model.safetensors"], "cannot be loaded"),
    ],
)
def test_a_folder_in_another_format_is_named_with_the_reason(tmp_path, files, reason):
    folder = tmp_path / "model"
    if files is not None:
        folder.mkdir()
        for name in files:
            (folder / name).write_text("{}")
    with pytest.raises(InputError, match=reason) as error:
        base(tmp_path / "out", {"folder": str(folder)}, {"folder": folder})
    assert str(folder) in str(error.value)


def test_text_that_is_not_json_lines_is_named(tmp_path):
    inputs = text_inputs(tmp_path / "in")
    inputs["text/world"].write_text("The sea is blue.\n")
    with pytest.raises(InputError, match=r"base_text\.jsonl: cannot be read"):
        base(tmp_path / "out", {"tiny": TINY}, inputs)


def test_dialogues_without_one_to_learn_from_are_the_users_to_mend(tmp_path):
    inputs = text_inputs(tmp_path / "in")
    asked = {"data": "What is green?"}
    inputs["text/instructions"].write_text(json.dumps([asked]))
    with pytest.raises(InputError, match=r"base\.tiny\.text: .*no answered dialogue"):
        base(tmp_path / "out", {"tiny": {**TINY, "text": ["instructions"]}}, inputs)


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ({}, "exactly one"),
        ({"folder": "x", "tiny": {}}, "exactly one.*folder and tiny"),
        ({"model": "a/b"}, "40 hex"),
        ({"model": "a/b", "revision": "main"}, "40 hex"),
        ({"folder": "x", "revision": "0" * 40}, "belongs to model"),
        ({"tiny": {"hidden": 20, "heads": 4}}, "multiple"),
        ({"tiny": {"max_tokens": 600}}, "exceeds context"),
    ],
)
def test_a_recipe_that_names_no_one_source_is_refused(recipe, reason):
    with pytest.raises(ValidationError, match=reason):
        BaseRecipe.model_validate(recipe)
