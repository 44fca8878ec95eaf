"""Every arm gives the same rows on two copies of one model: with a row for each token, and with more rows than tokens.

The rows beyond have values that no training leaves (twenty times as wide as the others): where any of them took part in
a softmax, a draw or a gradient, the rows would differ at once.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from elicit.answer import Answer
from elicit.loading import read_tokenizer
from elicit.loading.rows import count_rows_in_files
from elicit.merging import save_merged
from elicit.model import load
from elicit.policy import Policy
from elicit.weights import Adapter, FullWeights
from tests.support.arms import ALL, Arm, fitted, task_for
from tests.support.bases import Way, base, folder

SPARE = 29
#: Untied without a pad token; tied with capped logits, LoRA and a chat template; tied with a pad token of its own.
WAYS = [Way(arch, turned) for arch, turned in (("qwen2", True), ("gemma2", True), ("gpt2", False))]
FAST = ("sft", "grpo_random_reward", "rl_steering_random_reward", "cot_decoding", "contrastive_decoding")
PAIRS = [(way, method) for way in WAYS for method in ALL]


def said(policy: Policy, way: Way) -> list[Answer]:
    task = task_for(way)
    return policy.answer(task.problems("test", 3), task, label="letters", seed=0)


def same(way: Way, method: str) -> tuple[Policy, Policy]:
    """The arm on both copies, checked to be one and the same."""
    more = way._replace(spare=SPARE)
    one, other = fitted(Arm(method, way)), fitted(Arm(method, more))
    assert said(one, way) == said(other, more)
    assert one.record.get("curve") == other.record.get("curve")
    if one.has_distribution:
        prompts, texts = [problem.prompt for problem in task_for(way).problems("test", 2)], ["0123", "think: 7"]
        assert one.score(prompts, texts) == other.score(prompts, texts)
    for mine, theirs in zip(one.steering, other.steering, strict=True):
        assert (mine.layer, mine.strength) == (theirs.layer, theirs.strength)
        assert torch.equal(mine.direction, theirs.direction)
    if isinstance(one.weights, FullWeights | Adapter):
        assert isinstance(other.weights, FullWeights | Adapter)
        if method != "adapter":  # made by plain peft, whose random numbers a larger head moves
            assert all(torch.equal(tensor, other.weights.tensors[name]) for name, tensor in one.weights.tensors.items())
    return one, other


def test_the_copies_are_what_they_are_called() -> None:
    for way in WAYS:
        more = way._replace(spare=SPARE)
        files = AutoModelForCausalLM.from_pretrained(folder(more))
        tokens = len(read_tokenizer(folder(more)))
        assert files.get_input_embeddings().weight.shape[0] == count_rows_in_files(base(more).hf) == tokens + SPARE
        ids = torch.tensor([base(more).encode("12")])
        with torch.no_grad():
            drawn = files(ids).logits[0, -1].float().softmax(-1)
        assert float(drawn[tokens:].sum()) > 0.5, "plain transformers would draw them"


@pytest.mark.parametrize("method", FAST)
def test_the_same_rows(method: str) -> None:
    same(WAYS[0], method)


@pytest.mark.slow
@pytest.mark.parametrize(("way", "method"), PAIRS, ids=lambda part: part.name if isinstance(part, Way) else part)
def test_the_same_rows_on_every_arm(way: Way, method: str) -> None:
    same(way, method)


@pytest.mark.parametrize("way", WAYS[:2], ids=lambda way: way.name)
def test_a_merged_folder_says_the_same_in_plain_transformers(way: Way, tmp_path: Path) -> None:
    """Fully fine-tuned or with an adapter: saved, opened by transformers and by the lab."""
    policy = fitted(Arm("sft", way._replace(spare=SPARE)))
    place = save_merged(policy, tmp_path / "merged", dtype="float32")
    plain, tokenizer = AutoModelForCausalLM.from_pretrained(place), read_tokenizer(place)
    assert plain.get_input_embeddings().weight.shape[0] == plain.config.vocab_size == len(tokenizer)
    again = load(str(place))
    problems = task_for(way).problems("test", 3)
    for problem, answer in zip(problems, policy.answer(problems, task_for(way), label="l", seed=0), strict=True):
        ids = torch.tensor([again.encode(problem.prompt)])
        with torch.no_grad():
            out = plain.generate(
                ids, max_new_tokens=policy.decoding.max_new_tokens, do_sample=False, pad_token_id=again.pad_id,
                suppress_tokens=list(again.banned_ids) or None,
            )  # fmt: skip
        new = out[0, ids.shape[1] :].tolist()
        assert tokenizer.decode(new, skip_special_tokens=True).startswith(answer.text)
