"""Rows that are no tokens have no share in any loss: against a softmax masked by hand on the model's own logits."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from trl.trainer.utils import add_fused_lm_head

import elicit
from elicit.fitting.direction_training import compute_negative_log_likelihood
from elicit.sampling import Scored
from elicit.training.passes import restrict_head_to_labels
from elicit.training.supervised import SupervisedSchedule, example, train_on_examples
from elicit.training.token_loss import exclude_unassigned_rows
from tests.loading.test_rows import gapped
from tests.training.support import tiny_training
from tests.training.test_rollouts import Seen

TEXTS = [("1+1=", "2"), ("12+30=", "42 dogs"), ("cat", "dog")]


def by_hand(hf: torch.nn.Module, rows: list[tuple[tuple[int, ...], tuple[int, ...]]], never: tuple[int, ...]) -> float:
    """Mean negative log-likelihood of all completion tokens, one row at a time."""
    total, count = 0.0, 0
    for prompt, completion in rows:
        ids = torch.tensor([[*prompt, *completion]])
        with torch.no_grad():
            logits = hf(ids).logits[0, len(prompt) - 1 : -1].float()
        logits[:, list(never)] = -torch.inf
        total += float(torch.nn.functional.cross_entropy(logits, ids[0, len(prompt) :], reduction="sum"))
        count += len(completion)
    return total / count


@pytest.mark.parametrize("arch", ["llama", "gemma2", "gpt2"])  # untied; tied with capped logits; tied
@pytest.mark.parametrize("labels_only", [False, True])
def test_the_trainers_head_over_tokens(
    arch: str, labels_only: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = elicit.load(str(gapped(tmp_path, arch)))
    hf = copy.deepcopy(base.hf)
    ids = torch.tensor([[1, *range(30, 42)], [1, *range(60, 72)]])
    labels = ids.clone()
    labels[:, :4] = -100
    monkeypatch.setattr("elicit.training.passes.is_small", lambda _: not labels_only)
    with torch.enable_grad(), restrict_head_to_labels(hf), exclude_unassigned_rows(base.unassigned_ids):
        add_fused_lm_head(hf, outputs=("log_probs", "entropy"))
        out = hf(ids, labels=labels, fused_lm_head=True)
        out.loss.backward()
    logits = base.hf(ids).logits[:, :-1].float()
    logits[..., list(base.unassigned_ids)] = -torch.inf
    own = logits.log_softmax(-1)
    picked = own.gather(2, ids[:, 1:, None])[..., 0].masked_fill(labels[:, 1:] == -100, 0)
    torch.testing.assert_close(out.log_probs.detach(), picked.detach(), rtol=1e-4, atol=1e-5)
    entropy = -torch.where(own > -torch.inf, own.exp() * own, 0.0).sum(-1).masked_fill(labels[:, 1:] == -100, 0)
    torch.testing.assert_close(out.entropy.detach(), entropy.detach(), rtol=1e-4, atol=1e-4)
    gradient = hf.get_output_embeddings().weight.grad
    assert gradient is not None
    assert not gradient[list(base.unassigned_ids)].any()
    # The same gradient as torch's own through the masked logits.
    (-picked.sum() / (labels[:, 1:] != -100).sum()).backward()
    torch.testing.assert_close(gradient, base.hf.get_output_embeddings().weight.grad, rtol=1e-3, atol=1e-5)


def test_fine_tuning_starts_at_the_tokens_loss_and_leaves_the_other_rows(tmp_path: Path) -> None:
    base = elicit.load(str(gapped(tmp_path)))
    rows = [example(base, prompt, completion, who="test") for prompt, completion in TEXTS]
    done = train_on_examples(
        base, rows, SupervisedSchedule(epochs=4, batch_size=3, learning_rate=1e-2), who="test", seed=0
    )
    pairs = [(row.prompt, row.completion) for row in rows]
    assert done.curve[0]["loss"] == pytest.approx(by_hand(base.hf, pairs, base.unassigned_ids), rel=1e-4)
    with done.weights.apply(base.hf):
        assert by_hand(base.hf, pairs, base.unassigned_ids) < done.curve[0]["loss"]
        trained = base.hf.get_output_embeddings().weight.detach().clone()
    own = base.hf.get_output_embeddings().weight
    assert torch.equal(trained[list(base.unassigned_ids)], own[list(base.unassigned_ids)])
    assert not torch.equal(trained, own)


def test_rollouts_and_their_log_probabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = elicit.load(str(gapped(tmp_path)))
    seen = Seen(monkeypatch)
    tiny_training(base, learning_rate=3e-3)
    seen.check(at_least=20)
    assert not any(set(key[1:]) & {*base.unassigned_ids} for key in seen.sampled)


def test_directions_are_fitted_over_tokens(tmp_path: Path) -> None:
    base = elicit.load(str(gapped(tmp_path)))
    read = [Scored(base.encode(prompt), base.continuation(text)) for prompt, text in TEXTS]
    nowhere = [torch.zeros(len(one.completion), dtype=torch.long) for one in read]
    loss = float(compute_negative_log_likelihood(base, read, nowhere, 1, torch.zeros(2, base.d_model)).detach())
    assert loss == pytest.approx(by_hand(base.hf, [tuple(one) for one in read], base.unassigned_ids), rel=1e-4)
