"""Adapters go both ways: ours in plain peft, plain peft's here, with the same logits; and out again without a trace."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoHaConfig, LoKrConfig, LoraConfig, PeftModel, PrefixTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from elicit import adapters
from elicit.adapters import Adapter
from elicit.errors import ElicitError
from elicit.merging import save_merged
from elicit.method import task_decoding
from elicit.methods.catalog import configure_method
from elicit.methods.finetuning.sft import SFT
from elicit.model import BaseModel
from elicit.policy import Policy
from elicit.steering import Steering
from elicit.tasks import get
from tests.support.models import tiny_model
from tests.training.support import untouched

TASK = get("addition")
IDS = torch.tensor([[1, 20, 30, 40, 50, 22, 33]])
_LORA = {"task_type": "CAUSAL_LM"}


def _logits(hf: Any) -> torch.Tensor:
    with torch.no_grad():
        return hf(input_ids=IDS, use_cache=False).logits  # type: ignore[no-any-return]


def _made_elsewhere(base: BaseModel, config: Any, folder: Path) -> torch.Tensor:
    """Write a folder with plain peft, after a training of sorts. Returns the logits there."""
    wrapped = get_peft_model(copy.deepcopy(base.hf), config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    wrapped.save_pretrained(folder)
    return _logits(PeftModel.from_pretrained(copy.deepcopy(base.hf), folder).eval())


@pytest.mark.parametrize("arch", ["qwen3", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("parameters", ["all", "mlp"])
def test_plain_peft_loads_ours(tmp_path: Path, arch: str, parameters: Any) -> None:
    base = tiny_model(arch)
    config = SFT(demonstrations=4, epochs=2, lora_rank=2, lora_alpha=8, learning_rate=0.03, parameters=parameters)
    policy = config.fit(base, TASK, seed=0, needs={})
    policy.save(tmp_path)
    theirs = _logits(PeftModel.from_pretrained(copy.deepcopy(base.hf), tmp_path).eval())
    with policy.apply():
        ours = _logits(base.hf)
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, _logits(base.hf))
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (written["r"], written["lora_alpha"], written["lora_dropout"]) == (2, 8, 0.0)
    assert written["base_model_name_or_path"] is None
    if arch == "qwen3":
        mlp, attn = {"gate_proj", "up_proj", "down_proj"}, {"q_proj", "k_proj", "v_proj", "o_proj"}
        assert set(written["target_modules"]) == (mlp if parameters == "mlp" else mlp | attn)
    assert Policy.load(tmp_path, base).sha256 == policy.sha256


MADE = {
    "dropout, by suffix": LoraConfig(r=2, target_modules=["q_proj", "v_proj"], lora_dropout=0.3, **_LORA),
    "rslora, all-linear": LoraConfig(r=2, target_modules="all-linear", use_rslora=True, **_LORA),
    "dora, by regex": LoraConfig(r=2, target_modules=r".*layers\.[01]\.mlp\.(up|down)_proj", use_dora=True, **_LORA),
    "ranks of their own": LoraConfig(
        r=4, target_modules=["q_proj", "up_proj"], rank_pattern={"up_proj": 2}, alpha_pattern={"q_proj": 32}, **_LORA
    ),
    "whole modules": LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head", "norm"], **_LORA),
    "biases": LoraConfig(r=2, target_modules=["q_proj"], bias="all", **_LORA),
    "no task, some layers": LoraConfig(r=2, target_modules=["k_proj"], layers_to_transform=[1]),
    "loha": LoHaConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"),
    "lokr": LoKrConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"),
    "ia3": IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"),
}


@pytest.mark.parametrize("kind", MADE)
def test_plain_pefts_load_here(tmp_path: Path, kind: str) -> None:
    base = tiny_model("qwen2")  # it has biases
    before, bits = untouched(base), {n: (id(p), p.detach().clone()) for n, p in base.hf.named_parameters()}
    random = torch.get_rng_state()
    theirs = _made_elsewhere(base, copy.deepcopy(MADE[kind]), tmp_path / "made")
    torch.set_rng_state(random)
    policy = Policy.from_peft(base, tmp_path / "made")
    with policy.apply():
        assert torch.equal(_logits(base.hf), theirs)
    assert not torch.equal(_logits(base.hf), theirs)
    assert torch.equal(torch.get_rng_state(), random)
    # Out again: the same objects, the same bits, no attribute more.
    assert untouched(base) == before
    for name, parameter in base.hf.named_parameters():
        assert (id(parameter), True) == (bits[name][0], torch.equal(parameter, bits[name][1]))
    # As a policy it is saved, hashed and loaded like any other, and plain peft loads it still.
    (tmp_path / "saved").mkdir()
    policy.save(tmp_path / "saved")
    assert Policy.load(tmp_path / "saved", base).sha256 == policy.sha256
    assert torch.equal(_logits(PeftModel.from_pretrained(copy.deepcopy(base.hf), tmp_path / "saved").eval()), theirs)


@pytest.mark.parametrize("arch", ["qwen2", "llama"])  # tied and not
def test_embeddings_that_peft_saves_beside_the_adapter(tmp_path: Path, arch: str) -> None:
    """As it does where a vocabulary was resized. Here they were changed, too."""
    base = tiny_model(arch)
    before = untouched(base)
    wrapped = get_peft_model(copy.deepcopy(base.hf), copy.deepcopy(MADE["dropout, by suffix"]))
    with torch.no_grad():
        wrapped.get_input_embeddings().weight.mul_(1.1)
    wrapped.save_pretrained(tmp_path, save_embedding_layers=True)
    theirs = _logits(PeftModel.from_pretrained(copy.deepcopy(base.hf), tmp_path).eval())
    policy = Policy.from_peft(base, tmp_path)
    with policy.apply():
        assert torch.equal(_logits(base.hf), theirs)
    assert not torch.equal(_logits(base.hf), theirs)
    assert untouched(base) == before


def test_as_an_arm_of_a_spec(tmp_path: Path) -> None:
    base = tiny_model("qwen2")
    _made_elsewhere(base, copy.deepcopy(MADE["dropout, by suffix"]), tmp_path)
    arm = configure_method("adapter", {"path": str(tmp_path)})
    policy = arm.fit(base, TASK, seed=0, needs={})
    assert policy.decoding == task_decoding(TASK)
    assert policy.weights is not None
    assert policy.weights.sha256 == Policy.from_peft(base, tmp_path).weights.sha256  # type: ignore[union-attr]
    assert policy.record["adapter"]["r"] == 2
    assert policy.answer(TASK.problems("test", 2), TASK, label="t", seed=0)


def _fails(folder: Path, base: BaseModel | None = None) -> str:
    with pytest.raises(ElicitError) as caught:
        Policy.from_peft(base or tiny_model("qwen2"), folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    base = tiny_model("qwen2")
    (tmp_path / "out").mkdir()
    assert "is not a PEFT adapter" in _fails(tmp_path / "out")
    made = tmp_path / "out" / "made"
    _made_elsewhere(base, copy.deepcopy(MADE["whole modules"]), made)
    assert f"There is one in {made}." in _fails(tmp_path / "out")
    assert "does not fit this phi3 model (3 layers of width 32)" in _fails(made, tiny_model("phi3"))

    def changed(**values: Any) -> Path:
        config = json.loads((made / "adapter_config.json").read_text())
        folder = tmp_path / f"changed-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps(config | values))
        (folder / "adapter_model.safetensors").write_bytes((made / "adapter_model.safetensors").read_bytes())
        return folder

    assert "an adapter for SEQ_CLS" in _fails(changed(task_type="SEQ_CLS"))
    assert "its initial values (pissa)" in _fails(changed(init_lora_weights="pissa"))
    assert "does not fit" in _fails(changed(r=3))
    assert "does not fit" in _fails(changed(target_modules=["q_proj", "v_proj"]))
    cut = changed()
    (cut / "adapter_model.safetensors").write_bytes(b"x" * 20)
    assert "cannot be read as safetensors" in _fails(cut)
    (cut / "adapter_model.safetensors").unlink()
    (cut / "adapter_model.bin").write_bytes(b"")
    assert "Pickles are not read" in _fails(cut)
    prefix = get_peft_model(copy.deepcopy(base.hf), PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"))
    prefix.save_pretrained(tmp_path / "prefix")
    assert "kind PREFIX_TUNING are not supported" in _fails(tmp_path / "prefix")
    whole = changed()
    tensors = load_file(whole / "adapter_model.safetensors")
    tensors["base_model.model.model.embed_tokens.weight"] = torch.zeros(3)
    save_file(tensors, whole / "adapter_model.safetensors")
    assert "embed_tokens.weight has the shape (3,) and (" in _fails(whole)


def test_a_failed_application_leaves_nothing_behind(tmp_path: Path) -> None:
    base = tiny_model("qwen2")
    _made_elsewhere(base, copy.deepcopy(MADE["biases"]), tmp_path)
    good = adapters.read_adapter(tmp_path)
    before = untouched(base)
    lost = Adapter(good.config, {n: t for n, t in good.tensors.items() if "layers.2" not in n})
    with pytest.raises(ElicitError, match=r"it lacks base_model\.model\.model\.layers\.2"), lost.apply(base.hf):
        pass
    with pytest.raises(KeyboardInterrupt), good.apply(base.hf):
        raise KeyboardInterrupt
    assert untouched(base) == before


def test_the_base_an_adapter_names(tmp_path: Path) -> None:
    base = tiny_model("qwen2")
    _made_elsewhere(base, copy.deepcopy(MADE["dropout, by suffix"]), tmp_path)
    path = tmp_path / "adapter_config.json"
    config = json.loads(path.read_text())

    def named(name: str | None) -> Adapter:
        path.write_text(json.dumps(config | {"base_model_name_or_path": name}))
        return adapters.read_adapter(tmp_path)

    hub, own, none = (named(name) for name in ("org/other", "/home/me/models/base", None))
    assert (hub.base_id, own.base_id, none.base_id) == ("org/other", None, None)
    assert hub.sha256 == own.sha256 == none.sha256
    named("org/other")
    assert Policy.from_peft(base, tmp_path).record["adapter"]["made_for"] == "org/other", "a folder has no hub id"
    base.name = "org/one@main"
    said = r"was made for org/other, but the model is org/one\. Load that model, or type any_base: true"
    with pytest.raises(ElicitError, match=said):
        Policy.from_peft(base, tmp_path)
    assert Policy.from_peft(base, tmp_path, any_base=True)
    trained = SFT(demonstrations=2, epochs=1, lora_rank=2).fit(base, TASK, seed=0, needs={})
    assert isinstance(trained.weights, Adapter)
    assert trained.weights.base_id == "org/one"
    base.name = "tiny-qwen2"
    again = SFT(demonstrations=2, epochs=1, lora_rank=2).fit(base, TASK, seed=0, needs={})
    assert again.weights is not None
    assert again.weights.sha256 == trained.weights.sha256


@pytest.mark.parametrize("options", [{"lora_rank": 2}, {}, {"parameters": "embeddings"}], ids=str)
def test_merged_into_a_plain_model_folder(tmp_path: Path, options: dict[str, Any]) -> None:
    base = tiny_model("qwen3")
    before = untouched(base)
    policy = SFT(demonstrations=4, epochs=2, learning_rate=0.03, **options).fit(base, TASK, seed=0, needs={})
    with policy.apply():
        ours = _logits(base.hf)
    place = save_merged(policy, tmp_path / "merged")
    assert untouched(base) == before
    theirs = AutoModelForCausalLM.from_pretrained(place).eval()
    torch.testing.assert_close(_logits(theirs), ours, atol=1e-5, rtol=1e-5)
    assert AutoTokenizer.from_pretrained(place)("Q:1+1")["input_ids"] == list(base.encode("Q:1+1"))
    half = AutoModelForCausalLM.from_pretrained(save_merged(policy, tmp_path / "half", dtype="bfloat16"))
    assert half.dtype == torch.bfloat16
    with pytest.raises(ElicitError, match=r"is not empty\. Give a new folder\.$"):
        save_merged(policy, place)


def test_more_than_weights_is_not_merged(tmp_path: Path) -> None:
    base = tiny_model("qwen3")
    steered = Policy(base, steering=(Steering(torch.ones(base.d_model), 1),))
    with pytest.raises(ElicitError, match=r"is more than weights: it has steering, which a plain model folder cannot"):
        save_merged(steered, tmp_path / "no")
    assert not (tmp_path / "no").exists()
