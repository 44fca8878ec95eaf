"""What is opened for training, and what is taken from it."""

from __future__ import annotations

import copy

import pytest
import torch

from elicit.errors import ElicitError
from elicit.training.groups import GROUPS, Lora
from elicit.training.parameters import make_trainable
from elicit.weights import Adapter, FullWeights
from tests.support.models import tiny_model
from tests.support.tiny import ARCHITECTURES
from tests.training.support import untouched


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_groups_are_disjoint_and_leave_out_norms_only(arch: str) -> None:
    base = tiny_model(arch)
    names = {name for name, _ in base.hf.named_parameters()}
    seen: set[str] = set()
    for group in GROUPS:
        weights = make_trainable(base, group=group).extract_weights()
        assert isinstance(weights, FullWeights)
        chosen = set(weights.tensors)
        assert chosen
        assert not chosen & seen
        seen |= chosen
    assert all("norm" in name or ".ln_" in name for name in names - seen)
    everything = make_trainable(base).extract_weights()
    assert isinstance(everything, FullWeights)
    assert set(everything.tensors) == names


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_an_adapter_is_drawn_by_its_seed(arch: str) -> None:
    base = tiny_model(arch)
    before, state = untouched(base), torch.get_rng_state()
    first, again, other = (make_trainable(base, lora=Lora(2), seed=seed).extract_weights() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert untouched(base) == before
    assert first.sha256 == again.sha256 != other.sha256
    assert isinstance(first, Adapter)
    projections = [name for name, _ in first.tensors.items() if "lora_A" in name]
    assert {".mlp." in name for name in projections} == {True, False}
    assert not any(part in name for name in projections for part in ("embed", "wte", "lm_head"))


def test_training_is_in_float32_and_answers_in_the_bases_own_precision() -> None:
    base = tiny_model()
    base.hf.to(torch.bfloat16)
    copied = make_trainable(base)
    assert copied.hf.dtype == torch.float32
    weights = copied.extract_weights()
    reference = copy.deepcopy(base.hf)
    with weights.apply(base.hf):
        assert base.dtype == torch.bfloat16
        for ours, theirs in zip(base.hf.parameters(), reference.parameters(), strict=True):
            assert torch.equal(ours, theirs)
    adapted = make_trainable(base, lora=Lora(2))
    assert {p.dtype for p in adapted.model.parameters() if p.requires_grad} == {torch.float32}


def test_no_adapter_on_embeddings() -> None:
    with pytest.raises(
        ElicitError, match=r"^a LoRA adapter cannot be put on embeddings\. Use parameters: all, mlp or attn,"
    ):
        make_trainable(tiny_model(), group="embeddings", lora=Lora(2))
