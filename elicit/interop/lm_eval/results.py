"""Results in the layout of lm-eval 0.4 (`results_TIME.json`, `samples_TASK_TIME.jsonl`), for tools that read lm-eval's.

A policy is a model: MODEL/ARM/seedN gets a folder with one results file over all its tasks and one samples file a task,
as `lm_eval --output_path` writes them. The figures are means over problems with lm-eval's own standard error. lm-eval
need not be installed, and it did not run: what it alone would know is null; `elicit` holds what it has no place for.

    elicit export runs/mine --to lm-eval --out lm-eval
    python -c "import json, sys, lm_eval.utils as u; print(u.make_table(json.load(open(sys.argv[1]))))" results_....json
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from elicit.comparison.run import Run, open_run
from elicit.comparison.run_cell import RunCell
from elicit.schema import Row

#: Metric -> (value of a row, whether higher is better; None: neither).
_METRICS: dict[str, tuple[Callable[[Row], float], bool | None]] = {
    "acc": (lambda row: float(row.correct), True),
    "trace_rate": (lambda row: float(row.has_trace), None),
    "finished_rate": (lambda row: float(row.finished), None),
    "tokens": (lambda row: float(row.tokens), False),
}
#: lm-eval's name for "no filter was applied to the completion".
_FILTER = "none"


class PolicyFiles(NamedTuple):
    """One policy's files."""

    folder: str
    """The model's name as lm-eval writes it into a path."""
    time: str
    results: dict[str, Any]
    samples: dict[str, list[dict[str, Any]]]


def iter_policy_files(run: str | Path, *, arms: Sequence[str] | None = None) -> Iterator[PolicyFiles]:
    """Every finished cell as lm-eval's files hold it.

    Raises:
        ElicitError: no run, or an unknown arm.
    """
    with open_run(run) as source:
        for cell in source.cells(arms=arms, state="done"):
            answers = {label: [row for row in cell.rows(label) if row.sample == 0] for label in cell.tasks}
            tasks = {label: rows for label, rows in answers.items() if rows}
            samples = {
                label: [_build_sample_line(cell, row, i) for i, row in enumerate(rows)] for label, rows in tasks.items()
            }
            name = f"{cell.model}/{cell.arm}/seed{cell.seed}"
            yield PolicyFiles(
                _sanitise_model_name(name),
                _format_start_time(source),
                _build_results(source, cell, name, tasks, samples),
                samples,
            )


def write_result_files(run: str | Path, folder: Path, *, arms: Sequence[str] | None = None) -> list[Path]:
    """Write all files into an existing folder. Returns the results files.

    Raises:
        ElicitError: as for `policies`.
    """
    written = []
    for files in iter_policy_files(run, arms=arms):
        policy_folder = folder / files.folder
        policy_folder.mkdir(parents=True, exist_ok=True)
        written.append(policy_folder / f"results_{files.time}.json")
        text = json.dumps(files.results, indent=2, ensure_ascii=False, allow_nan=False)
        written[-1].write_text(text + "\n", encoding="utf-8")
        for task, rows in files.samples.items():
            lines = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
            (policy_folder / f"samples_{task}_{files.time}.jsonl").write_text(lines, encoding="utf-8")
    return written


