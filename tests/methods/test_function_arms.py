"""A Python function of the residual as an arm: rows equal to a written hook, its controls, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import elicit
from elicit.cli.main import run_command
from elicit.comparison.run import open_run
from elicit.comparison.spec import build_task
from elicit.errors import ElicitError
from elicit.policy import Policy
from elicit.steering import FunctionEdit
from tests.methods.test_brought_arms import N, generate_by_hand
from tests.support.models import tiny_model

CODE = '''
import torch

def twist(h):
    """Turns residuals, and squashes them, so that the change depends on each."""
    return 0.3 * h + 40 * torch.tanh(h.roll(3, dims=-1) / 40)
'''


def twist(h: torch.Tensor) -> torch.Tensor:
    return 0.3 * h + 40 * torch.tanh(h.roll(3, dims=-1) / 40)


def test_rows_equal_a_written_hook_and_controls_move_as_far(tmp_path: Path) -> None:
    model = elicit.load("cued")
    task = build_task({"task": "addition"}, model.card["dialect"], where="test")
    (tmp_path / "my_edit.py").write_text(CODE)
    arms: dict[str, Any] = {
        "base": {"method": "base"},
        "twist": {"method": "edit", "function": "my_edit.py:twist", "layer": 1, "positions": "generated"},
        "twist/random": {"method": "random_vector", "parent": "twist"},
        "twist/first": {"method": "same_vector", "parent": "twist", "positions": "first", "factor": 0.5},
        "tried": {"method": "edit", "function": "my_edit.py:twist", "layers": [0, 1], "select_problems": 8},
        "tried/searched": {"method": "searched_random_vector", "parent": "tried"},
    }
    spec = {"models": ["cued"], "task": {"task": "addition"}, "arms": arms, "seeds": 1, "test": N, "kl_problems": 0}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    command = ["run", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "run"), "--workers", "1"]
    assert run_command(command) == 0
    cells = {cell.arm: cell for cell in open_run(tmp_path / "run").cells(state="done")}
    assert set(cells) == set(arms)

    def edit_from(h: torch.Tensor, start: int, stop: int | None, share: float) -> torch.Tensor:
        window = h[:, start:stop]
        edited = window + share * (twist(window) - window)
        return torch.cat([h[:, :start], edited, *([] if stop is None else [h[:, stop:]])], dim=1)

    hooks = {
        "base": {},
        "twist": {1: lambda h, prompt: edit_from(h, prompt - 1, None, 1.0)},
        "twist/first": {1: lambda h, prompt: edit_from(h, prompt - 1, prompt, 0.5)},
    }
    texts = {arm: [row.completion for row in cells[arm].rows("addition")] for arm in arms}
    for arm, own in hooks.items():
        assert texts[arm] == generate_by_hand(model, task, own), arm
    assert texts["base"] != texts["twist"] != texts["twist/first"]

    policies = {arm: Policy.load(cells[arm].folder / "policy", model) for arm in arms}
    residuals = model.residuals([problem.prompt for problem in task.problems("train", 64)])
    lengths = [float((twist(h) - h).norm(dim=1).median()) for h in residuals]
    (edit,) = policies["twist/random"].edits
    assert (edit.layer, edit.positions, edit.absolute) == (1, "generated", pytest.approx(lengths[1], rel=1e-4))
    tried = policies["tried/searched"].record["dose_response"]
    assert sorted(entry["displacements"][0][:2] for entry in tried) == [
        [layer, pytest.approx(lengths[layer], rel=1e-4)] for layer in (0, 1)
    ]

    (tmp_path / "my_edit.py").write_text(CODE.replace("0.3", "0.4"))
    with pytest.raises(ElicitError, match="has changed since"):
        Policy.load(cells["twist"].folder / "policy", model)
    assert run_command(command) == 2, "the run's code is another"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return h - h.mean(0)", "in another way when others stand beside it"),
        ("return h + torch.randn_like(h)", "each time anew"),
        ("return h[:, :3]", "expected the same shape"),
        ("return h / 0", "NaN or infinity"),
        ("return h @ torch.ones(3)", r"line 3: RuntimeError"),
        ("return 5", "returns int"),
    ],
)
def test_a_function_that_does_not_edit_each_token_is_refused(
    body: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.py").write_text(f"import torch\ndef bad(h):\n    {body}\n")
    arms = {"base": {"method": "base"}, "bad": {"method": "edit", "function": "bad.py:bad", "layer": 1}}
    spec = {"models": ["cued"], "task": {"task": "addition"}, "arms": arms, "seeds": 1, "test": 4}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    assert run_command(["run", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(error)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arch", ["llama", "qwen3", "gemma2", "gemma3", "gpt2"])
def test_with_and_without_a_cache_in_padded_batches(arch: str, tmp_path: Path) -> None:
    """The sampler's cached batch gives what one uncached row after another gives."""
    (tmp_path / "my_edit.py").write_text(CODE)
    model = tiny_model(arch)
    from elicit.plugins import source_sha256

    reference = f"{tmp_path / 'my_edit.py'}:twist"
    edit = FunctionEdit(reference, source_sha256(reference), model.d_model, 1, 1.0, "first:3")
    prompts = ["a", "abc de", "x=1+2"]
    with model.steer(edit):
        together = [answers[0].text for answers in model.sample(prompts, max_new_tokens=6)]
        alone = [model.sample([prompt], max_new_tokens=6)[0][0].text for prompt in prompts]
    assert together == alone
    for prompt, answer in zip(prompts, together, strict=True):
        ids = torch.tensor([model.encode(prompt)])
        length = ids.shape[1]
        with model.steer(edit, prompt_lengths=length), torch.no_grad():
            for _ in range(3):
                logits = model.hf(ids, use_cache=False).logits[:, -1:]
                logits[..., model.tokenizer.pad_token_id] = -torch.inf  # padding is never generated
                ids = torch.cat([ids, logits.argmax(-1)], dim=1)
        text = model.tokenizer.decode(ids[0, length:], skip_special_tokens=True)
        assert answer.startswith(text)
