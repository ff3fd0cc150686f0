"""Reward models: a small planted world is learnt, measured, saved, and scored alike everywhere."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from scipy.stats import pearsonr, spearmanr
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from karma.errors import InputError, StageError
from karma.jobs import Job
from karma.reward.backbone import source, tokenizer_of
from karma.reward.data import read
from karma.reward.head import keep_single
from karma.reward.job import run
from karma.reward.metrics import Heldout, evaluate, levels_at
from karma.reward.objectives import PASS, pad, passes, schedule
from karma.reward.recipe import RewardRecipe, declared
from karma.reward.score import Length, RewardModel, Sum, load
from karma.reward.trainer import Collator
from karma.reward.views import Slot
from karma.text import Turn

# Words of equal lengths: length says nothing of the tone.
TONES = {"joke": ["haha", "pun", "lol"], "fact": ["data", "fig", "obs"]}
SIZES = {"train": 240, "validation": 60, "test": 80}


def make_base(folder: Path, seed: int = 0) -> Path:
    """A tiny Llama with a byte-level tokenizer, in the shape that ``base`` leaves."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    special = ["<pad>", "<bos>", "<eos>"]
    texts = ["Post: Comment: Reply: r/ the a", *(" ".join(words) for words in TONES.values())]
    tokenizer.train_from_iterator(
        texts * 5,
        BpeTrainer(
            vocab_size=320,
            special_tokens=special,
            initial_alphabet=ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.token_to_id("<bos>"))]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=256,
        pad_token_id=fast.pad_token_id,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def make_world(folder: Path) -> dict[str, Path]:
    """Threads of two sisters each: jokes are valued, and so are replies to a high parent (which
    pairs of sisters cannot show)."""
    rng = random.Random(0)
    rows, pairs = [], []
    for split, count in SIZES.items():
        for number in range(count):
            rows_here = _thread(rng, f"{split[:2]}{number}", split, number)
            rows += rows_here
            better, worse = sorted(rows_here, key=lambda row: -row["valuation"])
            pairs.append(
                {
                    "thread_id": better["thread_id"],
                    "parent_id": better["parent_id"],
                    "split": split,
                    "use": better["use"],
                    "preferred": better["id"],
                    "rejected": worse["id"],
                    "margin": float(better["score"] - worse["score"]),
                }
            )
    labels, threads = folder / "labels", folder / "threads"
    labels.mkdir(parents=True)
    threads.mkdir()
    valued = ["id", "thread_id", "subreddit", "split", "use", "score", "valuation", "level"]
    _write([{key: row[key] for key in valued} for row in rows], labels / "valuations.parquet")
    _write(pairs, labels / "pairs.parquet")
    rest = [key for key in rows[0] if key not in ("valuation", "level")]
    _write([{key: row[key] for key in rest} for row in rows], threads / "conversations.parquet")
    return {"labels": labels, "threads/0-100": threads, "base": make_base(folder / "base")}


def _thread(rng: random.Random, thread: str, split: str, number: int) -> list[dict]:
    subreddit = rng.choice(["fun", "sci"])
    high = rng.random() < 0.5
    tones = ["joke", "fact"]
    rng.shuffle(tones)
    use = ("gold" if number % 6 == 0 else "reward") if split == "train" else None
    rows = []
    for sister, tone in enumerate(tones):
        z = 1.0 * (tone == "joke") + 1.0 * high + 0.4 * rng.gauss(0, 1) - 1.0
        context: list[Turn] = [
            {
                "role": "title",
                "text": "the " + rng.choice(TONES["joke" if subreddit == "fun" else "fact"]),
            },
            {"role": "comment", "text": "a the"},
        ]
        rows.append(
            {
                "id": f"{thread}r{sister}",
                "thread_id": thread,
                "parent_id": f"{thread}p",
                "subreddit": subreddit,
                "author": "someone",
                "created_utc": 1000 + number,
                "score": round(10 * z),
                "depth": 2,
                "context": context,
                "reply": " ".join(rng.choice(TONES[tone]) for _ in range(3)),
                "parent_score": 40 if high else 1,
                "delay": 600,
                "hour": 14,
                "age": None,
                "split": split,
                "use": use,
                "valuation": NormalDist().cdf(z),
                "level": min(7, max(0, round(3 + 2 * z))),
            }
        )
    return rows


def _write(rows: list[dict], path: Path) -> None:
    nullable = pa.schema([("use", pa.string())])
    schema = pa.Table.from_pylist(rows).schema
    place = schema.get_field_index("use")
    pq.write_table(
        pa.Table.from_pylist(rows, schema=schema.set(place, nullable.field("use"))), path
    )


