"""Policies: saved and loaded they say the same; taken off they leave the base as it was, bit for bit."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from elicit.errors import ElicitError
from elicit.methods.baselines.cue_prompt import CuePrompt
from elicit.methods.decoding.self_consistency import SelfConsistency
from elicit.methods.finetuning.sft import SFT
from elicit.model import BaseModel, load
from elicit.policy import Policy, Prompting
from elicit.sampling import Decoding
from elicit.steering import Steering
from elicit.tasks import get
from elicit.weights import Adapter, FullWeights
from tests.support.models import tiny_model

TASK = get("addition", max_new_tokens=12)
PROBLEMS = TASK.problems("test", 6)
KINDS = ("base", "cue", "forced", "template", "steering", "votes", "full", "lora", "steered lora")
ADAPTED = ("llama", "qwen3", "gemma3", "gpt2")


@functools.cache
def _cued() -> BaseModel:
    return load("cued")


def _direction(seed: int) -> torch.Tensor:
    return torch.randn(_cued().d_model, generator=torch.Generator().manual_seed(seed))


@functools.cache
def _policy(kind: str) -> Policy:
    base = _cued()
    greedy = Decoding(max_new_tokens=12, stop=("\n",))
    edits = (Steering(_direction(0), 1, 0.7, "add", "first", 3.0, "one"), Steering(_direction(1), 0, -0.5, unit=2.0))
    tuned = {"demonstrations": 4, "epochs": 2, "learning_rate": 1e-2}
    match kind:
        case "base":
            return Policy(base, greedy)
        case "cue" | "forced":
            return CuePrompt(kind).fit(base, TASK, seed=0, needs={})  # type: ignore[arg-type]
        case "template":
            return Policy(base, greedy, Prompting(template="{prompt} 1"))
        case "steering":
            return Policy(base, greedy, steering=edits)
        case "votes":
            return SelfConsistency(n=3, temperature=0.8, top_p=0.9).fit(base, TASK, seed=0, needs={})
        case "full":
            return SFT(**tuned, parameters="mlp").fit(base, TASK, seed=0, needs={})
        case "lora":
            return SFT(**tuned, lora_rank=2).fit(base, TASK, seed=0, needs={})
    return Policy(base, greedy, steering=edits[:1], weights=_policy("lora").weights)


def _behaviour(policy: Policy) -> dict[str, Any]:
    prompts = [problem.prompt for problem in PROBLEMS]
    warm = Decoding(temperature=1.0, max_new_tokens=12)
    return {
        "answers": policy.answer(PROBLEMS, TASK, label="addition", seed=3),
        "draws": policy.draw(PROBLEMS, task="addition", seed=3, n=2, decoding=warm, first=1),
        "scores": policy.score(prompts, ["#12"] * len(prompts)) if policy.has_distribution else None,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_says_the_same(kind: str, tmp_path: Path) -> None:
    policy = _policy(kind)
    policy.save(tmp_path)
    again = Policy.load(tmp_path, _cued())
    assert again.sha256 == policy.sha256
    assert repr(again) == repr(policy)
    assert dict(again.record) == dict(policy.record)
    assert _behaviour(again) == _behaviour(policy)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".safetensors"}


def test_every_kind_says_something_of_its_own() -> None:
    """Otherwise the test above would pass for policies that save nothing."""
    texts = {kind: repr(_behaviour(_policy(kind))) for kind in KINDS}
    assert len(set(texts.values())) == len(KINDS)
    assert len({_policy(kind).sha256 for kind in KINDS}) == len(KINDS)


def test_the_hash_sees_what_decides_and_not_what_is_noted() -> None:
    policy = _policy("steering")
    edits = policy.steering
    assert Policy(policy.model, policy.decoding, steering=edits, record={"seconds": 1}).sha256 == policy.sha256
    renamed = Steering(edits[0].direction, 1, 0.7, "add", "first", 3.0, "another name")
    assert Policy(policy.model, policy.decoding, steering=(renamed, edits[1])).sha256 == policy.sha256
    moved = Steering(edits[0].direction, 1, 0.7, "add", "all", 3.0, "one")
    assert Policy(policy.model, policy.decoding, steering=(moved, edits[1])).sha256 != policy.sha256
    longer = policy.decoding.replace(max_new_tokens=13)
    assert Policy(policy.model, longer, steering=edits).sha256 != policy.sha256
    weights = _policy("full").weights
    assert isinstance(weights, FullWeights)
    name = next(iter(weights.tensors))
    bent = FullWeights({**weights.tensors, name: weights.tensors[name] + 1e-6})
    assert bent.sha256 != weights.sha256


def test_a_policy_of_another_base_is_refused(tmp_path: Path) -> None:
    _policy("steering").save(tmp_path)
    known = _cued().weights_sha256[:12]
    with pytest.raises(ElicitError) as raised:
        Policy.load(tmp_path, tiny_model())
    assert str(raised.value) == (
        f"the policy in {tmp_path} was made from cued (weights {known}), but the model given is tiny-llama (weights w)."
    )
    with pytest.raises(ElicitError, match=r"holds no policy\.json; expected a policy folder of a run\."):
        Policy.load(tmp_path / "none", _cued())


def test_full_weights_of_another_architecture_are_refused() -> None:
    weights = FullWeights({"transformer.h.0.mlp.c_fc.weight": torch.zeros(2, 2)})
    with (
        pytest.raises(
            ElicitError, match=r"these weights belong to another model: this one lacks the parameter 'transformer\."
        ),
        weights.apply(_cued().hf),
    ):
        pass


def _logits(hf: Any, text: str = "Q:47+38\nA:") -> torch.Tensor:
    with torch.no_grad():
        return hf(torch.tensor([[5 + ord(c) % 20 for c in text]])).logits.clone()


def _state(hf: Any) -> Mapping[str, Any]:
    """Everything a policy could leave behind on a model."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_forward_hooks_with_kwargs")
    return {
        "parameters": {name: (id(p), p.data_ptr(), p.requires_grad) for name, p in hf.named_parameters()},
        "modules": {name: (id(module), type(module)) for name, module in hf.named_modules()},
        "attributes": {name: sorted(vars(module)) for name, module in hf.named_modules()},
        "hooks": {name: [len(getattr(module, kind)) for kind in hooks] for name, module in hf.named_modules()},
        "training": [module.training for module in hf.modules()],
        "config": hf.config.to_dict(),
        "generation": hf.generation_config.to_dict(),
    }


