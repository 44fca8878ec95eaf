"""Rows as Inspect logs (https://inspect.aisi.org.uk): one per model, arm, seed and task, in Inspect's own classes.

A log's model is the policy, `elicit/MODEL/ARM`; a sample is a problem; its messages are the text that the model was
given and what it wrote. The score is the task's verdict, and the results are Inspect's own `accuracy` and `stderr` of
them, which is this cell's accuracy in `summary.json`. Samples at temperature 1 (pass@k) go to logs of their own, with
the sample's number as the epoch: mixed with the answers they would change the accuracy.

    elicit export runs/mine --to inspect --out logs
    inspect view --log-dir logs
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from elicit.comparison.run import Run, open_run
from elicit.comparison.run_cell import RunCell
from elicit.errors import require_extra
from elicit.schema import Row

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalResults, EvalSample
    from inspect_ai.scorer import Score

#: Inspect's own metrics, by the names under which it finds them again (`inspect score`, `recompute_metrics`).
_METRICS = ("inspect_ai/accuracy", "inspect_ai/stderr")
_SCORER = "verifier"


def iter_logs(
    run: str | Path, *, arms: Sequence[str] | None = None, samples: bool = False
) -> Iterator[tuple[str, EvalLog]]:
    """(file name without its ending, log) of every finished cell and task.

    Args:
        run: a run directory or an archive.
        arms: only these.
        samples: also logs of the samples at temperature 1.

    Raises:
        ElicitError: no run, an unknown arm, or inspect-ai is not installed.
    """
    require_extra("inspect_ai", "inspect", "writing Inspect logs")
    with open_run(run) as source:
        for cell in source.cells(arms=arms, state="done"):
            for label in cell.tasks:
                rows = cell.rows(label)
                parts = {
                    "answer": [row for row in rows if row.sample == 0],
                    "sample": [row for row in rows if row.sample > 0] if samples else [],
                }
                for kind, selected_rows in parts.items():
                    if selected_rows:
                        log = _build_log(source, cell, label, kind, selected_rows)
                        yield _build_file_name(log, cell, kind), log


def write_logs(
    run: str | Path,
    folder: Path,
    *,
    arms: Sequence[str] | None = None,
    samples: bool = False,
    form: Literal["eval", "json"] = "eval",
) -> list[Path]:
    """Write the logs into an existing folder: `.eval` (Inspect's usual, compressed) or `.json`. Returns the files.

    Raises:
        ElicitError: as for `logs`.
    """
    require_extra("inspect_ai", "inspect", "writing Inspect logs")
    from inspect_ai.log import write_eval_log

    written = []
    for name, log in iter_logs(run, arms=arms, samples=samples):
        path = folder / f"{name}.{form}"
        write_eval_log(log, path, format=form)
        written.append(path)
    return written


def _build_log(source: Run, cell: RunCell, label: str, kind: str, rows: Sequence[Row]) -> EvalLog:
    from inspect_ai.log import EvalLog, EvalPlan, EvalPlanStep, EvalStats
    from inspect_ai.model import ModelUsage

    model = _model_name(cell)
    samples = [_build_eval_sample(cell, row, model, epoch=1 if kind == "answer" else row.sample) for row in rows]
    usage = sum((sample.model_usage[model] for sample in samples), ModelUsage())
    manifest = source.manifest
    spec = _build_eval_spec(source, cell, label, kind, rows)
    return EvalLog(
        status="success",
        eval=spec,
        plan=EvalPlan(steps=[EvalPlanStep(solver=cell.method, params=dict(spec.solver_args or {}))]),
        results=_build_eval_results(cell, samples),
        stats=EvalStats(
            started_at=manifest.get("start") or "", completed_at=manifest.get("end") or "", model_usage={model: usage}
        ),
        samples=samples,
    )


def _model_name(cell: RunCell) -> str:
    return f"elicit/{cell.model}/{cell.arm}"


def _build_eval_spec(source: Run, cell: RunCell, label: str, kind: str, rows: Sequence[Row]) -> Any:
    """Inspect's account of what was evaluated. Ids come from content, so that the same rows give the same log."""
    from inspect_ai.log import EvalConfig, EvalDataset, EvalRevision, EvalSpec
    from inspect_ai.model import GenerateConfig

    model_spec = source.spec.for_model(cell.model)
    manifest, task_config = source.manifest, {**model_spec.off_target, model_spec.task_label: model_spec.task}[label]
    ids = list(dict.fromkeys(row.problem for row in rows))
    epochs = max(1, max(row.sample for row in rows))
    git = manifest.get("git") or {}
    options = {key: value for key, value in cell.options.items() if key != "method"}
    mark = f"{manifest.get('spec_sha256')}/{cell.name}/{cell.status.get('policy_sha256')}/{label}/{kind}"
    return EvalSpec(
        eval_id=_make_log_id(f"eval/{mark}"),
        run_id=_make_log_id(f"run/{manifest.get('spec_sha256')}/{manifest.get('start')}"),
        task_id=_make_log_id(f"task/{mark}"),
        created=manifest.get("start") or "1970-01-01T00:00:00Z",
        task=label if kind == "answer" else f"{label}-samples",
        task_args=dict(task_config),
        solver=cell.method,
        solver_args=options,
        tags=[f"arm:{cell.arm}", f"seed:{cell.seed}", f"kind:{kind}"],
        dataset=EvalDataset(name=label, samples=len(ids), sample_ids=ids, shuffled=False),
        model=_model_name(cell),
        model_generate_config=GenerateConfig(seed=cell.seed, temperature=1.0 if kind == "sample" else None),
        model_args={"base": source.spec.models[cell.model], "policy_sha256": cell.status.get("policy_sha256")},
        config=EvalConfig(limit=source.limit, epochs=epochs, epochs_reducer=["mean"]),
        revision=EvalRevision(type="git", origin="", commit=git["sha"], dirty=git.get("dirty")) if git else None,
        packages={name: version for name, version in (manifest.get("packages") or {}).items() if version},
        scorers=[{"name": _SCORER, "metrics": [{"name": name} for name in _METRICS]}],  # pydantic makes its classes
        metadata=_build_metadata(source, cell, kind),
    )


def _build_metadata(source: Run, cell: RunCell, kind: str) -> dict[str, Any]:
    """Build a log's metadata: who answered, its cost, and the results of fitting. Long lists stay in the run."""
    record = {key: cell.record.get(key) for key in ("train", "tuning", "steering", "chosen") if cell.record.get(key)}
    return {
        "arm": cell.arm,
        "method": cell.method,
        "seed": cell.seed,
        "rows": kind,
        "policy_sha256": cell.status.get("policy_sha256"),
        **{key: cell.model_facts.get(key) for key in ("weights_sha256", "tokenizer_sha256", "dtype", "device")},
        "limit": source.limit,
        "seconds": cell.status.get("seconds"),
        "fit_seconds": cell.status.get("fit_seconds"),
        **record,
    }


def _build_eval_sample(cell: RunCell, row: Row, model: str, *, epoch: int) -> EvalSample:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant, ChatMessageUser, ModelOutput, ModelUsage

    row_prompt, problem = cell.find_prompt(row), cell.find_problem(row)
    mark = f"{cell.status.get('policy_sha256')}/{row.task}/{row.problem}/{row.sample}/{row.seed}"
    message = ChatMessageAssistant(
        id=_make_log_id(f"said/{mark}"), content=row.completion, source="generate", model=model
    )
    usage = ModelUsage(
        input_tokens=row.prompt_tokens, output_tokens=row.tokens, total_tokens=row.prompt_tokens + row.tokens
    )
    choice = ChatCompletionChoice(message=message, stop_reason="stop" if row.finished else "max_tokens")
    return EvalSample(
        id=row.problem,
        epoch=epoch,
        uuid=_make_log_id(f"sample/{mark}"),
        input=row_prompt.prompt,
        target=problem.answer if problem else "",
        messages=[
            ChatMessageUser(id=_make_log_id(f"asked/{mark}"), content=row_prompt.prompt, source="input"),
            message,
        ],
        output=ModelOutput(model=model, choices=[choice], usage=usage),
        scores={_SCORER: _build_score(row, problem.answer if problem else None)},
        metadata={
            "sample": row.sample,
            "seed": row.seed,
            "firings": row.firings,
            "prompt_hash": row.prompt_hash,
            "prompt_is_exact": row_prompt.exact,
            "forced_opening": row_prompt.opening,
            "group": problem.group if problem else None,
            **row.notes,
        },
        model_usage={model: usage},
    )


def _build_score(row: Row, target: str | None) -> Score:
    from inspect_ai.scorer import CORRECT, INCORRECT, Score

    read = "no answer" if row.answer is None else f"the answer {row.answer!r}"
    trace = {True: "a valid trace", False: "a trace with an error", None: "a trace, not checked"}[row.trace_valid]
    expectation = "" if target is None else f", expected {target!r}"
    end = "ended by itself" if row.finished else "was cut at the limit"
    return Score(
        value=CORRECT if row.correct else INCORRECT,
        answer=row.answer,
        explanation=f"The verifier read {read}{expectation}; {trace if row.has_trace else 'no trace'}; the text {end}.",
        metadata={"has_trace": row.has_trace, "trace_valid": row.trace_valid},
    )


def _build_eval_results(cell: RunCell, samples: Sequence[EvalSample]) -> EvalResults:
    """Inspect's metrics of the scores, epochs averaged first, as its own evaluations have them."""
    from inspect_ai.log import EvalMetric, EvalResults, EvalScore
    from inspect_ai.scorer import SampleScore, Score, accuracy, stderr, value_to_float

    number = value_to_float()
    per_problem: dict[str, list[float]] = {}
    for sample in samples:
        assert sample.scores is not None
        per_problem.setdefault(str(sample.id), []).append(number(sample.scores[_SCORER].value))
    scores = [SampleScore(score=Score(value=sum(v) / len(v)), sample_id=key) for key, v in per_problem.items()]
    metrics: Mapping[str, Any] = {"accuracy": accuracy()(scores), "stderr": stderr()(scores)}
    eval_score = EvalScore(
        name=_SCORER,
        scorer=_SCORER,
        reducer="mean" if len(samples) > len(scores) else None,
        scored_samples=len(scores),
        unscored_samples=0,
        metrics={name: EvalMetric(name=name, value=value) for name, value in metrics.items()},
    )
    return EvalResults(total_samples=len(samples), completed_samples=len(samples), scores=[eval_score])


def _build_file_name(log: EvalLog, cell: RunCell, kind: str) -> str:
    """Inspect's own form, TIME_TASK_MODEL_ID, in which `_` separates."""
    time = log.eval.created.replace(":", "-")
    cell_label = f"{cell.model}-{cell.arm}-seed{cell.seed}".replace("/", "-").replace("_", "-")
    return f"{time}_{log.eval.task.replace('_', '-')}_{cell_label}_{log.eval.task_id}"


def _make_log_id(text: str) -> str:
    """22 letters and digits, as Inspect's ids have."""
    return hashlib.sha256(text.encode()).hexdigest()[:22]