SETTINGS = {
    "epochs": 4,
    "lr": 3e-3,
    "batch": 32,
    "max_tokens": 96,
    "resamples": 60,
    "checkpoint_steps": 10,
}


def make_job(
    inputs: dict[str, Path], out: Path, name: str, use: str = "reward", **settings: object
) -> Job:
    """A job of the stage, its output folder made."""
    section = {**SETTINGS, **settings}
    recipe = RewardRecipe.model_validate(section)
    config = {
        "reward": recipe.model_dump(mode="json", exclude={"variants"}),
        "variant": declared(name, recipe.variants),
        "use": use,
        "seed": 0,
    }
    scratch = out.with_name(out.name + ".scratch")
    out.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(exist_ok=True)
    return Job(config, inputs, out, scratch)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The planted threads, their labels, and a base."""
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def metadata(world: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained ``metadata`` variant."""
    out = tmp_path_factory.mktemp("metadata") / "out"
    run(make_job(world, out, "metadata", epochs=6))
    return out


def rows_of(world: dict[str, Path], tmp_path: Path) -> tuple[list, list, list]:
    """The test rows as ``score`` takes them."""
    job = make_job(world, tmp_path / "rows", "context")
    rows = read(job, RewardRecipe.model_validate(job.config["reward"]), "reward")["test"].rows
    return [r.context for r in rows], [r.reply for r in rows], [r.slot for r in rows]


