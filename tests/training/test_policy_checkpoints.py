"""Checkpoints of a policy: policies of their own, saved, loaded and refused as such."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from elicit.api import load_policy
from elicit.errors import ElicitError
from elicit.methods.catalog import METHODS, configure_method, list_options, load_config_class
from elicit.methods.finetuning.sft import SFT
from elicit.model import BaseModel, load
from elicit.policy import Policy
from elicit.tasks import get
from tests.training.kept import KINDS, OPTIONS, PROBLEMS, STEPS, TASK, base_model, fit, tensors, trained

# --- policies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    base, policy = base_model(), trained(kind)
    assert policy.sha256 == fit(kind, checkpoints=()).sha256, "keeping copies changed the training"
    policy.save(tmp_path)
    again = Policy.load(tmp_path, base)
    assert list(again.checkpoints) == list(policy.checkpoints) == list(STEPS)
    hashes = [again.at(step).sha256 for step in (0, *STEPS, 12)]
    assert hashes == [policy.at(step).sha256 for step in (0, *STEPS, 12)]
    assert len(set(hashes)) == 5
    assert again.sha256 == policy.sha256
    answers = {step: again.at(step).answer(PROBLEMS, TASK, label="t", seed=0) for step in (0, *STEPS, 12)}
    assert answers[0] == Policy(base, policy.decoding).answer(PROBLEMS, TASK, label="t", seed=0)
    assert answers[12] == policy.answer(PROBLEMS, TASK, label="t", seed=0)
    assert answers[8] != answers[0]
    for step in STEPS:  # each is a policy folder of its own
        alone = Policy.load(tmp_path / "checkpoints" / f"{step:06d}", base)
        assert alone.answer(PROBLEMS, TASK, label="t", seed=0) == answers[step]
        assert not alone.checkpoints
        assert alone.at(step) is alone
        assert alone.at(0).sha256 == again.at(0).sha256


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    trained("full").save(tmp_path)
    root = tmp_path / "checkpoints"
    (root / "000002").rename(root / "spare")
    (root / "000005").rename(root / "000002")
    (root / "spare").rename(root / "000005")
    loaded = Policy.load(tmp_path, base_model())
    with pytest.raises(ElicitError, match=r"000005 is not the checkpoint of step 5 that .* was saved with\.$"):
        loaded.at(5)
    shutil.rmtree(root / "000008")
    with pytest.raises(ElicitError, match=r"000008 holds no policy\.json"):
        loaded.at(8)


def test_a_folder_for_peft(tmp_path: Path) -> None:
    """Plain peft loads a LoRA checkpoint's folder, and `load_policy` any checkpoint's by itself."""
    base = load("cued")
    method = SFT(**OPTIONS, lora_rank=2, checkpoints=(5,))
    policy = method.fit(base, get("addition"), seed=0, needs={})
    policy.save(tmp_path)
    folder = tmp_path / "checkpoints" / "000005"
    ids = torch.tensor([base.encode("Q:47+38\nA:")])
    with policy.at(5).apply(), torch.no_grad():
        expected = base.hf(ids).logits.clone()
    with policy.apply(), torch.no_grad():
        assert not torch.equal(base.hf(ids).logits, expected)
    plain = PeftModel.from_pretrained(copy.deepcopy(base.hf), folder).eval()
    with torch.no_grad():
        assert torch.equal(plain(ids).logits, expected)
    assert load_policy(folder).sha256 == policy.at(5).sha256


def test_a_bfloat16_base_keeps_what_its_training_ends_in() -> None:
    base = _bfloat16()
    policy = SFT(**OPTIONS, checkpoints=(8,)).fit(base, TASK, seed=3, needs={})
    then, end = tensors(policy.at(8)), tensors(policy)
    assert {tensor.dtype for tensor in then.values()} == {tensor.dtype for tensor in end.values()} == {torch.float32}
    assert any((tensor != tensor.bfloat16().float()).any() for tensor in then.values()), "rounded"


def _bfloat16() -> BaseModel:
    from elicit.loading.catalog import ModelSource
    from elicit.loading.load import LoadedModel
    from tests.support.tiny import tiny

    hf, tokenizer = tiny("llama", dtype=torch.bfloat16)
    return BaseModel(LoadedModel(hf, tokenizer, "tiny", ModelSource("folder", "tiny", None), "w", "t", None))


def test_mistakes_are_told() -> None:
    with pytest.raises(ElicitError) as raised:
        fit(checkpoints=(5, 40))
    assert str(raised.value) == (
        "sft: a checkpoint after step 40 was asked for, but this training has 12 steps. Ask for steps up to 12, or "
        "train for longer."
    )
    with pytest.raises(ElicitError, match=r"^grpo: a checkpoint after step 33 was asked for, .* has 32 steps\."):
        configure_method("grpo", {"checkpoints": [1, 33]})
    for wrong in ([0, 4], [8, 4], [4, 4]):
        with pytest.raises(ElicitError, match=r"^sft: checkpoints is \[.*\]; expected steps from 1 on, in ascending"):
            configure_method("sft", {"checkpoints": wrong})
    with pytest.raises(ElicitError) as raised:
        trained("full").at(7)
    assert str(raised.value).endswith(
        " lacks a checkpoint of step 7. It has: 0 (untrained), 2, 5, 8, 12 (its end). To keep others, train with "
        "checkpoints: [7]."
    )


def test_every_training_method_has_the_option() -> None:
    learning = {name for name in METHODS if load_config_class(name).traits.trained}
    fields = {name: {field.name for field in list_options(load_config_class(name))} for name in learning}
    stepless = {"adapter", "hybrid_steering"}
    assert {name for name in learning if "checkpoints" in fields[name]} == learning - stepless
    assert {"sft", "critique", "same_solutions", "grpo", "rl_steering"} <= learning
