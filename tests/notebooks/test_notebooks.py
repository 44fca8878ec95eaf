"""The notebooks run from top to bottom, say what their prose says they say, and leave nothing behind.

Each is executed by nbclient in a kernel of its own, as Jupyter would. A cell is added at the end that reads figures out
of the notebook's own variables, so that what is checked is what was computed and not how it was laid out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "experiments" / "notebooks"


def run(name: str, facts: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, dict[str, Any]]:
    """The executed notebook, and `facts` (an expression in its variables)."""
    import jupytext
    import nbformat
    from nbclient import NotebookClient

    work, own = folder / "work", folder / "own"
    work.mkdir()
    own.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "TMPDIR"):
        monkeypatch.setenv(variable, str(own))
    before = sorted(path.name for path in NOTEBOOKS.iterdir())
    notebook = jupytext.read(NOTEBOOKS / f"{name}.py")
    notebook.cells.append(nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({facts}))"))
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(work)}}).execute()
    assert not list(work.iterdir())
    assert sorted(path.name for path in NOTEBOOKS.iterdir()) == before
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    return notebook, json.loads(notebook.cells[-1].outputs[0].text)


def percent(row: dict[str, str]) -> int:
    return int(row["accuracy"].split(" %")[0])


def test_steer_one_feature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = "{'rows': rows, 'best': best, 'kl': [s.kl for s in shifts], 'strength': strength, 'near': near}"
    notebook, found = run("01_steer_one_feature", facts, tmp_path, monkeypatch)
    rows = {name: percent(row) for name, row in found["rows"].items()}
    assert rows["base"] <= 5
    assert rows["with the cue"] >= 95
    assert rows[f"feature {found['best']}, first step"] >= 95
    for control in ("wrong sign", "all positions", *(f"random vector {seed}" for seed in range(5))):
        assert rows[control] <= 10, control
    # "at the first token, almost alone"
    assert found["kl"][0] > 1
    assert sum(found["kl"][1:]) < 0.1 * found["kl"][0]
    assert found["best"] in found["near"]

    views = [
        output.data["application/vnd.jupyter.widget-view+json"]["model_id"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    ]
    assert len(views) == 1
    state = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"][views[0]]["state"]
    assert "drawComparison" in state["_esm"]  # the panel's own script travels with the notebook
    assert json.loads(state["_shown"])["view"]["right"] == {"base": 0, "steered": 4}


@pytest.mark.slow
def test_compare_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = (
        "{'accuracy': dict(zip(frame['arm'], frame['accuracy'])), 'flips': len(flips), 'report': report.read_text(),"
        " 'html': results._repr_html_()}"
    )
    _, found = run("02_compare_methods", facts, tmp_path, monkeypatch)
    accuracy = found["accuracy"]
    assert accuracy["base"] <= 0.05
    assert accuracy["sae_steering"] >= 0.95
    assert 0.85 <= accuracy["sft"] <= 1
    assert accuracy["sae_steering/all_positions"] <= 0.05
    assert accuracy["sae_steering/random_vector"] <= 0.05
    # Right in one arm only: at least the difference of their accuracies, on 100 problems.
    assert found["flips"] >= round(100 * (accuracy["sae_steering"] - accuracy["base"]))
    assert "<svg" in found["html"]  # the forest plot
    assert "<!doctype html>" in found["report"]


@pytest.mark.slow
def test_train_an_sae(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = (
        "{'explained': [card['explained_variance']['value'] for card in cards.values()],"
        " 'answers': [[name, strength, text] for (name, strength), text in answers.items()],"
        " 'twin': saes.twin(sae.feature(best), again).cosine}"
    )
    _, found = run("03_train_an_sae", facts, tmp_path, monkeypatch)
    assert 0.85 < found["explained"][0] < 1
    assert 0.9 < found["explained"][1] < 1
    right = {(name, strength): int(text.split(" of ")[0]) for name, strength, text in found["answers"]}
    assert max(count for (name, _), count in right.items() if name.startswith("trained here")) >= 45
    assert max(count for (name, _), count in right.items() if name.startswith("shipped")) >= 45
    assert found["twin"] > 0.7  # the feature comes back with another seed


@pytest.mark.slow
def test_does_sft_generalize(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = (
        "{'followed': followed, 'section': trajectories_html(results.summary), 'warning': watched,"
        " 'share': seen['share'], 'shapes': shapes.to_dict('records'), 'scores': scores.to_dict('records'),"
        " 'words': fitted.identifiability.words}"
    )
    notebook, found = run("04_does_sft_generalize", facts, tmp_path, monkeypatch)
    steps = [0, 5, 10, 20, 40, 80]
    for trajectory in found["followed"].values():
        assert trajectory["steps"] == steps
    ends = {
        (arm, task): {key: one[key][-1]["value"] for key in ("accuracy", "trace_rate", "valid_trace_rate")}
        for arm, trajectory in found["followed"].items()
        for task, one in trajectory["tasks"].items()
    }
    start = found["followed"]["sft"]["tasks"]["addition"]["accuracy"][0]["value"]
    assert start <= 0.1
    assert ends["sft", "addition"]["accuracy"] >= 0.7
    assert ends["sft", "mod_chain"]["accuracy"] >= 0.3  # a family that it was not trained on
    # "here the content of the trace carries the ability, and a swapped one cannot"
    assert ends["sft/swapped", "addition"]["trace_rate"] >= 0.5
    assert ends["sft/swapped", "addition"]["accuracy"] <= 0.2
    assert ends["sft/swapped", "addition"]["valid_trace_rate"] <= 0.2
    assert ends["sft/no_trace", "addition"]["accuracy"] <= 0.2
    # "behind that opening some of its own working comes out, right steps among it"
    assert ends["sft/swapped", "mod_chain"]["valid_trace_rate"] > 0.03
    shown = {(row["arm"], row["task"]): row["shape"] for row in found["shapes"]}
    assert shown["sft", "addition"] == "monotone-up"
    assert shown["sft/no_trace", "addition"] == "flat"
    assert "addition</b>: rises: sft" in found["section"]
    assert "2 training seeds say little about their own spread" in found["section"]
    assert len(found["warning"]["integral"]) == len(found["warning"]["loss"]) == 41  # every second step
    assert found["warning"]["integral"][0] == 0
    assert found["warning"]["explained"]["integral"] > 0  # better than foretelling no change
    assert 0 < found["share"] < 1
    assert sum(row["weight"] for row in found["scores"]) == pytest.approx(1, abs=0.05)
    assert {"dual-timescale", "flat", "log-linear"} <= {row["name"] for row in found["scores"]}
    figures = [
        o
        for cell in notebook.cells
        for o in cell.get("outputs", [])
        if "application/vnd.plotly.v1+json" in o.get("data", {})
    ]
    assert len(figures) == 3
    assert found["words"]


@pytest.mark.slow
def test_where_is_the_mode_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = (
        "{'logits': sweep.frame().to_dict('records'), 'answers': answers.frame().to_dict('records'),"
        " 'target': answers.target.mean(axis=0).tolist(), 'source': answers.source.mean(axis=0).tolist()}"
    )
    _, found = run("05_where_is_the_mode_decided", facts, tmp_path, monkeypatch)
    assert found["target"][0] <= 0.05
    assert found["source"][0] >= 0.95
    for row in found["logits"]:
        decided = row["kind"] != "mean" and row["offset"] == 0
        assert (row["share"] > 0.9) if decided else (abs(row["share"]) < 0.05), row
    for row in found["answers"]:
        brought = row["kind"] != "mean" and row["offset"] == 0
        assert (row["effect"] > 0.9) if brought else (abs(row["effect"]) < 0.1), row


@pytest.mark.slow
def test_patch_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = (
        "{'parts': parts.frame().to_dict('records'), 'heads': heads.frame()['share'].tolist(),"
        " 'correlation': correlation, 'paths': paths.frame()['effect'].tolist()}"
    )
    _, found = run("06_patch_it", facts, tmp_path, monkeypatch)
    shares = {(r["site"], r["layer"]): r["share"] for r in found["parts"] if r["kind"] == "patched"}
    assert shares["attn_out", 0] > 0.9
    assert shares["attn_out", 1] < 0.1
    assert len(found["heads"]) == 4
    assert 0.3 < found["correlation"] < 1
    assert max(map(abs, found["paths"])) < 1


@pytest.mark.slow
def test_the_lens_sees_it_coming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, found = run(
        "07_the_lens_sees_it_coming", "{'rises': {str(k): v for k, v in rises.items()}}", tmp_path, monkeypatch
    )
    assert max(found["rises"].values()) > 1


@pytest.mark.slow
def test_from_a_picture_to_an_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = "{'accuracy': dict(zip(frame['arm'], frame['accuracy'])), 'layer': layer}"
    _, found = run("08_from_a_picture_to_an_arm", facts, tmp_path, monkeypatch)
    accuracy = found["accuracy"]
    assert accuracy["found"] >= 0.9
    assert accuracy["base"] <= 0.05
    assert accuracy["found/random_vector"] <= 0.1
    assert accuracy["found/wrong_sign"] <= 0.1
