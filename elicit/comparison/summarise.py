"""Rows and metrics of a run directory -> `summary.json`, the contract for other programs. Imports no torch.

Every figure is recomputed from files, so `elicit verify` can check a printed summary against its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from elicit import runs, statistics
from elicit.comparison.cells import Cell, cells
from elicit.comparison.contrasts import adjust, against, against_parent, gap
from elicit.comparison.spec import Spec, build_task, check_spec
from elicit.comparison.work import state_of
from elicit.methods.core import Method
from elicit.schema import Row, number

#: k of the pass@k curve: powers of two up to the number of samples.
_KS = tuple(2**i for i in range(11))


@dataclass(frozen=True)
class ArmData:
    """What one arm left on disk for one model."""

    cells: tuple[Cell, ...]
    statuses: tuple[dict[str, Any], ...]
    rows: Mapping[str, list[list[Row]]]
    """Task label -> rows of each finished seed."""
    metrics: tuple[dict[str, Any], ...]

    @property
    def state(self) -> str:
        states = [status["state"] for status in self.statuses]
        if "failed" in states:
            return "failed"
        return "done" if states and all(state == "done" for state in states) else "pending"


def read_spec_of(run: Path) -> tuple[Spec, int | None]:
    """(spec, limit) of a run directory. Raises ElicitError if there is none."""
    import yaml

    from elicit.errors import ElicitError

    path = run / "spec.yaml"
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ElicitError(f"{run} holds no spec.yaml: not a run directory. See: elicit ls runs") from None
    except (OSError, yaml.YAMLError) as error:
        raise ElicitError(f"{path} cannot be read: {error}") from None
    if not isinstance(plain, dict):
        raise ElicitError(f"{path} is not a spec.")
    limit = plain.pop("limit", None)
    return check_spec(plain, where=str(path)), limit


def read_arms(spec: Spec, run: Path, model: str) -> dict[str, ArmData]:
    """Everything on disk for one model, arm by arm in the order of the spec."""
    found: dict[str, list[Cell]] = {arm: [] for arm in spec.arms}
    for cell in cells(spec):
        if cell.model == model:
            found[cell.arm].append(cell)
    return {arm: _read_arm(spec, run, mine) for arm, mine in found.items()}


def _read_arm(spec: Spec, run: Path, mine: Sequence[Cell]) -> ArmData:
    statuses = [state_of(cell, run) for cell in mine]
    finished = [cell for cell, status in zip(mine, statuses, strict=True) if status["state"] == "done"]
    labels = [spec.task_label, *spec.off_target]
    rows = {
        label: [runs.read_rows(cell.folder(run) / "rows" / f"{label}.jsonl") for cell in finished] for label in labels
    }
    metrics = [entry for cell in finished for entry in runs.read_lines(cell.folder(run) / "metrics.jsonl")]
    return ArmData(tuple(mine), tuple(statuses), rows, tuple(metrics))


def summarise(run: Path) -> dict[str, Any]:
    """The summary of a run directory, from its rows and metrics alone."""
    spec, limit = read_spec_of(run)
    methods = spec.methods()
    models = {}
    for model in spec.models:
        arms = read_arms(spec, run, model)
        models[model] = {"tasks": {spec.task_label: _task_summary(spec, methods, arms)}}
    return {"limit": limit, "seeds": spec.seeds, "models": models}


def write_summary(run: Path) -> dict[str, Any]:
    summary = summarise(run)
    runs.write_json(run / "summary.json", summary)
    return summary


def _task_summary(spec: Spec, methods: Mapping[str, Method], arms: Mapping[str, ArmData]) -> dict[str, Any]:
    label = spec.task_label
    order = _problem_order(arms, label)
    scores = {arm: _scores(data.rows[label], order) for arm, data in arms.items()}
    reference = scores.get("sft")
    base = _first_of(methods, scores, "base")
    ceilings = _ceilings(spec, methods, arms, scores, order)
    top = next((c for c in ceilings if c["kind"] != "base_pass@k"), None)
    ceiling_scores = scores.get(top["arm"]) if top else None
    entries = {}
    for arm, data in arms.items():
        entry = _arm_summary(spec, arm, data, scores[arm], order)
        entry |= gap(scores[arm], base, ceiling_scores, top, methods[arm])
        pairs = (("vs_sft", reference, arm != "sft", True), ("vs_base", base, not _is_base(spec, arm), False))
        for name, other, applies, trained in pairs:
            entry[name] = against(scores[arm], other, methods[arm], reference_trained=trained) if applies else None
        entry["vs_parent"] = against_parent(arm, scores, methods)
        entries[arm] = entry
    for key in ("vs_sft", "vs_base"):
        adjust(entries, key)
    return {"n": len(order), "guesser": _guesser(spec), "ceilings": ceilings, "arms": entries}


def _is_base(spec: Spec, arm: str) -> bool:
    return bool(spec.arms[arm]["method"] == "base")


def _problem_order(arms: Mapping[str, ArmData], label: str) -> list[str]:
    """Problem ids in order of first appearance, over all arms."""
    seen: dict[str, None] = {}
    for data in arms.values():
        for rows in data.rows[label]:
            seen.update(dict.fromkeys(row.problem for row in rows))
    return list(seen)


def _scores(seeds: Sequence[Sequence[Row]], order: Sequence[str]) -> Float[np.ndarray, "seeds problems"] | None:
    """0/1 per seed and problem (sample 0), NaN where there is no row; None without rows."""
    return _per_problem(seeds, order, lambda row: float(row.correct))


def _per_problem(
    seeds: Sequence[Sequence[Row]], order: Sequence[str], value: Any
) -> Float[np.ndarray, "seeds problems"] | None:
    place = {problem: i for i, problem in enumerate(order)}
    table = np.full((len(seeds), len(order)), np.nan)
    for s, rows in enumerate(seeds):
        for row in rows:
            if row.sample == 0 and row.problem in place:
                table[s, place[row.problem]] = value(row)
    return table if table.size and not np.isnan(table).all() else None


def _first_of(methods: Mapping[str, Method], scores: Mapping[str, Any], wanted: str) -> Any:
    return next((scores[arm] for arm, method in methods.items() if type(method).__name__.lower() == wanted), None)


def _arm_summary(
    spec: Spec, arm: str, data: ArmData, scores: np.ndarray | None, order: Sequence[str]
) -> dict[str, Any]:
    label = spec.task_label
    rows = data.rows[label]
    first = data.statuses[0] if data.statuses else {}
    record = first.get("record") or {}
    accuracy = statistics.level(scores) if scores is not None else None
    traces = _per_problem(rows, order, lambda row: float(row.has_trace))
    valid = _per_problem(rows, order, lambda row: float(bool(row.trace_valid)))
    ended = _per_problem(rows, order, lambda row: float(row.finished))
    tokens = _per_problem(rows, order, lambda row: float(row.tokens))
    curves = _pass_at_k(rows, spec, valid_only=False), _pass_at_k(rows, spec, valid_only=True)
    seconds = [status["seconds"] for status in data.statuses if status.get("seconds")]
    return {
        "method": spec.arms[arm]["method"],
        "n": 0 if accuracy is None else accuracy.n,
        "seeds": len(rows),
        "status": data.state,
        "error": next((status["error"] for status in data.statuses if status.get("error")), None),
        "accuracy": None if accuracy is None else number(accuracy.value),
        "ci": None if accuracy is None or accuracy.ci is None else list(accuracy.ci),
        "seed_accuracies": None if scores is None else [number(float(row)) for row in np.nanmean(scores, axis=1)],
        "trace_rate": _level(traces),
        "valid_trace_rate": _level(valid),
        "finished_rate": _level(ended),
        "tokens_per_problem": None if tokens is None else statistics.mean(_per_column(tokens)).to_json(),
        "firings_per_problem": _mean_firings(rows),
        "pass_at_k": curves[0],
        "pass_at_k_valid_trace": curves[1],
        "kl": _mean_kl(data.metrics),
        "neutral_perplexity": _mean_of([entry.get("neutral_perplexity") for entry in data.metrics]),
        "repetition": _text_mean(rows, order, statistics.repetition),
        "compressed": _text_mean(rows, order, statistics.compressed),
        "off_target": {task: _level(_scores(data.rows[task], _ids(data.rows[task]))) for task in spec.off_target},
        "train": record.get("train"),
        "steering": record.get("steering"),
        "features": record.get("features"),
        "seconds": sum(seconds) if seconds else None,
    }


def _text_mean(
    seeds: Sequence[Sequence[Row]], order: Sequence[str], measure: Callable[[str], float | None]
) -> dict[str, Any] | None:
    """Mean over problems of a measure of completions, of those that are long enough for it."""

    def value(row: Row) -> float:
        found = measure(row.completion)
        return np.nan if found is None else found

    table = _per_problem(seeds, order, value)
    return None if table is None else statistics.mean(_per_column(table)).to_json()


def _ids(seeds: Sequence[Sequence[Row]]) -> list[str]:
    return list(dict.fromkeys(row.problem for rows in seeds for row in rows))


def _level(table: np.ndarray | None) -> dict[str, Any] | None:
    return None if table is None else statistics.level(table).to_json()


def _per_column(table: Float[np.ndarray, "seeds problems"]) -> Float[np.ndarray, " problems"]:
    """Mean over seeds of every problem that has a row."""
    present = ~np.isnan(table).all(axis=0)
    return np.asarray(np.nanmean(table[:, present], axis=0))


def _mean_firings(seeds: Sequence[Sequence[Row]]) -> float | None:
    counts = [row.firings for rows in seeds for row in rows if row.sample == 0]
    return float(np.mean(counts)) if counts else None


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _mean_kl(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """KL of the arm, averaged over its seeds; the interval is the first seed's when there is one, else over seeds."""
    found = [entry["kl"] for entry in metrics if entry.get("kl")]
    if not found:
        return None
    if len(found) == 1:
        return dict(found[0])
    return {
        text: {
            way: statistics.mean(np.array([kl[text][way]["value"] for kl in found])).to_json()
            for way in ("base_arm", "arm_base")
        }
        for text in ("task", "neutral")
    }


