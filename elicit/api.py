"""`elicit.compare`: a comparison from Python, with the results as tables.

results = elicit.compare("cued", "addition", arms=["base", "sft", "mean_steering"], seeds=3)
results                          # table; in a notebook also the forest plot
results.to_df()                  # one row per model and arm
results.flips("base", "sft")     # problems that changed between two arms
results.save_html("report.html")
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit.comparison.reader import read_arms, read_run_spec
from elicit.comparison.running.engine import run_cells
from elicit.comparison.spec import check_spec
from elicit.comparison.spec.code_references import resolve_references
from elicit.comparison.summary.summarise import write_summary
from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.interop.policies import load_policy as load_policy
from elicit.loading import catalog
from elicit.method import Method
from elicit.methods.catalog import describe_config
from elicit.plugins import absolute_reference
from elicit.runs import writing_to
from elicit.tasks.to_dict import task_to_dict

if TYPE_CHECKING:
    import pandas as pd

    from elicit.model import BaseModel
    from elicit.tasks import Task


@dataclass(frozen=True)
class Results:
    """A finished comparison: a run directory and its summary."""

    run: Path
    summary: Mapping[str, Any]

    def to_df(self) -> pd.DataFrame:
        """One row per model and arm, figures in columns."""
        import pandas as pd

        rows = []
        for model, tasks in self.summary["models"].items():
            for task, entry in tasks["tasks"].items():
                for arm, figures in entry["arms"].items():
                    low, high = figures["ci"] or (None, None)
                    versus = figures["vs_sft"] or {}
                    rival, with_fit = figures["rival"] or {}, figures["rival_total"] or {}
                    rows.append(
                        {
                            "model": model,
                            "task": task,
                            "arm": arm,
                            "n": figures["n"],
                            "seeds": figures["seeds"],
                            "accuracy": figures["accuracy"],
                            "ci_low": low,
                            "ci_high": high,
                            "gap_recovered": figures["gap_recovered"],
                            "vs_sft": versus.get("difference"),
                            "p_holm": versus.get("p_holm"),
                            "trace_rate": (figures["trace_rate"] or {}).get("value"),
                            "tokens_per_problem": (figures["tokens_per_problem"] or {}).get("value"),
                            "vs_rival": (rival.get("difference") or {}).get("difference"),
                            "rival_votes": rival.get("k"),
                            "vs_rival_with_fit": (with_fit.get("difference") or {}).get("difference"),
                            "rival_with_fit_votes": with_fit.get("k"),
                            "status": figures["status"],
                        }
                    )
        return pd.DataFrame(rows)

    def rows_df(self) -> pd.DataFrame:
        """Every row of the target task: one completion of one problem by one arm."""
        import pandas as pd

        spec, _ = read_run_spec(self.run)
        rows = [
            {"model": model, "arm": arm, **row.to_json()}
            for model in spec.models
            for arm, data in read_arms(spec, self.run, model).items()
            for seed in data.rows[spec.for_model(model).task_label]
            for row in seed
        ]
        return pd.DataFrame(rows)

    def metrics_df(self) -> pd.DataFrame:
        """One row per figure of the summary, with its interval. This and the next: see `elicit.interop.frames`."""
        from elicit.interop import frames

        return frames.metrics_df(self.run)

    def dose_response_df(self) -> pd.DataFrame:
        """Accuracy over layer and strength of every arm that was tuned over them."""
        from elicit.interop import frames

        return frames.dose_response_df(self.run)

    def curves_df(self) -> pd.DataFrame:
        """Training curves, one row per step."""
        from elicit.interop import frames

        return frames.curves_df(self.run)

    def costs_df(self) -> pd.DataFrame:
        """Tokens, labels, floating-point operations and seconds of every arm."""
        from elicit.interop import frames

        return frames.costs_df(self.run)

    def cells_df(self) -> pd.DataFrame:
        """Every model, arm and seed: state, seconds, hashes."""
        from elicit.interop import frames

        return frames.cells_df(self.run)

    def flips(self, left: str, right: str) -> pd.DataFrame:
        """Problems that two arms judge differently, with both completions (first seed of each).

        Raises:
            ElicitError: an arm is unknown.
        """
        frame = self.rows_df()
        for arm in (left, right):
            if arm not in set(frame["arm"]):
                raise unknown_name_error("arm", arm, set(frame["arm"]))
        frame = frame[frame["sample"] == 0].drop_duplicates(["model", "arm", "problem"])
        columns = ["model", "problem", "completion", "correct"]
        pair = frame[frame["arm"] == left][columns].merge(
            frame[frame["arm"] == right][columns], on=["model", "problem"], suffixes=(f"_{left}", f"_{right}")
        )
        changed = pair[f"correct_{left}"] != pair[f"correct_{right}"]
        return pair[changed].reset_index(drop=True)

    def save_html(self, path: str | Path) -> Path:
        """Write the report as one file that opens offline."""
        from elicit.report import write_report

        with writing_to(Path(path)):
            return Path(shutil.copyfile(write_report(self.run), path))

    def __repr__(self) -> str:
        return self.to_df().to_string(index=False, float_format=lambda value: f"{value:.3f}")

    def _repr_html_(self) -> str:
        from elicit.report import forest_html

        return forest_html(self.summary) + self.to_df().to_html(index=False, float_format=lambda value: f"{value:.3f}")


def compare(
    model: BaseModel | str,
    task: Task | str | Mapping[str, Any],
    *,
    arms: Sequence[str] | Mapping[str, Mapping[str, Any] | Method],
    off_target: Sequence[str] | Mapping[str, Mapping[str, Any]] = (),
    reference: str | None = None,
    seeds: int = 1,
    test: int = 200,
    samples: int | Mapping[str, Any] = 0,
    budgets: Mapping[str, Mapping[str, list[Any]]] | None = None,
    trajectory: Mapping[str, Any] | None = None,
    limit: int | None = None,
    out: str | Path | None = None,
    workers: int | None = 1,
    processes: int = 1,
    download: bool = False,
) -> Results:
    """Compare arms on one model and task.

    Args:
        model: a loaded model or its name.
        task: a task, its name, or `{"task": name, parameters...}`. One of your own is an object with the interface of
            `elicit.tasks.Task` (see `TaskBase`) and, as a run names its task, a `spec()`.
        arms: method names, or arm name -> `{"method": name, options...}` or a method's config: `GRPO(steps=64)`, or
            one of your own. Its class must be importable, so that the run can be resumed: not one of a script or a
            notebook.
        off_target: other tasks that every arm is tested on: names, or label -> `{"task": name, parameters...}`.
        reference: the arm of supervised fine-tuning with which others are compared; None: the arm named sft.
        samples: samples per problem at temperature 1, for pass@k, votes and compute-matched baselines: a number, or
            `{"n": 256, "problems": 64, "arms": ["base", "sft"]}`.
        budgets: further values of some arms' options, `{"sft": {"demonstrations": [4, 64]}}`: each is an arm,
            `sft/demonstrations-4`, and a point of a budget curve.
        trajectory: for arms with `checkpoints`: `{"problems": 100, "probe": 32}` test problems of every task at each
            checkpoint (all if None) and select problems for losses.
        out: run directory; a temporary one if None. An existing one is resumed or amended.
        workers: processes; 1 works in this one.
        processes: processes that share one training of sft, critique or grpo: one a GPU, or several on a CPU.
        download: allow the download of a hub id that is not on this machine. Nothing else touches the network.

    Raises:
        ElicitError: the input is invalid, as for a spec file.
    """
    if not isinstance(model, str) and model.in_memory:
        raise ElicitError(
            f"compare: {one_line(model.name, 80)} is a model in memory, and a run loads its models by name, so that it "
            "can be resumed. Save it first: model.hf.save_pretrained(FOLDER); model.tokenizer.save_pretrained(FOLDER), "
            "and type compare('FOLDER', ...)"
        )
    name = model if isinstance(model, str) else str(model.name)
    label = catalog.default_label(name)
    spec = check_spec(
        {
            "models": {label: name},
            "task": resolve_references(task_to_dict(task), Path()),
            "off_target": _resolve_off_target(off_target),
            "arms": _arms_to_spec(arms),
            "reference": reference,
            "seeds": seeds,
            "test": test,
            "samples": samples if isinstance(samples, int) else dict(samples),
            "budgets": {arm: dict(options) for arm, options in (budgets or {}).items()},
            "trajectory": None if trajectory is None else dict(trajectory),
            "processes": processes,
        },
        where="compare",
    )
    run = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="elicit-"))
    failed = run_cells(spec, run, limit=limit, workers=workers, download=download, command=["elicit.compare"])
    if failed and len(failed) == len(spec.arms):
        raise ElicitError(f"every arm failed; see the status.json files in {run}")
    return Results(run, write_summary(run))


def _resolve_off_target(tasks: Sequence[str] | Mapping[str, Mapping[str, Any]]) -> Any:
    """As a spec has them, with the code of tasks from outside where it is now."""
    if not isinstance(tasks, Mapping):
        return [absolute_reference(name) for name in tasks]
    return {label: resolve_references(task_to_dict(task), Path()) for label, task in tasks.items()}


def _arms_to_spec(arms: Sequence[str] | Mapping[str, Mapping[str, Any] | Method]) -> Any:
    """Arms as a spec says them; files of code start at the working directory."""
    if not isinstance(arms, Mapping):
        return list(arms)
    plain: dict[str, Any] = {}
    for name, options in arms.items():
        try:
            plain[name] = describe_config(options) if isinstance(options, Method) else options
        except ElicitError as error:
            raise ElicitError(f"compare: arm {name!r}: {error}") from None
        if isinstance(plain[name], Mapping):
            plain[name] = resolve_references(dict(plain[name]), Path())
    return plain
