"""Reward models from any backbone: shapes, adapters, pad tokens, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertModel,
    BertTokenizerFast,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from karma.errors import InputError
from karma.reward.job import run
from karma.reward.recipe import RewardRecipe
from karma.reward.score import load
from karma.reward.train import arguments
from tests.test_reward import InterruptedByTestError, make_base, make_job, make_world, rows_of

# PEFT 0.21 asks a model of transformers 5.23 by an old name whether it checkpoints.
# It also tells that a checkpoint of adapters holds the embeddings, where it takes them for resized.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning"),
]

SHAPES = ("llama", "qwen2", "gpt2", "bert")
LORA = {"rank": 4, "alpha": 8}


def make_backbone(shape: str, folder: Path) -> Path:
    """A tiny model of a shape, its tokenizer as such models come: GPT-2's without a pad token."""
    make_base(folder)
    if shape == "llama":
        return folder
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    torch.manual_seed(1)
    sizes = {"vocab_size": len(tokenizer), "num_hidden_layers": 1, "num_attention_heads": 2}
    if shape == "gpt2":
        tokenizer.pad_token = tokenizer.eos_token
        config = GPT2Config(
            vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2, n_positions=256
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    elif shape == "qwen2":
        config = Qwen2Config(
            **sizes, hidden_size=32, intermediate_size=64, num_key_value_heads=1,
            max_position_embeddings=256, tie_word_embeddings=True,
        )  # fmt: skip
        Qwen2ForCausalLM(config).save_pretrained(folder)
    else:
        words = "[PAD] [UNK] [CLS] [SEP] [MASK] post comment reply : the haha pun lol data fig obs"
        vocab = {word: number for number, word in enumerate(words.split())}
        tokenizer = BertTokenizerFast(vocab=vocab)
        sizes["vocab_size"] = len(vocab)
        config = BertConfig(
            **sizes, hidden_size=32, intermediate_size=64, max_position_embeddings=256
        )
        BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module", params=SHAPES)
def backbone(request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_backbone(request.param, tmp_path_factory.mktemp(request.param) / request.param)


def trained(world, backbone: Path, out: Path, **settings: object) -> dict:
    """The metrics of a ``reply`` model that starts from ``backbone``."""
    run(job_of(world, backbone, out, **settings))
    return json.loads((out / "metrics.json").read_text())


def job_of(world, backbone: Path, out: Path, **settings: object):
    section = {"backbone": {"folder": str(backbone)}, "epochs": 3, "lr": 5e-3, **settings}
    return make_job({**world, "backbone": backbone}, out, "reply", **section)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def test_every_shape_learns_and_reads_its_reward_alike_with_and_without_padding(
    world, backbone, tmp_path
):
    assert trained(world, backbone, tmp_path / "out")["pair_accuracy"] > 0.75
    model = load(tmp_path / "out")
    turns, replies, slots = rows_of(world, tmp_path)
    alone = model.score(turns[:1], replies[:1], slots[:1])
    longer = model.score([*turns[:1], []], [*replies[:1], "lol " * 30], [None, None])
    assert alone[0] == pytest.approx(longer[0], abs=1e-4)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out" / "model")
    assert plain.config.pad_token_id == model.scorer.tokenizer.pad_token_id
    assert plain.config.pad_token_id != model.scorer.tokenizer.eos_token_id


def test_adapters_train_and_their_artefact_loads_plainly_with_its_head(world, backbone, tmp_path):
    found = trained(world, backbone, tmp_path / "out", lora=LORA, lr=2e-2, epochs=4)
    assert found["pair_accuracy"] > 0.75
    files = {path.name for path in (tmp_path / "out" / "model").iterdir()}
    assert not any("adapter" in name for name in files)
    plain = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "out" / "model", output_loading_info=True
    )
    assert not plain[1]["missing_keys"]
    assert not plain[1]["unexpected_keys"]
    before = trained(world, backbone, tmp_path / "start", lora=LORA, lr=1e-9, epochs=1)
    assert before["rows"] == found["rows"]
    changed = {
        name
        for name, tensor in tensors(tmp_path / "out").items()
        if not torch.allclose(tensor, tensors(tmp_path / "start")[name], atol=1e-5)
    }
    assert any("score" in name or "classifier" in name for name in changed)
    assert not any("embed" in name or "norm" in name.lower() for name in changed)


def test_resumed_adapters_have_the_weights_of_uninterrupted_ones(world, tmp_path):
    def stop(done: float, total: float, unit: str) -> None:
        if done == 13:
            raise InterruptedByTestError

    settings = {"lora": LORA, "epochs": 2}
    trained(world, world["base"], tmp_path / "whole", **settings)
    job = job_of(world, world["base"], tmp_path / "halves", **settings)
    with pytest.raises(InterruptedByTestError):
        run(replace(job, report=stop))
    run(job)
    name = "model/model.safetensors"
    assert (tmp_path / "whole" / name).read_bytes() == (job.out / name).read_bytes()


def test_a_tokenizer_whose_pad_is_its_end_token_gets_another_and_the_card_says_so(world, tmp_path):
    backbone = make_backbone("gpt2", tmp_path / "gpt2")
    trained(world, backbone, tmp_path / "out", epochs=1)
    document = json.loads((tmp_path / "out" / "reward.json").read_text())
    assert document["training"]["pad"] == "<pad>"
    assert "was given `<pad>`" in (tmp_path / "out" / "README.md").read_text()
    run(make_job(world, tmp_path / "own", "reply", epochs=1))
    document = json.loads((tmp_path / "own" / "reward.json").read_text())
    assert document["training"]["pad"] is None


def test_a_new_pad_token_makes_the_vocabulary_larger(world, tmp_path):
    backbone = make_backbone("gpt2", tmp_path / "gpt2")
    tokenizer = json.loads((backbone / "tokenizer.json").read_text().replace("<pad>", "<odd>"))
    (backbone / "tokenizer.json").write_text(json.dumps(tokenizer))
    trained(world, backbone, tmp_path / "out", epochs=1)
    model = load(tmp_path / "out").scorer.model
    before = GPT2LMHeadModel.from_pretrained(backbone).get_input_embeddings().num_embeddings
    assert model.get_input_embeddings().num_embeddings == before + 1
    assert model.config.pad_token_id == before


def test_a_folder_that_holds_no_model_is_refused(world, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="it cannot be loaded"):
        trained(world, tmp_path / "empty", tmp_path / "out")


def test_half_precision_and_checkpointing_need_a_card(world, tmp_path):
    job = make_job(world, tmp_path / "out", "reply")
    made = arguments(job, RewardRecipe(), 0, tmp_path)
    assert made.use_cpu
    assert not made.bf16
    assert not made.gradient_checkpointing
    assert not made.activation_checkpointing
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="this machine has no CUDA card"):
            arguments(replace(job, compute="cuda"), RewardRecipe(), 0, tmp_path)