def _pass_at_k(seeds: Sequence[Sequence[Row]], spec: Spec, *, valid_only: bool) -> dict[str, Any] | None:
    """The curve over all samples at temperature 1, all seeds pooled per problem."""
    drawn: dict[str, list[bool]] = {}
    checked = False
    for rows in seeds:
        for row in rows:
            if row.sample > 0:
                checked = checked or row.trace_valid is not None
                right = row.correct and (not valid_only or bool(row.trace_valid))
                drawn.setdefault(row.problem, []).append(right)
    if not drawn or (valid_only and not checked):
        return None
    fewest = min(len(samples) for samples in drawn.values())
    table = np.array([samples[:fewest] for samples in drawn.values()])
    curve = statistics.pass_at_k_curve(table, [k for k in _KS if k <= fewest])
    return {str(k): estimate.to_json() for k, estimate in curve.items()}


def _guesser(spec: Spec) -> dict[str, float] | None:
    """pass@k of a uniform guesser over the answer space, for the same k."""
    space = build_task(spec.task, where="task").answer_space
    if space is None:
        return None
    return {str(k): statistics.guesser(space, k) for k in _KS if k <= max(1, spec.samples)}


def _ceilings(
    spec: Spec,
    methods: Mapping[str, Method],
    arms: Mapping[str, ArmData],
    scores: Mapping[str, np.ndarray | None],
    order: Sequence[str],
) -> list[dict[str, Any]]:
    """What could be reached: arms that are ceilings, and the base's pass@K."""
    found: list[dict[str, Any]] = []
    for arm, method in methods.items():
        table = scores[arm]
        if method.traits.ceiling is not None and table is not None:
            record = arms[arm].statuses[0].get("record") or {}
            found.append(
                {"kind": record.get("ceiling", method.traits.ceiling), "arm": arm, **statistics.level(table).to_json()}
            )
    for arm in spec.arms:
        curve = _pass_at_k(arms[arm].rows[spec.task_label], spec, valid_only=False) if _is_base(spec, arm) else None
        if curve:
            k = max(curve, key=int)
            found.append({"kind": "base_pass@k", "k": int(k), "arm": arm, **curve[k]})
    return found
