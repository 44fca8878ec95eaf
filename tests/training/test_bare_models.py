"""A model without a pad token and without spare rows, all of whose logits lie far below 0.

A constant added to every logit changes no distribution, so it must say, train and write the same as its copy without
the constant; a row that loading invented, whose logit is 0, would win everywhere.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import elicit
from elicit.loading import rows
from elicit.merging import save_merged
from elicit.model import BaseModel
from elicit.policy import Policy
from elicit.sampling import Decoding
from elicit.training.supervised import SupervisedSchedule, example, train_on_examples
from tests.support.tiny import tiny
from tests.training.support import tiny_training
from tests.training.test_rollouts import Seen

DRAWN = Decoding(max_new_tokens=16, temperature=1.0)


def bare(folder: Path, shift: float) -> BaseModel:
    """The last norm gives a constant 1 as entry 0, and the head weighs it by `shift`."""
    hf, tokenizer = tiny("gpt_neox")
    tokenizer.pad_token = tokenizer.unk_token = tokenizer.bos_token = None
    tokenizer.bos_token = "<pad>"  # so that no token is left that could pad
    with torch.no_grad():
        hf.gpt_neox.final_layer_norm.weight[0], hf.gpt_neox.final_layer_norm.bias[0] = 0.0, 1.0
        hf.get_output_embeddings().weight[:, 0] = shift
    hf.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return elicit.load(str(folder))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[BaseModel, BaseModel]:
    return bare(tmp_path / "low", -60.0), bare(tmp_path / "plain", 0.0)


def test_it_says_the_same(pair: tuple[BaseModel, BaseModel]) -> None:
    low, _ = pair
    assert rows.count_rows(low.hf) == rows.count_rows_in_files(low.hf) == len(low.tokenizer)
    with torch.no_grad():
        assert float(low.hf(torch.tensor([[5, 30, 31]])).logits.max()) < -40
    prompts = ["hello", "12+3="]
    for decoding in (DRAWN, DRAWN.replace(temperature=0.0), DRAWN.replace(stop=("\nQ:",))):
        ours, theirs = (base.sample(prompts, n=4, decoding=decoding) for base in pair)
        assert [[one.tokens for one in row] for row in ours] == [[one.tokens for one in row] for row in theirs]
    ours, theirs = (base.score(prompts, ["cats", "15"]) for base in pair)
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, abs=1e-3)


def test_it_is_trained_the_same(pair: tuple[BaseModel, BaseModel], monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []
    for base in pair:
        texts = [example(base, prompt, text, who="test") for prompt, text in (("1+1=", "2"), ("cat", "dog"))]
        done = train_on_examples(base, texts, SupervisedSchedule(epochs=1, batch_size=2), who="test", seed=0)
        losses.append(done.curve[0]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    drawn = []
    for base in pair:
        with monkeypatch.context() as patched:
            seen = Seen(patched)
            tiny_training(base, steps=1, learning_rate=1e-3)
            seen.check(at_least=8)
            drawn.append(set(seen.sampled))
    assert drawn[0] == drawn[1]


def test_its_merged_folder_writes_the_same(pair: tuple[BaseModel, BaseModel], tmp_path: Path) -> None:
    low, plain = pair
    hf = AutoModelForCausalLM.from_pretrained(save_merged(Policy(low, DRAWN), tmp_path / "merged"))
    ids = torch.tensor([low.encode("hello")])
    out = hf.generate(ids, max_new_tokens=16, do_sample=False, pad_token_id=low.pad_id)[0, ids.shape[1] :].tolist()
    [[ours]] = plain.sample(["hello"], decoding=DRAWN.replace(temperature=0.0))
    assert out == list(ours.tokens)