def numbers(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def test_a_trained_model_learns_pairs_and_what_siblings_share(metadata: Path, world, tmp_path):
    found = numbers(metadata)
    assert found["spearman"] > 0.6 > found["length_spearman_high"]
    assert found["pair_accuracy"] > 0.8
    assert found["spearman_low"] < found["spearman"] < found["spearman_high"]
    assert abs(found["shuffled_spearman"]) < 0.3
    turns, replies, slots = rows_of(world, tmp_path)
    model = load(metadata)
    low = [{**slot, "parent_score": 1} for slot in slots]
    high = [{**slot, "parent_score": 40} for slot in slots]
    gain = np.mean(model.score(turns, replies, high)) - np.mean(model.score(turns, replies, low))
    assert gain > 0.5


def test_the_artefact_says_what_it_is_and_holds_no_pickle_and_no_path(metadata: Path, world):
    document = json.loads((metadata / "reward.json").read_text())
    assert document["neutral"]["parent_score"] in (1, 40)
    assert len(document["levels"]) == 7
    files = [path for path in metadata.rglob("*") if path.is_file() and "log" not in path.parts]
    assert {path.suffix for path in files} <= {".json", ".md", ".safetensors", ".parquet", ".jinja"}
    for path in files:
        assert str(world["base"]).encode() not in path.read_bytes()
    heldout = pq.read_table(metadata / "heldout.parquet")
    assert heldout.column_names == [
        "id", "thread_id", "subreddit", "split", "score", "valuation", "level", "reward", "length",
    ]  # fmt: skip
    validation = heldout.filter(pa.compute.equal(heldout["split"], "validation"))
    rewards = validation["reward"].to_numpy()
    assert abs(rewards.mean()) < 1e-6
    assert abs(rewards.std() - 1) < 1e-6


def test_the_card_prints_the_exact_view(metadata: Path):
    card = (metadata / "README.md").read_text()
    assert "r/cats d2 +8m @12h p16\nPost: My cat has learnt to open the fridge\n" in card
    assert "| spearman | 0." in card
    assert "| filler" not in card
    assert "| mean change with filler added |" in card


def test_score_does_not_depend_on_order_or_padding(metadata: Path, world, tmp_path):
    turns, replies, slots = rows_of(world, tmp_path)
    model = load(metadata)
    together = model.score(turns, replies, slots)
    backwards = model.score(turns[::-1], replies[::-1], slots[::-1])[::-1]
    alone = [model.score([t], [r], [s])[0] for t, r, s in zip(turns, replies, slots, strict=True)]
    long_one = model.score([*turns, turns[0]], [*replies, "lol " * 60], [*slots, slots[0]])[:-1]
    for other in (backwards, alone, long_one):
        assert np.allclose(together, other, atol=1e-5)


def test_score_equals_what_the_job_measured(metadata: Path, world, tmp_path):
    turns, replies, slots = rows_of(world, tmp_path)
    heldout = pq.read_table(metadata / "heldout.parquet").to_pylist()
    measured = [row["reward"] for row in heldout if row["split"] == "test"]
    assert np.allclose(load(metadata).score(turns, replies, slots), measured, atol=1e-5)


def test_a_missing_slot_is_the_neutral_slot(metadata: Path, world, tmp_path):
    turns, replies, _ = rows_of(world, tmp_path)
    neutral: Slot = json.loads((metadata / "reward.json").read_text())["neutral"]
    model = load(metadata)
    given = model.score(turns, replies, [neutral] * len(replies))
    assert given == model.score(turns, replies, [None] * len(replies))


def test_special_tokens_spelt_out_in_a_reply_are_text(metadata: Path):
    scorer = load(metadata).scorer
    ids, _ = scorer.view.encode(scorer.tokenizer, [[]], ["<pad> lol <eos>"], [None])
    assert scorer.tokenizer.pad_token_id not in ids[0]
    assert ids[0].index(scorer.tokenizer.eos_token_id) == len(ids[0]) - 1


def test_training_reads_the_same_tokens_as_score(metadata: Path, world, tmp_path):
    job = make_job(world, tmp_path / "out", "metadata")
    recipe = RewardRecipe.model_validate(job.config["reward"])
    rows = read(job, recipe, "reward")["train"].rows
    columns = [r.context for r in rows], [r.reply for r in rows], [r.slot for r in rows]
    scorer = load(metadata).scorer
    trained_on, _ = tokenizer_of(source(job, recipe), recipe.max_tokens)
    assert scorer.view.encode(trained_on, *columns) == scorer.view.encode(
        scorer.tokenizer, *columns
    )


def test_random_depends_on_seed_prompt_and_reply_only(world, tmp_path):
    out = tmp_path / "random"
    run(make_job(world, out, "random"))
    model = load(out)
    turns, replies, slots = rows_of(world, tmp_path)
    assert model.score(turns, replies, slots) == model.score(turns, replies, [None] * len(turns))
    turn: Turn = {"role": "comment", "text": "a"}
    one = model.score([[turn]], ["lol"], [None])
    assert one != model.score([[turn]], ["lol "], [None])
    assert one != model.score([[{**turn, "text": "b"}]], ["lol"], [None])
    model.scorer.seed = 1
    assert one != model.score([[turn]], ["lol"], [None])
    assert abs(numbers(out)["spearman"]) < 0.3


def test_a_sum_adds_its_standardised_terms(world, tmp_path):
    variants = {"mixed": {"kind": "sum", "terms": {"random": 1.0, "length": -0.5}}}
    out = tmp_path / "mixed"
    run(make_job(world, out, "mixed", variants=variants))
    model = load(out)
    turns, replies, slots = rows_of(world, tmp_path)
    terms = {name: load(out / "terms" / name) for name in ("random", "length")}
    raw = np.array(terms["random"].score(turns, replies, slots)) - 0.5 * np.array(
        terms["length"].score(turns, replies, slots)
    )
    expected = (raw - model.mean) / model.deviation
    assert np.allclose(model.score(turns, replies, slots), expected)
    rewards, parts = model.explained(turns, replies, slots)
    assert np.allclose(rewards, expected)
    assert np.allclose(
        parts["length"],
        -0.5 * np.array(terms["length"].score(turns, replies, slots)),
    )


def test_asking_for_reward_and_terms_reads_each_reply_once():
    read: list[str] = []

    class Spy(Length):
        def raw(self, turns, replies, slots):
            read.extend(replies)
            return super().raw(turns, replies, slots)

    plain = RewardModel("length", Spy(), 0.0, 1.0)
    assert plain.explained([[], []], ["a", "bc"], [None, None])[1] == {}
    assert read == ["a", "bc"]
    total = RewardModel("sum", Sum({"length": (2.0, plain)}), 0.0, 1.0)
    rewards, terms = total.explained([[], []], ["a", "bc"], [None, None])
    assert rewards == terms["length"]
    assert read == ["a", "bc", "a", "bc"]


def test_half_precision_does_not_round_the_rewards(metadata, world, tmp_path):
    model = load(metadata)
    turns, replies, slots = rows_of(world, tmp_path)
    said = [f"{reply} {n}" for n, reply in enumerate(replies * 100)][:400]
    rows = ([turns[0]] * 400, said, [slots[0]] * 400)
    exact = model.score(*rows)
    model.scorer.half_precision = True
    half = model.score(*rows)
    assert half == pytest.approx(exact, abs=0.05)
    assert half != exact
    assert len(set(half)) == len(set(exact))


def test_where_memory_runs_out_scoring_goes_on_with_smaller_passes(
    metadata, world, tmp_path, capsys
):
    model = load(metadata)
    rows = rows_of(world, tmp_path)
    expected = model.score(*rows)

    def check(module, given, named):
        if named["input_ids"].numel() > 1000:
            raise torch.OutOfMemoryError

    model.scorer.model.register_forward_pre_hook(check, with_kwargs=True)
    assert model.score(*rows) == pytest.approx(expected, abs=1e-4)
    assert "out of memory; goes on with" in capsys.readouterr().err
    assert model.scorer.budget.size <= 1000


def test_gold_learns_from_its_own_threads(world, tmp_path):
    job = make_job(world, tmp_path / "gold", "context", use="gold")
    recipe = RewardRecipe.model_validate(job.config["reward"])
    gold, reward = read(job, recipe, "gold")["train"], read(job, recipe, "reward")["train"]
    assert not {r.thread_id for r in gold.rows} & {r.thread_id for r in reward.rows}
    run(make_job(world, tmp_path / "gold", "context", use="gold", epochs=1))
    assert load(tmp_path / "gold").name == "gold"


class InterruptedByTestError(Exception):
    """Stands for a kill."""


def test_resumed_training_gives_the_weights_of_an_uninterrupted_one(world, tmp_path):
    def stop(done: float, total: float, unit: str) -> None:
        if done == 13:
            raise InterruptedByTestError

    run(make_job(world, tmp_path / "whole", "reply", epochs=2))
    job = make_job(world, tmp_path / "halves", "reply", epochs=2)
    with pytest.raises(InterruptedByTestError):
        run(replace(job, report=stop))
    assert (job.scratch / "train" / "checkpoint-10").is_dir()
    (job.scratch / "train" / "checkpoint-12").mkdir()  # one that was not written to its end
    run(job)
    for name in ("model/model.safetensors", "reward.json", "metrics.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (job.out / name).read_bytes()


def test_a_cap_keeps_the_replies_of_a_parent_together(world, tmp_path):
    job = make_job(world, tmp_path / "out", "reply", rows=51, pairs=20)
    train = read(job, RewardRecipe.model_validate(job.config["reward"]), "reward")["train"]
    assert len(train.rows) == 50
    assert len({row.thread_id for row in train.rows}) == 25
    assert len(train.pairs) == 20


def test_pairs_alone_leave_out_replies_without_a_pair(world, tmp_path):
    objective = {"pairs": 1.0, "regression": 0.0}
    out = tmp_path / "out"
    run(make_job(world, out, "reply", objective=objective, pairs=30, epochs=1))
    training = json.loads((out / "reward.json").read_text())["training"]
    assert (training["rows"], training["pairs"]) == (60, 30)


def test_a_loss_that_is_no_number_stops_the_stage(world, tmp_path):
    with pytest.raises(StageError, match=r"the loss is .* at step"):
        run(make_job(world, tmp_path / "out", "reply", lr=1e30))


def test_an_empty_split_is_named(world, tmp_path):
    with pytest.raises(InputError, match="use 'gold' in split 'train'"):
        run(make_job(world, tmp_path / "out", "reply", use="gold", rows=1))
    with pytest.raises(InputError, match="split 'validation'"):
        run(make_job(world, tmp_path / "out", "reply", heldout=1))


def test_views_longer_than_the_models_positions_are_refused(world, tmp_path):
    with pytest.raises(InputError, match="more than the 256 positions"):
        run(make_job(world, tmp_path / "out", "reply", max_tokens=257))


def test_an_unknown_variant_is_refused_with_the_known_ones():
    with pytest.raises(ValidationError, match=r"unknown variant 'contxt'\. Known are context"):
        RewardRecipe.model_validate({"variants": {"contxt": {}}})
    with pytest.raises(ValidationError, match="is itself a sum"):
        RewardRecipe.model_validate({"variants": {"a": {"kind": "sum", "terms": {"a": 1.0}}}})
    with pytest.raises(ValidationError, match="kind sum needs terms"):
        RewardRecipe.model_validate({"variants": {"a": {"kind": "sum"}}})


def test_a_declaration_fills_in_the_defaults_of_its_name():
    recipe = RewardRecipe.model_validate({"variants": {"metadata": {"fields": ["hour"]}}})
    whole = declared("metadata", recipe.variants)
    assert (whole["kind"], whole["context"], whole["fields"]) == ("model", True, ["hour"])
    assert declared("context", recipe.variants)["name"] == "context"


def test_a_schedule_shows_every_row_once_an_epoch_and_every_pair_with_it():
    rng = random.Random(1)
    pairs = [(3 * k, 3 * k + 1) for k in range(30)] + [(3 * k + 1, 3 * k + 2) for k in range(10)]
    lengths = [rng.randrange(5, 50) for _ in range(100)]
    steps = schedule(lengths, pairs, unpaired=True, rows_a_step=16, epochs=2, seed=0)
    seen = sorted(row for step in steps for row in step.rows)
    assert seen == sorted([*range(100), *range(100)])
    found = [(step.rows[a], step.rows[b]) for step in steps for a, b in step.pairs]
    assert sorted(found) == sorted(pairs * 2)
    sizes = [len(step.rows) for step in steps]
    assert max(sizes) <= 17
    assert sum(sizes) / len(sizes) == pytest.approx(16, abs=2)
    assert all(
        sorted(lengths[row] for row in s.rows) == [lengths[row] for row in s.rows] for s in steps
    )
    assert steps == schedule(lengths, pairs, unpaired=True, rows_a_step=16, epochs=2, seed=0)


def test_metrics_agree_with_scipy_and_intervals_hold_the_point():
    rng = np.random.default_rng(0)
    valuations = rng.integers(0, 20, 200) / 20
    rewards = np.round(valuations + rng.normal(0, 0.3, 200), 1)
    levels = (valuations * 7).astype(int)
    threads = np.repeat(np.arange(50), 4)
    pairs = np.array([(4 * k, 4 * k + 1) for k in range(50)])
    heldout = Heldout(valuations, levels, threads, pairs)
    found = evaluate(rewards, heldout, levels_at(rewards, levels), 200, 0)
    assert found["spearman"] == pytest.approx(spearmanr(rewards, valuations)[0])
    assert found["pearson"] == pytest.approx(pearsonr(rewards, valuations)[0])
    for name in ("spearman", "pearson", "f1", "pair_accuracy"):
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]


def test_perfect_rewards_have_perfect_measures():
    levels = np.repeat(np.arange(8), 5)
    valuations = levels / 7
    heldout = Heldout(valuations, levels, np.arange(40), np.array([(39, 0), (20, 1)]))
    found = evaluate(valuations, heldout, levels_at(valuations, levels), 10, 0)
    assert found["f1"] == found["pair_accuracy"] == pytest.approx(1)
    assert found["spearman"] == pytest.approx(1)


def test_an_empty_list_has_no_scores(metadata: Path):
    assert load(metadata).score([], [], []) == []


def test_a_folder_that_is_no_reward_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no reward\.json"):
        load(tmp_path)


def test_a_broken_reward_model_is_told_in_one_line_and_no_pickle_is_read(metadata: Path, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(metadata, folder)
    weights = folder / "model" / "model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()
    with pytest.raises(InputError, match=r"cannot be loaded .*safetensors"):
        load(folder)
    for text in ("{", "{}", '{"kind": "odd"}'):
        (folder / "reward.json").write_text(text)
        with pytest.raises(InputError, match="it cannot be loaded"):
            load(folder)


def test_a_step_is_read_in_passes_of_little_padding_that_change_no_reward(
    metadata: Path, world, tmp_path
):
    scorer = load(metadata).scorer
    ids, _ = scorer.view.encode(scorer.tokenizer, *rows_of(world, tmp_path))
    ids = [(row[:-1] * 9)[: 5 + 20 * n] + row[-1:] for n, row in enumerate(ids[:11])]
    step = {"rows": list(range(11)), "pairs": [[3, 0]]}
    made = Collator(ids, np.zeros(11), scorer.tokenizer.pad_token_id)([step])
    assert len(made["passes"]) > 1
    tokens, mask = pad(ids, scorer.tokenizer.pad_token_id)
    with torch.no_grad():
        read = torch.cat([scorer.model(**part).logits for part in made["passes"]])
        whole = scorer.model(input_ids=tokens, attention_mask=mask).logits
    assert torch.allclose(read, whole, atol=1e-5)


def test_a_pass_more_is_made_where_it_saves_more_padding_than_it_costs():
    assert passes([50, 50, 50]) == [(0, 3)]
    assert passes([PASS - 1, 2 * PASS - 2]) == [(0, 2)]
    assert passes([PASS - 1, 2 * PASS]) == [(0, 1), (1, 2)]
    lengths = sorted([20] * 9 + [200] * 4 + [900])
    assert passes(lengths) == [(0, 9), (9, 13), (13, 14)]


def test_a_classifier_without_a_layer_of_one_output_is_told():
    with pytest.raises(InputError, match=r"reward\.backbone: its classifier has no linear layer"):
        keep_single(torch.nn.Sequential(torch.nn.Linear(2, 3)))
