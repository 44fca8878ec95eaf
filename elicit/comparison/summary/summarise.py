"""Rows and metrics of a run directory -> `summary.json`, the contract for other programs. Imports no torch.

Every figure is recomputed from files, so `elicit verify` can check a printed summary against its rows. Which module
computes what:

    entries     one arm by itself: accuracy, rates, curves, KL, side effects, failed seeds
    samples     pass@k, majority votes, sharpening, expansion, crossover: from samples at temperature 1
    budgets     what fitting and answering cost
    rivals      the base's majority vote at the same tokens
    contrasts   paired differences (to SFT, base, parent), shares of the gap, leak
    trajectories  arms with checkpoints, over their training
    warnings    what gradients foretold while arms trained, and how often for nothing
    safety      reasoning gained against refusal lost, where a spec asks about refusal
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elicit import runs, statistics
from elicit.comparison.problems import run_task
from elicit.comparison.reader import ArmData, capable_of, read_arms, read_spec_of
from elicit.comparison.running.cell_runner import tested
from elicit.comparison.spec import Spec
from elicit.comparison.summary import samples, score_tables
from elicit.comparison.summary.budgets import inherited
from elicit.comparison.summary.contrasts import adjust, against, against_parent, gap, leak
from elicit.comparison.summary.early_warning import add_warnings
from elicit.comparison.summary.entries import entry
from elicit.comparison.summary.matched_compute import rivals
from elicit.comparison.summary.safety_tax import asymmetries
from elicit.comparison.summary.samples import Drawn
from elicit.comparison.summary.trace_coverage import seen
from elicit.comparison.summary.trajectories import trajectory
from elicit.method import Method

Scores = Mapping[str, np.ndarray | None]


def summarise(run: Path) -> dict[str, Any]:
    """The summary of a run directory, from its rows and metrics alone."""
    spec, limit = read_spec_of(run)
    models: dict[str, Any] = {}
    for model in spec.models:
        mine = spec.of(model)
        arms = read_arms(mine, run, model)
        task = _task_summary(mine, limit, mine.methods(), arms, guesser=_guesser(spec, run, model))
        base = arms.get(_base(mine) or "")
        traces = {label: seen(str(one["task"]), label, arms) for label, one in _tasks(mine).items()}
        for arm, figures in task["arms"].items():
            figures["trajectory"] = trajectory(mine, arm, arms[arm], base, run, tested(mine, limit), traces)
        add_warnings(mine, task, arms, base, run)
        for arm, found in asymmetries(mine, mine.methods(), arms, _base(mine), run).items():
            task["arms"][arm]["asymmetry"] = found
        models[model] = {"capable": capable_of(mine, run, model), "tasks": {mine.task_label: task}}
    for model in models:
        for label, task in models[model]["tasks"].items():
            for arm, figures in task["arms"].items():
                figures["leak"] = leak(models, model, label, arm)
    return {"limit": limit, "seeds": spec.seeds, "models": models}


def write_summary(run: Path) -> dict[str, Any]:
    summary = summarise(run)
    runs.write_json(run / "summary.json", summary)
    return summary


def _task_summary(
    spec: Spec,
    limit: int | None,
    methods: Mapping[str, Method],
    arms: Mapping[str, ArmData],
    *,
    guesser: Mapping[str, float] | None,
) -> dict[str, Any]:
    label = spec.task_label
    order = score_tables.problem_order(arms, label)
    scores = {arm: score_tables.scores(data.rows[label], order) for arm, data in arms.items()}
    drawn = {arm: samples.drawn(data.rows[label]) for arm, data in arms.items()}
    ceilings = _ceilings(spec, methods, arms, scores, drawn)
    traces = seen(str(spec.task["task"]), label, arms)
    entries = {arm: entry(spec, arm, methods[arm], arms[arm], scores[arm], order, drawn[arm], traces) for arm in arms}
    _compare(spec, methods, entries, scores, ceilings)
    _compare_samples(spec, methods, entries, scores, drawn, order, checkable=samples.checkable(arms, label))
    _compare_off_target(spec, methods, entries, arms)
    return {
        "n": len(order),
        "samples": _asked(spec, limit),
        "guesser": guesser,
        "thinking": _thinking(arms),
        "ceilings": ceilings,
        "arms": entries,
    }


def _thinking(arms: Mapping[str, ArmData]) -> dict[str, Any] | None:
    """How the switch for thinking of the model's chat template stood; None without one."""
    models = [status.get("model") or {} for data in arms.values() for status in data.finished]
    return next((model["thinking"] for model in models if "thinking" in model), None)


