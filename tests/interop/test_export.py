"""`elicit export`: new folders that are there whole or not at all, and one line for what cannot be done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elicit.interop.lm_eval import results
from elicit.interop.vectors import load_vectors
from elicit.policy import Policy
from elicit.steering import Steering
from tests.support.comparisons import content, elicit
from tests.support.models import tiny_model


@pytest.mark.parametrize(("to", "said"), [("csv", "7 tables"), ("lm-eval", "4 results files")])
def test_a_run_is_exported(run: Path, tmp_path: Path, to: str, said: str) -> None:
    before = content(run)
    done = elicit("export", run, "--to", to, "--out", tmp_path / "out")
    assert (done.code, done.out.strip()) == (0, f"{tmp_path / 'out'}: {said}"), done.err
    assert content(run) == before, "exporting changes nothing in the run"
    again = elicit("export", run, "--to", to, "--out", tmp_path / "out")
    assert again.code == 2
    assert again.err.strip().endswith("out exists already. Remove it, or name another folder with --out.")


def test_the_default_folder_is_named_after_the_run(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert elicit("export", run, "--to", "parquet").out.strip() == "exports/mine-parquet: 7 tables"
    assert (tmp_path / "exports" / "mine-parquet" / "rows.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "csv", "--arms", "sfd"), "unknown arm 'sfd'. Did you mean 'sft'?"),
        (("--to", "lm-eval", "--arms", "grpo"), "has nothing to export: no cell of it is finished."),
        (("--to", "csv", "--samples"), "elicit export: --samples is for --to inspect; tables hold every sample"),
        (("--to", "vectors"), "holds no steering vectors: no arm steers, or it is an archive, which keeps none."),
        (("--to", "peft"), "holds no adapters: no arm was trained with LoRA (option lora_rank)"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    run: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = elicit("export", run, *arguments, "--out", tmp_path / "out")
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    done = elicit("export", tmp_path / "absent", "--to", "csv", "--out", tmp_path / "out")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "absent is not a folder. Name a run directory or an archive." in done.err
    (tmp_path / "empty").mkdir()
    assert "holds no spec.yaml" in elicit("export", tmp_path / "empty", "--to", "csv", "--out", tmp_path / "out").err


def test_without_inspect_nothing_is_written(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "inspect_ai" else found(name))
    done = elicit("export", run, "--to", "inspect", "--out", tmp_path / "out")
    assert (done.code, list(tmp_path.iterdir())) == (2, [])
    assert done.err.strip() == (
        "elicit export: writing Inspect logs needs the package 'inspect_ai', which is not installed. "
        "Type: pip install 'elicit-reasoning[inspect]'"
    )


def test_an_export_that_breaks_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_sanitise_model_name", lambda name: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        elicit("export", run, "--to", "lm-eval", "--out", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_vectors_of_a_cell_are_those_of_its_policy(run: Path, tmp_path: Path) -> None:
    import shutil

    import torch

    mine = shutil.copytree(run, tmp_path / "run")
    model = tiny_model("llama")
    edit = Steering(torch.arange(1.0, model.d_model + 1), 1, 2.0, unit=3.0, label="mean")
    policy = mine / "cells" / "cued" / "mean_steering" / "0" / "policy"
    policy.mkdir()
    Policy(model, steering=(edit,), record={"chosen": {"layer": 1}}).save(policy)
    done = elicit("export", mine, "--to", "vectors", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    stem = tmp_path / "out" / "cued" / "mean_steering" / "0"
    assert [one.sha256 for one in load_vectors(stem, model=model)] == [edit.sha256]
    document = json.loads(stem.with_suffix(".json").read_text())
    assert document["provenance"]["cell"] == "cued/mean_steering/0"
    assert document["provenance"]["chosen"] == {"layer": 1}
