"""Plans on GPUs that are not here: what they count, against published sizes and what torch itself counts."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import pytest

from elicit.comparison.planning import gpu_plan, roofline
from elicit.comparison.planning.basis import read_model_basis
from elicit.comparison.planning.gpus import KINDS, Gpu, Gpus, parse_gpus
from elicit.comparison.planning.plan import estimate_plan
from elicit.comparison.planning.stand_ins import read_spec_for_plan
from elicit.comparison.planning.token_costs import Price
from elicit.comparison.spec import check_spec
from elicit.engines.choice import VLLM, VLLMChoice
from elicit.errors import ElicitError
from elicit.fitting.rollout_cost import ROLLOUTS
from elicit.method import Generation, TokenLengths
from elicit.methods.catalog import METHODS, configure_method, load_config_class
from tests.support.comparisons import elicit, write_spec
from tests.support.planning import invent_fewer_rows, profile_model_in

LLAMA = Path(__file__).parents[2] / "experiments" / "configs" / "llama-3.1-8b"
A100 = next(gpu for gpu in KINDS if gpu.name == "A100-80GB")


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path_factory):
    """The machine's speed is measured once for this file and kept nowhere else."""
    monkeypatch.setenv("ELICIT_CACHE", str(tmp_path_factory.getbasetemp() / "speed"))


@pytest.mark.parametrize(
    ("text", "count", "name"),
    [
        ("4xA100-80GB", 4, "A100-80GB"),
        ("h100", 1, "H100"),
        ("2 x RTX 4090", 2, "RTX-4090"),
        ("8×H200", 8, "H200"),
        ("H100-80GB", 1, "H100"),
        ("4x{memory: 48, tflops: 180, bandwidth: 864}", 4, "your GPU"),
    ],
)
def test_gpus_as_people_write_them(text: str, count: int, name: str) -> None:
    found = parse_gpus(text)
    assert (found.count, found.gpu.name) == (count, name)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "0xA100-80GB",
            "-2xH100",
            "4x",
            "4xA100",
            "MI300",
            "4x{memory: 48}",
            "{}",
            "{memory: 4, tflops: x, bandwidth: 3}",
        ),
        *(
            "{memory: .nan, tflops: 1, bandwidth: 1}",
            "4x{memory: 48, tflops: 1, bandwidth: 1, price: 3}",
            "[",
            "{memory",
        ),
    ],
)
def test_other_gpus_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(ElicitError) as refused:
        parse_gpus(text)
    assert "\n" not in str(refused.value)


def test_a_dtype_that_a_gpu_lacks() -> None:
    t4 = parse_gpus("T4").gpu
    assert t4.find_flops("float16") == 65e12
    with pytest.raises(ElicitError, match="bfloat16"):
        t4.find_flops("bfloat16")
    with pytest.raises(ElicitError, match="tflops_float32"):
        parse_gpus("{memory: 48, tflops: 180, bandwidth: 864}").gpu.find_flops("float32")


def test_generation_is_bound_by_bandwidth_and_prompts_by_arithmetic() -> None:
    found = profile_model_in(LLAMA)
    faster = {field: A100._replace(**{field: 2 * getattr(A100, field)}) for field in ("bandwidth", "half")}

    def seconds(price: Price, gpu: Gpu) -> float:
        return roofline.estimate_seconds(price, found, gpu, roofline.VLLM, "none").high

    prompts, tokens = Price((Generation(0, 0, 100, 500),), 0, 0), Price((Generation(8, 100, 0, 500, 8),), 0, 0)
    assert seconds(prompts, faster["half"]) == pytest.approx(seconds(prompts, A100) / 2)
    assert seconds(prompts, faster["bandwidth"]) == seconds(prompts, A100)
    assert seconds(tokens, faster["half"]) == seconds(tokens, A100)
    assert seconds(tokens, faster["bandwidth"]) < 0.8 * seconds(tokens, A100)
    weights_once = found.matrices * 2 / (A100.bandwidth * 1e9)
    assert seconds(tokens, A100) > 100 * 8 / (8 * 0.6) * weights_once  # no faster than reading the weights at full rate