def _compare(
    spec: Spec,
    methods: Mapping[str, Method],
    entries: Mapping[str, dict[str, Any]],
    scores: Scores,
    ceilings: Sequence[Mapping[str, Any]],
) -> None:
    """Every arm's own answers against the base's, SFT's, its parent's and the ceiling's."""
    base = scores[name] if (name := _base(spec)) else None
    top = next((c for c in ceilings if c["kind"] != "base_pass@k"), None)
    ceiling = scores.get(top["arm"]) if top else None
    for arm, figures in entries.items():
        method, mine = methods[arm], scores[arm]
        figures |= gap(mine, base, ceiling, top, method)
        to_sft, to_base = arm != "sft", not _is_base(spec, arm)
        figures["vs_sft"] = against(mine, scores.get("sft"), method, reference_trained=True) if to_sft else None
        figures["vs_base"] = against(mine, base, method, reference_trained=False) if to_base else None
        figures["vs_parent"] = against_parent(arm, scores, methods)
    for key in ("vs_sft", "vs_base"):
        adjust([figures[key] for figures in entries.values()])


def _compare_samples(
    spec: Spec,
    methods: Mapping[str, Method],
    entries: Mapping[str, dict[str, Any]],
    scores: Scores,
    drawn: Mapping[str, Drawn | None],
    order: Sequence[str],
    *,
    checkable: bool,
) -> None:
    """Every arm against what the base does when it is sampled."""
    name = _base(spec)
    sampled = drawn[name] if name else None
    budgets = {arm: figures["budget"] for arm, figures in entries.items()}
    for arm, figures in entries.items():
        budgets[arm] |= inherited(arm, methods, budgets)
        is_base = _is_base(spec, arm)
        mine, base = drawn[arm], None if is_base else sampled
        figures["sharpening"] = samples.sharpening(mine, base, methods[arm])
        figures["expansion"] = samples.expansion(mine, base, checkable=checkable)
        figures["crossover_k"] = samples.crossover_k(mine, base)
        rival = (name, base) if name is not None and base is not None else None
        figures |= rivals(scores[arm], order, budgets[arm], methods[arm], rival)


def _compare_off_target(
    spec: Spec, methods: Mapping[str, Method], entries: Mapping[str, dict[str, Any]], arms: Mapping[str, ArmData]
) -> None:
    """What an arm does to other tasks: paired differences to the base."""
    name = _base(spec)
    for figures in entries.values():
        figures["off_target_vs_base"] = {}
    for task in spec.off_target:
        order = score_tables.problem_order(arms, task)
        base = score_tables.scores(arms[name].rows[task], order) if name else None
        for arm, figures in entries.items():
            mine = None if _is_base(spec, arm) else score_tables.scores(arms[arm].rows[task], order)
            figures["off_target_vs_base"][task] = against(mine, base, methods[arm], reference_trained=False)
        adjust([figures["off_target_vs_base"][task] for figures in entries.values()])


def _tasks(spec: Spec) -> dict[str, Mapping[str, Any]]:
    """Label -> description; the target task's last."""
    return {**spec.off_target, spec.task_label: spec.task}


def _base(spec: Spec) -> str | None:
    """The first arm that is the untouched base."""
    return next((arm for arm in spec.arms if _is_base(spec, arm)), None)


def _is_base(spec: Spec, arm: str) -> bool:
    return bool(spec.arms[arm]["method"] == "base")


def _asked(spec: Spec, limit: int | None) -> dict[str, int] | None:
    """Samples per problem, and of how many problems."""
    return {"n": spec.samples.n, "problems": spec.samples.among(tested(spec, limit))} if spec.samples.n else None


def _guesser(spec: Spec, run: Path, model: str) -> dict[str, float] | None:
    """pass@k of a uniform guesser over the answer space, for the same k."""
    mine = spec.of(model)
    space = run_task(spec, run, model, mine.task_label, None).answer_space
    if space is None:
        return None
    return {str(k): statistics.guesser(space, k) for k in samples.KS if k <= max(1, mine.samples.n)}


def _ceilings(
    spec: Spec,
    methods: Mapping[str, Method],
    arms: Mapping[str, ArmData],
    scores: Scores,
    drawn: Mapping[str, Drawn | None],
) -> list[dict[str, Any]]:
    """What could be reached: arms that are ceilings, and the base's pass@K."""
    found: list[dict[str, Any]] = []
    for arm, method in methods.items():
        table = scores[arm]
        if method.traits.ceiling is not None and table is not None:
            kind = arms[arm].record.get("ceiling", method.traits.ceiling)
            found.append({"kind": kind, "arm": arm, **statistics.level(table).to_json()})
    for arm in spec.arms:
        curve = samples.pass_at_k(drawn[arm], valid_only=False) if _is_base(spec, arm) else None
        if curve:
            k = max(curve, key=int)
            found.append({"kind": "base_pass@k", "k": int(k), "arm": arm, **curve[k]})
    return found