def _build_results(
    source: Run,
    cell: RunCell,
    name: str,
    tasks: Mapping[str, Sequence[Row]],
    samples: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    model_spec = source.spec.for_model(cell.model)
    task_configs = {**model_spec.off_target, model_spec.task_label: model_spec.task}
    return {
        "results": {task: _compute_metrics(task, rows) for task, rows in tasks.items()},
        "group_subtasks": {},
        "configs": {task: _build_task_config(task, task_configs[task], cell, rows) for task, rows in tasks.items()},
        "versions": dict.fromkeys(tasks, 0),
        "n-shot": {task: _count_shots(task_configs[task]) for task in tasks},
        "higher_is_better": {task: {metric: better for metric, (_, better) in _METRICS.items()} for task in tasks},
        "n-samples": {task: {"original": model_spec.test, "effective": len(rows)} for task, rows in tasks.items()},
        "config": {
            "model": "elicit",
            "model_args": {"policy": name, "base": model_spec.models[cell.model]},
            "model_dtype": cell.model_facts.get("dtype"),
            "model_sha": cell.model_facts.get("weights_sha256"),
            "batch_size": None,
            "batch_sizes": [],
            "device": cell.model_facts.get("device"),
            "use_cache": None,
            "limit": source.limit,
            "bootstrap_iters": 0,
            "gen_kwargs": None,
            "random_seed": cell.seed,
            "numpy_seed": cell.seed,
            "torch_seed": cell.seed,
            "fewshot_seed": cell.seed,
        },
        "git_hash": (source.manifest.get("git") or {}).get("sha"),
        "date": _start_timestamp(source),
        "transformers_version": (source.manifest.get("packages") or {}).get("transformers"),
        "lm_eval_version": None,
        "task_hashes": {
            task: _hash_text("".join(s["doc_hash"] + s["prompt_hash"] + s["target_hash"] for s in rows))
            for task, rows in samples.items()
        },
        "model_source": "elicit",
        "model_name": name,
        "model_name_sanitized": _sanitise_model_name(name),
        "system_instruction": None,
        "system_instruction_sha": None,
        "fewshot_as_multiturn": None,
        "chat_template": None,
        "chat_template_sha": None,
        "total_evaluation_time_seconds": str(cell.status.get("seconds")),
        "elicit": {
            "arm": cell.arm,
            "method": cell.method,
            "options": dict(cell.options),
            "seed": cell.seed,
            "policy_sha256": cell.status.get("policy_sha256"),
            "tokenizer_sha256": cell.model_facts.get("tokenizer_sha256"),
            "fit_seconds": cell.status.get("fit_seconds"),
        },
    }


def _compute_metrics(task: str, rows: Sequence[Row]) -> dict[str, Any]:
    metrics: dict[str, Any] = {"name": task, "alias": task, "sample_len": len(rows)}
    for metric, (value, _) in _METRICS.items():
        values = [value(row) for row in rows]
        metrics[f"{metric},{_FILTER}"] = sum(values) / len(values)
        metrics[f"{metric}_stderr,{_FILTER}"] = _standard_error(values)
    return metrics


def _standard_error(values: Sequence[float]) -> float | str:
    """Sample standard deviation over sqrt(n); lm-eval writes "N/A" for a single document."""
    n = len(values)
    if n < 2:
        return "N/A"
    centre = sum(values) / n
    return math.sqrt(sum((value - centre) ** 2 for value in values) / (n - 1)) / math.sqrt(n)


def _build_task_config(task: str, task_config: Mapping[str, Any], cell: RunCell, rows: Sequence[Row]) -> dict[str, Any]:
    metrics = [
        {"metric": metric, "aggregation": "mean", "higher_is_better": better}
        for metric, (_, better) in _METRICS.items()
    ]
    return {
        "task": task,
        "dataset_path": f"elicit:{task_config['task']}",
        "dataset_kwargs": {key: value for key, value in task_config.items() if key != "task"},
        "test_split": "test",
        "output_type": "generate_until",
        "num_fewshot": _count_shots(task_config),
        "metric_list": metrics,
        "repeats": 1,
        "should_decontaminate": False,
        "metadata": {"version": 0, "kind": rows[0].kind, "arm": cell.arm},
    }


def _count_shots(task_config: Mapping[str, Any]) -> int:
    prompts = task_config.get("prompts")
    return int(prompts.get("shots", 0)) if isinstance(prompts, Mapping) else 0


def _build_sample_line(cell: RunCell, row: Row, number: int) -> dict[str, Any]:
    """One line of a samples file. `doc` has the same columns in every line, so that `datasets` can read the file."""
    row_prompt, problem = cell.find_prompt(row), cell.find_problem(row)
    target = problem.answer if problem else ""
    doc = {"id": row.problem, "question": problem.prompt if problem else "", "answer": target}
    metrics = {metric: value(row) for metric, (value, _) in _METRICS.items()}
    return {
        "doc_id": number,
        "doc": doc,
        "target": target,
        "arguments": {"gen_args_0": {"arg_0": row_prompt.prompt + row_prompt.opening, "arg_1": {}}},
        "resps": [[row.completion.removeprefix(row_prompt.opening)]],
        "filtered_resps": [row.answer if row.answer is not None else "[invalid]"],
        "filter": _FILTER,
        "metrics": list(metrics),
        "doc_hash": _hash_text(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash_text(row_prompt.prompt + row_prompt.opening),
        "target_hash": _hash_text(target),
        **metrics,
        "prompt_is_exact": row_prompt.exact,
        "firings": row.firings,
        "prompt_tokens": row.prompt_tokens,
    }


def _sanitise_model_name(name: str) -> str:
    """As lm-eval writes a model's name into a path."""
    return re.sub(r"[\"<>:/|\\?*\[\]]+", "__", name)


def _start_timestamp(source: Run) -> float | None:
    start = source.manifest.get("start")
    return datetime.fromisoformat(start).timestamp() if start else None


def _format_start_time(source: Run) -> str:
    """The run's start as lm-eval names files; in UTC, since local time would change from machine to machine."""
    start = str(source.manifest.get("start") or "1970-01-01T00:00:00Z")
    return datetime.fromisoformat(start).replace(tzinfo=None).isoformat(timespec="microseconds").replace(":", "-")


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
