"""Results as lm-eval writes them, against lm-eval's own files, table and metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from elicit import runs
from elicit.comparison.run import open_run
from elicit.interop.lm_eval import results as lm_eval_results

lm_eval = pytest.importorskip("lm_eval")


@pytest.fixture(scope="module")
def files(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folder name -> results file."""
    written = lm_eval_results.write_result_files(run, tmp_path_factory.mktemp("results"))
    return {path.parent.name: path for path in written}


def _samples(results: Path, task: str) -> list[dict[str, Any]]:
    (path,) = results.parent.glob(f"samples_{task}_*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_figures_are_those_of_the_summary_with_lm_evals_standard_error(run: Path, files: dict[str, Path]) -> None:
    from lm_eval.api.metrics import mean_stderr

    arms = runs.read_run_json(run / "summary.json")["models"]["cued"]["tasks"]["addition"]["arms"]
    assert set(files) == {
        f"cued__{cell}" for cell in ("base__seed0", "sft__seed0", "sft__seed1", "mean_steering__seed0")
    }
    for arm in ("base", "sft", "mean_steering"):
        for seed, accuracy in enumerate(arms[arm]["seed_accuracies"]):
            path = files[f"cued__{arm}__seed{seed}"]
            figures = json.loads(path.read_text())["results"]["addition"]
            assert figures["acc,none"] == pytest.approx(accuracy, abs=1e-12)
            rows = [sample["acc"] for sample in _samples(path, "addition")]
            assert sum(rows) / len(rows) == figures["acc,none"]
            assert figures["acc_stderr,none"] == pytest.approx(mean_stderr(rows), abs=1e-12)
            tokens = [sample["tokens"] for sample in _samples(path, "addition")]
            assert figures["tokens_stderr,none"] == pytest.approx(mean_stderr(tokens), abs=1e-12)


def test_lm_evals_table_shows_them(files: dict[str, Path]) -> None:
    from lm_eval.utils import make_table

    results = json.loads(files["cued__sft__seed0"].read_text())
    table = make_table(results)
    rows = {tuple(cell.strip() for cell in line.split("|"))[1:6:4]: line for line in table.splitlines()[2:]}
    accuracy = results["results"]["addition"]["acc,none"]
    assert f"{accuracy:.4f}" in rows["addition", "acc"]
    assert f"{results['results']['mod_chain']['acc,none']:.4f}" in rows["mod_chain", "acc"]
    assert "↑" in rows["addition", "acc"]


def test_names_of_files_are_understood(files: dict[str, Path]) -> None:
    from lm_eval.utils import get_file_datetime, get_file_task_name, get_results_filenames, sanitize_model_name

    path = files["cued__sft__seed1"]
    samples = [str(other) for other in path.parent.glob("samples_*")]
    assert {get_file_task_name(Path(name).name) for name in samples} == {"addition", "mod_chain"}
    assert {get_file_datetime(name) for name in samples} == {"2026-11-21T09-04-55.000000"}
    assert get_results_filenames([str(path), *samples]) == [str(path)]
    assert path.parent.name == sanitize_model_name(json.loads(path.read_text())["model_name"])


def test_the_layout_is_what_lm_eval_writes(files: dict[str, Path], tmp_path: Path) -> None:
    """A real evaluation of lm-eval's dummy model, saved by its own tracker: same keys, same kinds of values."""
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    (tmp_path / "docs.jsonl").write_text('{"q": "1+1", "a": "2"}\n{"q": "1+2", "a": "3"}\n')
    task = {
        "task": "tiny",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "docs.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{q}}",
        "doc_to_target": "{{a}}",
        "metric_list": [{"metric": "exact_match"}],
    }
    tracker = EvaluationTracker(output_path=str(tmp_path / "out"))
    theirs = lm_eval.simple_evaluate(
        model="dummy",
        tasks=[task],
        evaluation_tracker=tracker,
        bootstrap_iters=2,
        task_manager=TaskManager(include_defaults=False),
    )
    samples = theirs.pop("samples")
    tracker.save_results_aggregated(results=theirs, samples=samples)
    tracker.save_results_samples(task_name="tiny", samples=samples["tiny"])
    (written,) = (tmp_path / "out").rglob("results_*.json")
    expected, own = json.loads(written.read_text()), json.loads(files["cued__base__seed0"].read_text())

    environment = {"pretty_env_info", "upper_git_hash", "eot_token_id", "max_length", "start_time", "end_time"}
    environment |= {f"tokenizer_{name}_token" for name in ("pad", "eos", "bos")}
    assert set(expected) - set(own) <= environment
    assert set(own) - set(expected) == {"elicit"}
    for key in ("results", "configs", "n-shot", "higher_is_better", "n-samples", "task_hashes"):
        assert type(own[key]["addition"]) is type(expected[key]["tiny"]), key
    assert own["versions"].keys() == own["results"].keys()
    assert own["n-samples"]["addition"].keys() == expected["n-samples"]["tiny"].keys()
    assert {"name", "alias", "sample_len"} <= own["results"]["addition"].keys() & expected["results"]["tiny"].keys()
    assert own["config"].keys() - {"model_dtype", "model_sha"} <= expected["config"].keys()
    (line, *_), (ours, *_) = _samples(written, "tiny"), _samples(files["cued__base__seed0"], "addition")
    assert line.keys() - {"exact_match"} <= ours.keys()
    for key in ("doc_id", "doc", "target", "resps", "filtered_resps", "filter", "metrics", "doc_hash"):
        assert type(ours[key]) is type(line[key]), key
    assert type(ours["resps"][0]) is type(line["resps"][0])
    assert ours["arguments"]["gen_args_0"].keys() == line["arguments"]["gen_args_0"].keys()


def test_datasets_reads_the_samples(run: Path, files: dict[str, Path], tmp_path: Path) -> None:
    import datasets

    (path,) = files["cued__sft__seed0"].parent.glob("samples_addition_*")
    table = datasets.Dataset.from_json(str(path), cache_dir=str(tmp_path))
    assert len(table) == 12
    with open_run(run) as source:
        (cell, *_) = source.cells(arms=["sft"], state="done")
        row = cell.rows("addition")[0]
        assert table[0]["arguments"]["gen_args_0"]["arg_0"] == cell.find_prompt(row).prompt
        assert table[0]["resps"] == [[row.completion]]