def _adapted(base: BaseModel) -> Policy:
    return SFT(demonstrations=4, epochs=3, learning_rate=3e-2, lora_rank=2).fit(base, TASK, seed=0, needs={})


@pytest.mark.parametrize("arch", ADAPTED)
def test_adapter_off_is_the_base_bit_for_bit(arch: str, tmp_path: Path) -> None:
    base = tiny_model(arch)
    frozen = next(p for name, p in base.hf.named_parameters() if "mlp" in name)
    frozen.requires_grad_(False)  # an uneven pattern: "all on" would hide what peft switches off
    state, before = _state(base.hf), _logits(base.hf)
    policy = _adapted(base)
    assert isinstance(policy.weights, Adapter)
    assert _state(base.hf) == state
    assert torch.equal(_logits(base.hf), before)

    with policy.apply():
        on = _logits(base.hf)
        assert not torch.equal(on, before)
    assert _state(base.hf) == state
    assert torch.equal(_logits(base.hf), before)

    with pytest.raises(RuntimeError, match="on the way"), policy.apply():
        raise RuntimeError("on the way")
    assert _state(base.hf) == state

    policy.save(tmp_path)  # plain peft reads the folder and computes the same
    plain = PeftModel.from_pretrained(copy.deepcopy(base.hf), tmp_path)
    plain.eval()
    assert torch.equal(_logits(plain), on)


@pytest.mark.parametrize("kind", ["full", "steering", "steered lora", "lora"])
def test_after_the_context_the_base_is_as_before(kind: str) -> None:
    base = _cued()
    state, before = _state(base.hf), _logits(base.hf)
    with _policy(kind).apply():
        if "steer" in kind:  # needs to know where prompts end, so not by a bare forward pass
            base.score(["Q:1+1\nA:"], ["#2"])
        else:
            assert not torch.equal(_logits(base.hf), before)
    assert _state(base.hf) == state
    assert torch.equal(_logits(base.hf), before)
    plain = Policy(base, Decoding(max_new_tokens=12, stop=("\n",)))
    assert _behaviour(plain) == _behaviour(_policy("base"))


def test_weights_reach_clones_that_share_parameters() -> None:
    """The bridge looks at such a clone."""
    base = _cued()
    memo = {id(tensor): tensor for tensor in [*base.hf.parameters(), *base.hf.buffers()]}
    clone = copy.deepcopy(base.hf, memo)
    with _policy("full").apply():
        assert torch.equal(_logits(clone), _logits(base.hf))
    assert torch.equal(_logits(clone), _logits(base.hf))


def test_contexts_nest() -> None:
    base = _cued()
    before = _logits(base.hf)
    with _policy("full").apply():
        once = _logits(base.hf)
        with _policy("lora").apply():
            assert not torch.equal(_logits(base.hf), once)
        assert torch.equal(_logits(base.hf), once)
    assert torch.equal(_logits(base.hf), before)


def test_a_damaged_policy_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    policy = _policy("steering")
    policy.save(tmp_path)
    assert Policy.load(tmp_path, _cued()).sha256 == policy.sha256
    vectors = load_file(tmp_path / "steering.safetensors")
    vectors["0"] = -vectors["0"]
    save_file(vectors, tmp_path / "steering.safetensors")
    with pytest.raises(ElicitError, match="is damaged: its files do not have the hash it was saved with"):
        Policy.load(tmp_path, _cued())
