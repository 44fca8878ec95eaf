"""What `run` refuses before the first cell, `--plan` refuses with the same line, and neither writes anything.

Each broken spec stands for a kind of fault that was found minutes into a run before.
"""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.comparisons import elicit, write_spec
from tests.support.models import save_tiny

WEIGHTS = Path(__file__).parents[2] / "elicit" / "organisms" / "weights"
SAES = Path(__file__).parents[2] / "saes" / "weights"
SPEC: dict[str, Any] = {
    "models": {"m": "cued"},
    "task": {"task": "addition"},
    "arms": {"base": {"method": "base"}},
    "test": 4,
    "kl_problems": 0,
    "device": "cpu",
}


def _file(folder: Path, count: int, prompt: str = "Q:{i}+1\nA:") -> dict[str, Any]:
    """A task of a file, whose problems have a prompt and an answer and nothing else."""
    path = folder / "problems.jsonl"
    rows = [{"id": str(i), "prompt": prompt.replace("{i}", str(i)), "answer": str(i + 1)} for i in range(count)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return {"task": "jsonl", "path": str(path), "stop": ["\n"], "max_new_tokens": 8}


def _arm(**options: Any) -> dict[str, Any]:
    return {"arms": {"base": {"method": "base"}, "a": options}}


def _beside(parent: str, method: str, **options: Any) -> dict[str, Any]:
    """An arm that is fitted on another one."""
    few = {"pilot_problems": 8, "train_problems": 8} if parent == "rl_steering" else {}
    arms = {"p": {"method": parent, **few}, "a": {"method": method, "parent": "p", **options}}
    return {"arms": {"base": {"method": "base"}, **arms}}


def _narrow(folder: Path) -> dict[str, Any]:
    model = save_tiny("llama", folder / "narrow")
    return {"models": {"m": str(model)}, "task": {"task": "addition", "max_new_tokens": 16}}


def _width(folder: Path) -> dict[str, Any]:
    return {**_narrow(folder), **_arm(method="sae_steering", saes=["cued/L1"])}


def _long(folder: Path) -> dict[str, Any]:
    return {"models": {"m": str(save_tiny("gpt2", folder / "gpt2"))}, "task": {"task": "sums", "max_new_tokens": 250}}


def _adapter(folder: Path) -> dict[str, Any]:
    """One that was made for a wider model."""
    import torch
    from peft import LoraConfig, get_peft_model

    from elicit.loading.load import load_transformers

    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    with torch.random.fork_rng():
        get_peft_model(load_transformers("cued").hf, config).save_pretrained(folder / "adapter")
    return {**_narrow(folder), **_arm(method="adapter", path=str(folder / "adapter"))}


#: What is broken -> (fields of a spec, what the line says).
BROKEN: dict[str, Any] = {
    "an SAE folder that does not exist": (lambda _: _arm(method="sae_steering", saes=["./nowhere"]), "does not exist"),
    "an SAE of other weights": (
        lambda _: {"models": {"m": "serial"}, **_arm(method="sae_steering", saes=["cued/L1"])},
        "was trained on cued",
    ),
    "an SAE of another width": (_width, "width"),
    "an SAE of a layer that is not asked for": (
        lambda _: _arm(method="sae_steering", saes=["cued/L1"], layers=[0]),
        "no SAE for layer 0",
    ),
    "a layer that does not exist": (lambda _: _arm(method="mean_steering", layers=[7]), "layer 7 does not exist"),
    "a layer that is searched": (
        lambda _: _arm(method="mean_steering", search={"layers": [[1], [7]]}),
        "layer 7 does not exist",
    ),
    "a layer of a trained vector": (lambda _: _arm(method="rl_steering", layers=[7]), "layer 7 does not exist"),
    "a layer beside another arm": (
        lambda _: {
            "arms": {
                "base": {"method": "base"},
                "grpo": {"method": "grpo"},
                "h": {"method": "hybrid_steering", "tuned": "grpo", "layers": [7]},
            }
        },
        "layer 7 does not exist",
    ),
    "too few test problems": (lambda folder: {"task": _file(folder, 60), "test": 50}, "50 different problems"),
    "too few train problems": (
        lambda folder: {"task": _file(folder, 60), **_arm(method="grpo", pilot_problems=70)},
        "70 different problems",
    ),
    "too few select problems": (
        lambda folder: {"task": _file(folder, 60), **_arm(method="dola", select_problems=40)},
        "40 different problems",
    ),
    "critique without candidates": (
        lambda folder: {"task": _file(folder, 60), **_arm(method="critique", held_out=0)},
        "noisy",
    ),
    "no worked solutions": (
        lambda folder: {"task": _file(folder, 60), **_arm(method="sft")},
        "lacks a worked solution",
    ),
    "examples without solutions": (
        lambda folder: {"task": _file(folder, 60), **_arm(method="few_shot")},
        "lacks a worked solution",
    ),
    "a contrast without a cue": (
        lambda folder: {"task": _file(folder, 60), **_arm(method="mean_steering", train_problems=8, select_problems=2)},
        "cue prompt",
    ),
    "another task's solutions": (
        lambda folder: _arm(method="sft", source=_file(folder, 60), demonstrations=4),
        "lacks a worked solution",
    ),
    "a reference that does not exist": (lambda _: _arm(method="reference_model", model="./nowhere"), "does not exist"),
    "a reference of another tokenizer": (
        lambda folder: _arm(method="reference_model", model=str(save_tiny("llama", folder / "other"))),
        "different tokenizers",
    ),
    "an adapter that does not exist": (lambda _: _arm(method="adapter", path="nowhere"), "is not a PEFT adapter"),
    "an adapter of another model": (_adapter, "does not fit"),
    "a condition that the task lacks": (lambda _: _arm(method="named_prompt", condition="polite"), "polite"),
    "a template in other characters": (lambda _: _arm(method="think_prompt", template="{prompt} è"), "'è'"),
    "a critique in other characters": (
        lambda _: _arm(method="critique", template="{prompt}{candidate} ¿"),
        "'¿'",
    ),
    "a task in other characters": (
        lambda folder: {"task": _file(folder, 60, "Ünd {i} + 1?")},
        "lacks a token for 'Ü'",
    ),
    "prompts beyond a table of positions": (_long, "256 positions"),
    "prompts beyond rotary positions": (
        lambda _: {"task": {"task": "addition", "max_new_tokens": 250}},
        "256 positions",
    ),
    "another task beyond the positions": (
        lambda _: {"off_target": {"chains": {"task": "mod_chain", "max_new_tokens": 250}}},
        "256 positions",
    ),
    "examples beyond the positions": (lambda _: _arm(method="few_shot", demonstrations=40), "256 positions"),
    "rollouts beyond the positions": (lambda _: _arm(method="grpo", max_completion_length=250), "256 positions"),
    "thinking without room for an answer": (lambda _: _arm(method="budget_forcing", max_tokens=48), "no room"),
    "a number with digits too many": (lambda _: _arm(method="grpo", pilot_samples=2**62), "1,000,000"),
    "checkpoints that training has not": (
        lambda _: _arm(method="sft", demonstrations=8, epochs=1, checkpoints=[9]),
        "checkpoint",
    ),
    "a device that is not there": (lambda _: {"device": "cuda:99"}, "cuda:99"),
    "more first tokens than a model has": (lambda _: _arm(method="cot_decoding", k=1000), "among"),
    "a control of an arm that does not steer": (lambda _: _beside("sft", "random_vector"), "mean_steering"),
    "a control of an arm without features": (lambda _: _beside("mean_steering", "clamp_feature"), "sae_steering"),
    "a mean ablation of features that were not scored": (
        lambda _: {
            "arms": {
                **_beside("sae_steering", "random_feature")["arms"],
                "b": {"method": "mean_ablation", "parent": "a"},
            }
        },
        "sae_steering",
    ),
    "a second SAE that does not exist": (
        lambda _: _beside("sae_steering", "twin_feature", other="./nowhere"),
        "does not exist",
    ),
    "too few train problems for a control": (
        lambda folder: {"task": _file(folder, 60), **_beside("rl_steering", "covariance_vector", problems=70)},
        "70 different problems",
    ),
    "a cue that another task lacks": (
        lambda folder: {"off_target": {"o": _file(folder, 60)}, **_arm(method="cue_prompt")},
        "arm 'a' on m, task 'o'",
    ),
    "more tokens than anybody can wait for": (
        lambda _: {**_arm(method="grpo", steps=10**6, problems=10**6), "seeds": 1000},
        "taken for a mistake",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_plan_refuses_what_a_run_refuses_with_the_same_line(case: str, tmp_path: Path) -> None:
    fields, said = BROKEN[case]
    spec = write_spec(tmp_path, {**copy.deepcopy(SPEC), **fields(tmp_path)})
    run = tmp_path / "run"
    planned = elicit("run", spec, "--out", run, "--plan")
    ran = elicit("run", spec, "--out", run, "--workers", "1")
    assert (planned.code, ran.code) == (2, 2), (planned, ran)
    assert planned.err == ran.err
    assert said in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert not run.exists()


def test_a_changed_file_is_told_by_the_plan_too(tmp_path: Path) -> None:
    fields = {"task": _file(tmp_path, 60), "test": 3}
    spec, run = write_spec(tmp_path, {**SPEC, **fields}), tmp_path / "run"
    assert elicit("run", spec, "--out", run, "--workers", "1").code == 0
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    _file(tmp_path, 61)
    planned, ran = elicit("run", spec, "--out", run, "--plan"), elicit("run", spec, "--out", run, "--workers", "1")
    assert (planned.code, ran.code, planned.err) == (2, 2, ran.err)
    assert "has changed" in ran.err
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.parametrize("options", [{"method": "reference_model", "model": "nobody/none"},
                                     {"method": "contrastive_decoding", "amateur": "nobody/none"}])  # fmt: skip
def test_a_second_model_that_is_not_here_is_said_before_the_first_cell(options: Any, tmp_path: Path) -> None:
    spec, run = write_spec(tmp_path, {**SPEC, **_arm(**options)}), tmp_path / "run"
    planned, ran = elicit("run", spec, "--out", run, "--plan"), elicit("run", spec, "--out", run, "--workers", "1")
    assert (planned.code, ran.code) == (0, 2)
    (line,) = [line for line in planned.out.splitlines() if line.startswith("not checked")]
    assert "nobody/none" in line
    assert "arm 'a' on m: nobody/none" in ran.err
    assert not run.exists()


def test_what_a_plan_accepts_is_run(tmp_path: Path) -> None:
    """With data, positions and characters that are just enough."""
    arms = {
        "base": {"method": "base"},
        "sae": {"method": "sae_steering", "saes": ["cued/L1"], "strengths": [1.0], "train_problems": 8,
                "select_problems": 4, "candidates": 1},
        "off": {"method": "random_feature", "parent": "sae"},
        "other": {"method": "reference_model", "model": str(shutil.copytree(WEIGHTS / "cued", tmp_path / "copy"))},
    }  # fmt: skip
    task = {"task": "addition", "digits": 2, "max_new_tokens": 240}
    spec = write_spec(tmp_path, {**SPEC, "task": task, "arms": arms})
    planned = elicit("run", spec, "--out", tmp_path / "run", "--plan")
    assert planned.code == 0, planned.err
    assert not (tmp_path / "run").exists()
    ran = elicit("run", spec, "--out", tmp_path / "run", "--workers", "1")
    assert ran.code == 0, ran.err