def test_the_llama_spec_is_planned_without_weights_network_and_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invent_fewer_rows(monkeypatch)
    spec, limit = read_spec_for_plan(LLAMA.parents[1] / "gsm8k_llama_3_1_8b.yaml", tmp_path)
    plan = estimate_plan(spec, None, limit=limit, fresh=False)
    found = gpu_plan.plan_on_gpus(plan, Gpus(4, A100), limit)
    arms = {arm.arm: arm for arm in found.arms}
    assert set(arms) == set(spec.arms)
    assert len(arms) == 12
    weights = 8_030_261_248 * 2 / 2**30
    for arm in found.arms:
        assert 0 < arm.transformers.low < arm.transformers.high
        assert arm.vllm.low <= arm.transformers.low
        assert weights < arm.gib < A100.usable_gib
        assert arm.gpus == 1
    assert arms["base"].obstacles == ("KL",)
    assert ROLLOUTS in arms["grpo"].obstacles
    assert arms["grpo"].moved < 1
    (basis,) = plan.bases
    engine = VLLMChoice(vllm=VLLM(url="http://a:1", rollouts=True))
    asked = replace(plan, bases=(basis._replace(spec=basis.spec.model_copy(update={"engine": engine})),))
    moved = gpu_plan.plan_on_gpus(asked, Gpus(4, A100), limit)
    (grpo,) = [arm for arm in moved.arms if arm.arm == "grpo"]
    assert ROLLOUTS not in grpo.obstacles
    assert grpo.moved > arms["grpo"].moved
    whole = gpu_plan.add_up(arm.transformers for arm in found.arms)
    assert whole.high / 4 < found.transformers.high < whole.high
    assert found.share_for_vllm is not None
    assert weights / 80 < found.share_for_vllm < 1 - max(arm.gib for arm in found.arms) / 80
    small = gpu_plan.plan_on_gpus(plan, Gpus(1, parse_gpus("A10G").gpu), limit)
    assert small.share_for_vllm is None
    assert {arm.arm: arm for arm in small.arms}["sft"].too_large == 3


def test_full_training_that_no_gpu_holds_is_told(tmp_path: Path) -> None:
    spec = {"models": {"m": str(LLAMA)}, "task": "sums", "arms": ["base", "sft"], "test": 8, "dtype": "bfloat16"}
    plan = estimate_plan(check_spec(spec), None, fresh=False)
    arms = {arm.arm: arm for arm in gpu_plan.plan_on_gpus(plan, Gpus(4, A100), None).arms}
    assert arms["base"].too_large == 0
    assert arms["sft"].gib > 16 * 8.03e9 / 2**30
    assert (arms["sft"].too_large, arms["sft"].would_do) == (1, 8)
    shared = {**spec, "processes": 8}
    plan = estimate_plan(check_spec(shared), None, fresh=False)
    (sft,) = [arm for arm in gpu_plan.plan_on_gpus(plan, Gpus(8, A100), None).arms if arm.arm == "sft"]
    assert (sft.too_large, sft.gpus) == (0, 8)
    assert sft.gib < A100.usable_gib
    (few,) = [arm for arm in gpu_plan.plan_on_gpus(plan, Gpus(4, A100), None).arms if arm.arm == "sft"]
    assert few.too_large == 1


def test_arms_that_vllm_cannot_run_stay() -> None:
    """The ones whose policies read logits from elsewhere, and no others."""
    lengths = TokenLengths(10, 10, 10, 10, 10, 10, 5)
    options = {"named_prompt": {"condition": "think"}, "reference_model": {"model": "cued"}, "adapter": {"path": "a"}}
    options |= {"vector": {"path": "a.pt"}, "feature": {"sae": "cued/L1", "features": [5]}}
    options |= {"edit": {"function": "my_edit.py:edit", "layer": 0}}
    methods = {name: load_config_class(name) for name in METHODS}
    stay = {
        name
        for name, kind in methods.items()
        if not any(field.name == "parent" and field.default is MISSING for field in fields(kind))
        and configure_method(name, options.get(name, {})).estimate_cost(lengths).answer.obstacle
    }
    assert stay == {"contrastive_decoding", "dola", "edit", "hybrid_steering", "reference_model"}
    learned = configure_method("hybrid_steering", {"gate": "learned"}, where="a")
    assert not learned.estimate_cost(lengths).answer.obstacle


