"""Vectors and features found elsewhere, as arms of `elicit run`: rows equal to plain transformers with written hooks.

The hooks know each tool's own convention: where it adds, at which positions, at what size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

import elicit
import saes
from elicit.cli.main import run_command
from elicit.comparison.run import open_run
from elicit.comparison.spec import build_task
from elicit.errors import ElicitError
from elicit.interop.lm_eval.sparsify import write_sparsify
from elicit.interop.vectors import save_vectors
from elicit.methods.catalog import configure_method
from elicit.model import BaseModel
from elicit.policy import Policy
from elicit.steering import Steering
from elicit.tasks import Task
from elicit.vectors.lm_eval_csv import COLUMNS
from elicit.vectors.tensors import read_layer_vectors
from tests.support.models import tiny_model

N = 12
SMALL = {"train_problems": 16, "select_problems": 8}
#: Layer -> (residuals [1, pos, d_model], prompt tokens) -> edited residuals.
Hooks = Mapping[int, Callable[[torch.Tensor, int], torch.Tensor]]


@pytest.fixture(scope="module")
def model() -> BaseModel:
    return elicit.load("cued")


@pytest.fixture(scope="module")
def task(model: BaseModel) -> Task:
    return build_task({"task": "addition"}, model.card["dialect"], where="test")


@pytest.fixture(scope="module")
def difference(model: BaseModel, task: Task) -> torch.Tensor:
    """A difference of means after every layer: [layer, d_model]."""
    cued = model.residuals([problem.cue_prompt or "" for problem in task.problems("train", 32)])
    return (cued - model.residuals([problem.prompt for problem in task.problems("train", 32)])).mean(1)


def write_control_vector(path: Path, rows: Mapping[int, torch.Tensor]) -> None:
    """As repeng's `ControlVector.export_gguf` writes it."""
    import gguf

    writer = gguf.GGUFWriter(path, "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    writer.add_uint32("controlvector.layer_count", len(rows))
    for layer, row in rows.items():
        writer.add_tensor(f"direction.{layer}", row.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def generate_by_hand(model: BaseModel, task: Task, hooks: Hooks) -> list[str]:
    """Greedy text of plain transformers, the whole sequence anew for every token, with hooks on decoder layers."""
    texts = []
    for problem in task.problems("test", N):
        ids = list(model.encode(problem.prompt))
        prompt = len(ids)

        def attach(layer: int, edit: Callable[[torch.Tensor, int], torch.Tensor], prompt: int) -> Any:
            def hook(module: Any, args: Any, out: Any) -> Any:
                h = edit(out[0] if isinstance(out, tuple) else out, prompt)
                return (h, *out[1:]) if isinstance(out, tuple) else h

            return model.hf.base_model.layers[layer].register_forward_hook(hook)

        handles = [attach(layer, edit, prompt) for layer, edit in hooks.items()]
        for _ in range(task.max_new_tokens):
            with torch.no_grad():
                ids.append(int(model.hf(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
            text = model.tokenizer.decode(ids[prompt:], skip_special_tokens=True)
            if ids[-1] == model.tokenizer.eos_token_id or any(stop in text for stop in task.stop):
                break
        for handle in handles:
            handle.remove()
        texts.append(text)
    return texts


def test_rows_equal_written_hooks(model: BaseModel, task: Task, difference: torch.Tensor, tmp_path: Path) -> None:
    """repeng's GGUF, lm-eval's CSV, an nnterp `.pt` and a feature by number, through `elicit run`, with controls."""
    write_control_vector(tmp_path / "theirs.gguf", dict(enumerate(difference)))
    torch.save(difference[1], tmp_path / "steer.pt")
    sae = saes.load("cued/L1")
    row = sae.directions[411]
    folder = write_sparsify(sae, tmp_path / "sparse", "layers.1")
    csv_row = ("sparsify", "add", str(folder.resolve()), "layers.1", "411", "300", "", "", "")
    (tmp_path / "steer.csv").write_text(",".join(COLUMNS) + "\n" + ",".join(csv_row) + "\n")
    arms: dict[str, Any] = {
        "base": {"method": "base"},
        "repeng": {"method": "vector", "path": "theirs.gguf", "layer": [0, 1], "coefficient": 1.2, **SMALL},
        "repeng/random": {"method": "random_vector", "parent": "repeng"},
        "repeng/covariance": {"method": "covariance_vector", "parent": "repeng", "problems": 16},
        "repeng/reversed": {"method": "same_vector", "parent": "repeng", "factor": -1.0},
        "nnterp": {"method": "vector", "path": "steer.pt", "layer": 1, "coefficient": 2.5, "positions": "first",
                   **SMALL},
        "csv": {"method": "vector", "path": "steer.csv", **SMALL},
        "csv/random": {"method": "random_vector", "parent": "csv"},
        "tried": {"method": "vector", "path": "theirs.gguf", "layers": [1, [0, 1]], "strengths": [1.0, 1.5],
                  "positions": "first", **SMALL},
        "tried/random": {"method": "searched_random_vector", "parent": "tried"},
        "feature": {"method": "feature", "sae": "cued/L1", "features": [411], "coefficient": 450.0, **SMALL},
        "feature/random": {"method": "random_feature", "parent": "feature", "problems": 16},
    }  # fmt: skip
    spec = {"models": ["cued"], "task": {"task": "addition"}, "arms": arms, "seeds": 1, "test": N, "kl_problems": 0}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    assert run_command(["run", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "run"), "--workers", "1"]) == 0
    run = open_run(tmp_path / "run")
    cells = {cell.arm: cell for cell in run.cells(state="done")}
    assert set(cells) == set(arms)

    def read_texts(arm: str) -> list[str]:
        return [entry.completion for entry in cells[arm].rows("addition")]

    def add_first(h: torch.Tensor, prompt: int, vector: torch.Tensor) -> torch.Tensor:
        return torch.cat([h[:, : prompt - 1], h[:, prompt - 1 : prompt] + vector, h[:, prompt:]], dim=1)

    hooks: dict[str, Hooks] = {
        "repeng": {layer: lambda h, _, layer=layer: h + 1.2 * difference[layer] for layer in (0, 1)},  # type: ignore[misc]
        "nnterp": {1: lambda h, prompt: add_first(h, prompt, 2.5 * difference[1])},
        "csv": {1: lambda h, _: h + 300 * row / row.norm() * float(sae.directions[411].norm())},
        "feature": {1: lambda h, prompt: add_first(h, prompt, 450.0 * row)},
    }
    base = read_texts("base")
    assert base == generate_by_hand(model, task, {})
    for arm, own in hooks.items():
        assert read_texts(arm) == generate_by_hand(model, task, own), arm
        assert read_texts(arm) != base, arm
    policies = {arm: Policy.load(cell.folder / "policy", model) for arm, cell in cells.items()}
    for parent, control in (("repeng", "repeng/random"), ("csv", "csv/random"), ("feature", "feature/random")):
        for edit, own in zip(policies[parent].edits, policies[control].edits, strict=True):
            assert (own.layer, own.positions) == (edit.layer, edit.positions)
            assert own.absolute == pytest.approx(edit.absolute)
    tried, repeated = policies["tried"].record["dose_response"], policies["tried/random"].record["dose_response"]
    assert len(tried) == len(repeated) == 4
    assert sorted(entry["absolute"] for entry in repeated) == pytest.approx(
        sorted(entry["absolute"] for entry in tried)
    )
    assert {str(entry.get("together")) for entry in tried} == {str(entry.get("together")) for entry in repeated}
    assert {entry["strength"] for entry in tried} == {1.0, 1.5, 2.0, 3.0}, "layers together: the sum"
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert {"arms.repeng.path", "arms.nnterp.path", "arms.csv.path"} <= set(manifest["files"])
    torch.save(-difference[1], tmp_path / "steer.pt")
    assert run_command(["run", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "run")]) == 2, "a changed file"


@pytest.mark.parametrize("mode", ["clamp", "ablate"])
def test_a_searched_control_of_a_clamp_moves_the_residual_as_far(
    mode: str, model: BaseModel, task: Task, difference: torch.Tensor, tmp_path: Path
) -> None:
    """Vectors differ by layer, and the length of a clamp depends on the direction: it is measured in every setting."""
    torch.save(difference, tmp_path / "rows.pt")
    doses = {"coefficients": (50.0, 400.0)} if mode == "clamp" else {}
    options = {
        "path": str(tmp_path / "rows.pt"),
        "layers": (0, 1),
        "mode": mode,
        "positions": "first",
        **SMALL,
        **doses,
    }
    parent = configure_method("vector", options).fit(model, task, seed=0, needs={})
    control = configure_method("searched_random_vector", {"parent": "p"}).fit(model, task, seed=0, needs={"p": parent})
    residuals = model.residuals([problem.prompt for problem in task.problems("train", 64)])
    for entry in control.record["dose_response"]:
        ((layer, length, _),) = entry["displacements"]
        v = difference[layer] / difference[layer].norm()
        target = entry["absolute"] if mode == "clamp" else 0.0
        moved = (target - residuals[layer] @ v).abs()
        assert length == pytest.approx(float(moved.median()), rel=1e-4)
    (edit,) = control.edits
    (chosen,) = [entry["displacements"] for entry in [control.record["chosen"]]]
    assert (edit.mode, edit.layer, edit.absolute) == ("add", chosen[0][0], pytest.approx(chosen[0][1]))


def test_all_controls_of_a_feature(model: BaseModel, task: Task) -> None:
    """Each names its own edit of the same dose; the natural value of `clamp_feature` is measured."""
    options = {"sae": "cued/L1", "features": (411, 379), "strengths": (1.0, 1.5), **SMALL}
    parent = configure_method("feature", options).fit(model, task, seed=0, needs={})
    total = sum(edit.absolute for edit in parent.edits)
    for name, extra in {
        "random_feature": {"problems": 16},
        "searched_random_feature": {"problems": 16},
        "random_vector": {},
        "searched_random_vector": {},
        "covariance_vector": {"problems": 16},
        "error_vector": {"problems": 16},
        "same_vector": {"positions": "first"},
        "twin_feature": {},
    }.items():
        control = configure_method(name, {"parent": "p", **extra}).fit(model, task, seed=0, needs={"p": parent})
        strengths = [edit.absolute for edit in control.edits]
        assert all(edit.layer == 1 and edit.mode == "add" for edit in control.edits), name
        if not name.startswith("searched"):
            assert sum(strengths) == pytest.approx(total), name
            assert control.answer(task.problems("test", 1), task, label="addition", seed=0), name
    clamped = configure_method("clamp_feature", {"parent": "p"}).fit(model, task, seed=0, needs={"p": parent})
    cued = model.residuals([problem.cue_prompt or "" for problem in task.problems("train", 16)])[1]
    sae = saes.load("cued/L1")
    for edit, index in zip(clamped.edits, (411, 379), strict=True):
        natural = (sae.encode(cued)[:, index] * sae.directions[index].norm()).median()
        assert edit.absolute == pytest.approx(float(natural), rel=1e-4, abs=1e-4)
    ablated = configure_method("ablate_feature", {"parent": "p"}).fit(model, task, seed=0, needs={"p": parent})
    assert [(edit.mode, edit.feature and edit.feature.index) for edit in ablated.edits] == [
        ("ablate", 411),
        ("ablate", 379),
    ]


@pytest.mark.parametrize("arch", ["llama", "qwen2", "qwen3", "gemma2", "gemma3", "gpt2"])
def test_every_form_of_file_gives_the_same_edit(arch: str, tmp_path: Path) -> None:
    """A tensor a layer by any of the usual names, stacked rows, NumPy, and the lab's own file."""
    import numpy as np

    model = tiny_model(arch)
    rows = torch.randn(model.n_layers, model.d_model, generator=torch.Generator().manual_seed(4))
    save_file({f"model.layers.{i}": row.clone() for i, row in enumerate(rows)}, tmp_path / "a.safetensors")
    torch.save({f"blocks.{i}.hook_resid_post": row for i, row in enumerate(rows)}, tmp_path / "b.pt")
    torch.save(dict(enumerate(rows)), tmp_path / "c.pt")
    torch.save(rows[:, None].half().float(), tmp_path / "bad.pt")
    torch.save(rows[None], tmp_path / "d.pt")
    np.save(tmp_path / "e.npy", rows.numpy())
    write_control_vector(tmp_path / "f.gguf", {i: rows[i] for i in range(1, model.n_layers)})
    for name in ("a.safetensors", "b.pt", "c.pt", "d.pt", "e.npy", "f.gguf"):
        vectors = read_layer_vectors(tmp_path / name, n_layers=model.n_layers)
        assert sorted(vectors, key=str)[-1] == model.n_layers - 1
        for layer, vector in vectors.items():
            assert layer is not None
            torch.testing.assert_close(vector, rows[layer], rtol=0, atol=0)
    edit = Steering(rows[1], 1, 0.5, "add", "first:2", 7.0, "found")
    save_vectors(edit, tmp_path / "own", model=model)
    from elicit.vectors.file import read_vector_file

    assert [e.sha256 for e in read_vector_file(tmp_path / "own.json", model).edits] == [edit.sha256]
    with pytest.raises(ElicitError, match="shape"):
        read_layer_vectors(tmp_path / "bad.pt", n_layers=model.n_layers)


REFUSED: list[tuple[str, Callable[[Path], object], dict[str, Any], str]] = [
    ("one.pt", lambda p: torch.save(torch.ones(128), p), {}, "Type layer: L"),
    ("rows.pt", lambda p: torch.save(torch.ones(3, 128), p), {}, r"layer: \[0, 1\]"),
    ("rows.pt", lambda p: torch.save(torch.ones(4, 128), p), {"layer": 1}, "save vectors"),
    ("rows.pt", lambda p: torch.save(torch.ones(3, 64), p), {"layer": 1}, "64 entries"),
    ("named.pt", lambda p: torch.save({"joy": torch.ones(128), "fear": torch.ones(128)}, p), {"layer": 1}, "name: joy"),
    ("attn.pt", lambda p: torch.save({f"attn.{i}": torch.ones(128) for i in (0, 1)}, p), {"layer": 1}, "name: attn.0"),
    ("code.pt", lambda p: torch.save({"v": torch.ones(128), "f": Path("x")}, p), {"layer": 1}, "could run code"),
    ("nan.pt", lambda p: torch.save(torch.full((128,), float("nan")), p), {"layer": 1}, "NaN"),
    ("gone.pt", lambda p: None, {"layer": 1}, "does not exist"),
    ("one.txt", lambda p: p.write_text("x"), {"layer": 1}, "file of vectors"),
    ("one.pt", lambda p: torch.save(torch.ones(128), p), {"layer": 9}, "9"),
]


@pytest.mark.parametrize(("name", "write", "options", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_not_clear_is_refused_before_anything_runs(
    name: str, write: Callable[[Path], object], options: dict[str, Any], message: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    write(tmp_path / name)
    arms = {"base": {"method": "base"}, "found": {"method": "vector", "path": str(tmp_path / name), **options}}
    spec = {"models": ["cued"], "task": {"task": "addition"}, "arms": arms, "seeds": 1, "test": 4}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    assert run_command(["run", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert re.search(message, error), error
    assert not (tmp_path / "run").exists()


def test_a_vector_has_no_feature(
    model: BaseModel, task: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Controls by features of an arm without one are refused before the run."""
    torch.save(torch.ones(model.d_model), tmp_path / "v.pt")
    arms = {
        "base": {"method": "base"},
        "found": {"method": "vector", "path": "v.pt", "layer": 1},
        "found/feature": {"method": "random_feature", "parent": "found"},
    }
    spec = {"models": ["cued"], "task": {"task": "addition"}, "arms": arms, "seeds": 1, "test": 4}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    assert run_command(["run", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "run")]) == 2
    assert "feature" in capsys.readouterr().err
