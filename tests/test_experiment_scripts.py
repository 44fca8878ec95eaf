"""The scripts under experiments/ that turn committed results into tables and figures, on those results."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from elicit.comparison.archive import SUMMARY, read_compressed_json
from elicit.comparison.run import open_run
from elicit.tasks.families.transforms import Transform, apply_transform

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
RESULTS = EXPERIMENTS / "results"
FOLLOWED = RESULTS / "generalization" / "data_arms"


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(name).stem, EXPERIMENTS / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in RESULTS.glob("**/rows.json.xz")), ids=lambda p: p.name
)
def test_every_result_has_its_table(folder: Path) -> None:
    summary = read_compressed_json(folder / SUMMARY)
    head, rule, *rows = _script("tables.py").comparison(summary)
    tasks = [task for model in summary["models"].values() for task in model["tasks"].values()]
    assert len(rows) == sum(bool(arm["n"]) for task in tasks for arm in task["arms"].values())
    assert {row.count("|") for row in (head, rule, *rows)} == {head.count("|")}


def test_curves_have_a_row_each() -> None:
    _, _, *rows = _script("tables.py").trajectories(read_compressed_json(FOLLOWED / SUMMARY))
    assert len(rows) == 24
    assert rows[0] == (
        "| `serial` | worked | mod_chain | 47 % | 47 % at 0 | 95 % at 20 | 95 % [67, 99] | +48 [+32, +63] | "
        "rises (0.98) | 0 to 94 % | 3 to 22 |"
    )


def test_figures_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(FOLLOWED, tmp_path / "result"))
    for path in folder.glob("*.svg"):
        path.unlink()
    monkeypatch.setattr(sys, "argv", ["figures.py", str(folder), "trajectories"])
    _script("figures.py").main()
    (drawn,) = folder.glob("*.svg")
    text = drawn.read_text()
    assert "<svg" in text[:60]
    assert {"permutation", "many_once", "danger zone"} <= set(re.findall(r">([^<>]+)<", text))


def test_a_ladder_is_one_file_an_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(FOLLOWED.parent / "ladder", tmp_path / "result"))
    before = {path.name: path.read_text() for path in folder.glob("*.svg")}
    for path in folder.glob("*.svg"):
        path.unlink()
    monkeypatch.setattr(sys, "argv", ["figures.py", str(folder), "ladder"])
    _script("figures.py").main()
    assert {path.name: path.read_text() for path in folder.glob("*.svg")} == before
    assert set(before) == {"ladder-sft.svg", "ladder-shortcut.svg"}


def test_the_model_is_fitted_to_what_was_measured() -> None:
    with open_run(FOLLOWED) as run:
        _, _, first, second = itertools.islice(_script("generalization/fits.py").rows(run), 4)
    assert first.startswith("| `serial` | worked | mod_chain | 6 | sigmoid (1.00) | +")  # a late rise, and no dip
    # A curve that does not move is flat, and two rates are not to be had from it.
    assert second.startswith("| `serial` | worked | longer | 6 | flat (0.")
    assert second.endswith("| w, rho, ks, k |")


def test_answers_are_right_wrong_cut_or_unreadable() -> None:
    script = _script("generalization/answers.py")
    with open_run(FOLLOWED.parent / "qwen_lora") as run:
        _, _, *rows = script.rows(run, ["products"])
        texts = [json.loads(line) for line in next(run.folder.glob("cells/*/sft/0/rows/products.jsonl")).open()]
    assert [row.split(" | ")[1] for row in rows] == ["base", "sft"]
    shares = [int(cell.split(" %")[0]) for cell in rows[1].split(" | ")[3:7]]
    none = [one for one in texts if one["answer"] is None]
    counts = [sum(one["correct"] for one in texts), 0, sum(not one["finished"] for one in none), 0]
    counts[3] = len(none) - counts[2]
    counts[1] = len(texts) - sum(counts)
    assert shares == [round(100 * one / len(texts)) for one in counts]


def test_a_held_out_composition_is_new_if_no_trained_one_does_the_same_to_a_word() -> None:
    script = _script("generalization/novelty.py")
    with open_run(FOLLOWED.parent / "shifts") as run:
        lines = list(script.rows(run, "unseen"))
        train_contents = script.contents(run, run.spec.task, "train", 2048).values()
        test_contents = script.contents(run, run.spec.off_target["unseen"], "test", 200).values()

    def done(composition: Sequence[Transform]) -> str:
        word = "abcd"  # no two letters alike, and R13 of none is among them: the outcome tells what was done
        for one in composition:
            word = apply_transform(word, one)
        return word

    trained = {done(one[1]) for one in train_contents}
    held = [done(one[1]) for one in test_contents]
    old = sum(one in trained for one in held)
    assert f"on words of this length: {100 * old / 200:.1f} %" in lines[3]
    assert lines[1].endswith("as a trained one: 0.0 %")
    assert lines[4].startswith(f"\n| arm | effect is new ({200 - old}) | effect of a trained one ({old}) |")
    assert "| sft | 53 % [43, 64] | 75 % [68, 82] | 3 |" in lines