def test_a_folder_with_a_config_alone_is_planned_and_never_run(tmp_path: Path) -> None:
    spec = write_spec(tmp_path, {"models": {"m": str(LLAMA)}, "task": "sums", "arms": ["base"], "test": 4})
    refused = elicit("run", spec, "--out", tmp_path / "run")
    assert refused.code == 2
    assert "no weights" in refused.err
    assert not (tmp_path / "run" / "cells").exists()
    assert elicit("run", spec, "--plan", "--limit", "2").code == 0


@pytest.mark.parametrize(
    "change",
    [{"num_hidden_layers": None}, {"num_hidden_layers": 10**7}, {"num_attention_heads": 0}, {"vocab_size": 10**15}],
    ids=str,
)
def test_a_config_that_no_model_has_is_refused_in_one_line(change: dict[str, Any], tmp_path: Path) -> None:
    config = {**json.loads((LLAMA / "config.json").read_text()), **change}
    (tmp_path / "config.json").write_text(
        json.dumps({key: value for key, value in config.items() if value is not None})
    )
    spec = write_spec(tmp_path, {"models": {"m": "./"}, "task": "sums", "arms": ["base"], "test": 4})
    refused = elicit("run", spec, "--plan", "--gpus", "H100")
    assert refused.code == 2
    assert refused.err.count("\n") == 1


def test_a_plan_of_several_models_some_of_them_unknown(tmp_path: Path) -> None:
    """Too few problems to detect anything; one model that is nowhere, one of an assumed size, one that does not fit."""
    models = {"a": "cued", "b": {"name": "org/b", "assume": "2B"}, "c": "org/c"}
    arms = {"base": {"method": "base"}, "sft": {"method": "sft", "lora_rank": 8}}
    spec = write_spec(tmp_path, {"models": models, "task": "sums", "arms": arms, "test": 8, "seeds": 2})
    small = "4x{memory: 4, tflops: 60, tflops_float32: 30, bandwidth: 300}"
    found = elicit("run", spec, "--plan", "--gpus", small, "--workers", "3")
    assert found.code == 0, found.err
    assert "org/c: unknown until downloaded" in found.out
    assert "2 cells too large" in found.out


def test_gpus_go_with_a_plan(tmp_path: Path) -> None:
    spec = write_spec(tmp_path, {"models": ["cued"], "task": "addition", "arms": ["base"]})
    refused = elicit("run", spec, "--gpus", "H100")
    assert (refused.code, "--plan" in refused.err) == (2, True)
    refused = elicit("run", spec, "--plan", "--gpus", "0xH100")
    assert (refused.code, refused.out) == (2, "")


def test_an_assumed_config_that_is_not_there_is_refused_by_a_plan(tmp_path: Path) -> None:
    model = {"name": "org/big", "assume": "./nowhere"}
    spec = write_spec(tmp_path, {"models": {"m": model}, "task": "sums", "arms": ["base"]})
    refused = elicit("run", spec, "--plan")
    assert refused.code == 2
    assert "nowhere" in refused.err
    (tmp_path / "nowhere").mkdir()
    (tmp_path / "nowhere" / "config.json").write_text((LLAMA / "config.json").read_text())
    basis = read_model_basis("m", read_spec_for_plan(spec, tmp_path / "rows")[0])
    assert basis.profile is not None
    assert basis.profile.values == 8_030_261_248


def test_a_control_is_trained_as_its_parent_and_stays_where_it_stays() -> None:
    arms = {
        "critique": {"method": "critique", "problems": 8, "epochs": 2, "lora_rank": 4},
        "critique/same_solutions": {"method": "same_solutions", "parent": "critique"},
        "sft": {"method": "sft"},
        "hybrid": {"method": "hybrid_steering", "tuned": "sft"},
        "hybrid/random": {"method": "hybrid_control", "parent": "hybrid"},
    }
    basis = read_model_basis("cued", check_spec({"models": ["cued"], "task": "addition", "arms": arms}))
    parent, control = basis.estimate_cost("critique"), basis.estimate_cost("critique/same_solutions")
    assert control.training == parent.training == "adapter"
    assert control.trained_tokens == parent.trained_tokens > 0
    assert basis.estimate_cost("hybrid/random").answer.obstacle == basis.estimate_cost("hybrid").answer.obstacle != ""
