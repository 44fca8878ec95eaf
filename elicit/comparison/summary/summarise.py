"""Summarise a run directory's rows and metrics as `summary.json`, the contract for other programs. No torch.

Every figure is recomputed from files, so `elicit verify` can check a printed summary against its rows. Modules:

    entries          one arm by itself: accuracy, rates, curves, KL, side effects, failed seeds
    samples          pass@k, majority votes, sharpening, expansion, crossover: from samples at temperature 1
    worked_traces    exact lower bounds of pass@k, from the probability of the worked solution
    budgets          costs of fitting and answering
    matched_compute  the base's majority vote at the same number of tokens
    budget_curves    what arms spent, and SFT at the same spending, in specs with budgets
    contrasts        paired differences (to SFT, base, parent), shares of the gap, leak
    trajectories     arms with checkpoints, over their training
    early_warning    predictions from gradients while arms trained, and their false alarms
    safety_tax       reasoning gained against refusal lost, in specs with a refusal task
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elicit import runs, statistics
from elicit.comparison.cell_state import count_test_problems
from elicit.comparison.problems import load_run_task
from elicit.comparison.reader import ArmData, capable_of, read_arms, read_run_spec
from elicit.comparison.spec import Spec
from elicit.comparison.summary import samples, score_tables
from elicit.comparison.summary.budget_curves import add_budget_curves
from elicit.comparison.summary.budgets import sum_inherited_costs
from elicit.comparison.summary.contrasts import (
    apply_holm_correction,
    compare_paired,
    compare_to_parent,
    compute_gap_recovered,
    compute_leak,
    correct_verdict_tests,
)
from elicit.comparison.summary.early_warning import add_warnings
from elicit.comparison.summary.entries import summarise_arm
from elicit.comparison.summary.matched_compute import compare_to_rivals
from elicit.comparison.summary.safety_tax import compute_asymmetries
from elicit.comparison.summary.samples import ArmSamples
from elicit.comparison.summary.trace_coverage import detect_trace_coverage
from elicit.comparison.summary.trajectories import summarise_trajectory
from elicit.comparison.summary.worked_traces import (
    average_trace_probabilities,
    settle_expansion,
    summarise_trace_probabilities,
)
from elicit.format_versions import CURRENT_VERSIONS, FORMAT_VERSION
from elicit.method import Method

Scores = Mapping[str, np.ndarray | None]


def summarise_run(run: Path) -> dict[str, Any]:
    """Compute the summary of a run directory from its rows and metrics alone."""
    spec, limit = read_run_spec(run)
    models: dict[str, Any] = {}
    for model in spec.models:
        model_spec = spec.for_model(model)
        arms, methods = read_arms(model_spec, run, model), model_spec.build_methods()
        task = _summarise_task(model_spec, limit, methods, arms, guesser=_guesser_pass_at_k(spec, run, model))
        base = arms.get(_find_base_arm(methods) or "")
        traces = {
            label: detect_trace_coverage(str(description["task"]), label, arms)
            for label, description in _task_descriptions(model_spec).items()
        }
        for arm, figures in task["arms"].items():
            figures["trajectory"] = summarise_trajectory(
                model_spec, arm, arms[arm], base, run, count_test_problems(model_spec, limit), traces
            )
        add_warnings(model_spec, task, arms, base, run)
        for arm, asymmetry in compute_asymmetries(model_spec, methods, arms, _find_base_arm(methods), run).items():
            task["arms"][arm]["asymmetry"] = asymmetry
        models[model] = {"capable": capable_of(model_spec, run, model), "tasks": {model_spec.task_label: task}}
    for model in models:
        for label, task in models[model]["tasks"].items():
            for arm, figures in task["arms"].items():
                figures["leak"] = compute_leak(models, model, label, arm)
        model_spec = spec.for_model(model)
        base_arm = _find_base_arm(model_spec.build_methods())
        for task in models[model]["tasks"].values():
            correct_verdict_tests(task["arms"], base_arm, model_spec.reference_arm)
    return {FORMAT_VERSION: CURRENT_VERSIONS["summary"], "limit": limit, "seeds": spec.seeds, "models": models}


def write_summary(run: Path) -> dict[str, Any]:
    summary = summarise_run(run)
    runs.write_json(run / "summary.json", summary)
    return summary


def _summarise_task(
    spec: Spec,
    limit: int | None,
    methods: Mapping[str, Method],
    arms: Mapping[str, ArmData],
    *,
    guesser: Mapping[str, float] | None,
) -> dict[str, Any]:
    label = spec.task_label
    order = score_tables.problem_order(arms, label)
    scores = {arm: score_tables.tabulate_scores(data.rows[label], order) for arm, data in arms.items()}
    samples_by_arm = {arm: samples.collect_samples(data.rows[label]) for arm, data in arms.items()}
    ceilings = _find_ceilings(spec, methods, arms, scores, samples_by_arm)
    traces = detect_trace_coverage(str(spec.task["task"]), label, arms)
    entries = {
        arm: summarise_arm(spec, arm, methods[arm], arms[arm], scores[arm], order, samples_by_arm[arm], traces)
        for arm in arms
    }
    _add_comparisons(spec, methods, entries, scores, ceilings)
    _add_sample_comparisons(
        spec, methods, entries, arms, scores, samples_by_arm, order, checkable=samples.has_checkable_traces(arms, label)
    )
    _add_off_target_comparisons(spec, methods, entries, arms)
    curves = add_budget_curves(spec, methods, entries, arms, scores, len(order)) if spec.budgets else None
    return {
        "n": len(order),
        **({"reference": spec.reference} if spec.reference is not None else {}),
        "samples": _describe_sampling(spec, limit),
        "guesser": guesser,
        "thinking": _find_thinking_switch(arms),
        "ceilings": ceilings,
        **({} if curves is None else {"budget_curves": curves}),
        "arms": entries,
    }


def _find_thinking_switch(arms: Mapping[str, ArmData]) -> dict[str, Any] | None:
    """State of the thinking switch of the model's chat template; None without one."""
    models = [status.get("model") or {} for data in arms.values() for status in data.finished]
    return next((model["thinking"] for model in models if "thinking" in model), None)


def _add_comparisons(
    spec: Spec,
    methods: Mapping[str, Method],
    entries: Mapping[str, dict[str, Any]],
    scores: Scores,
    ceilings: Sequence[Mapping[str, Any]],
) -> None:
    """Compare every arm's answers with those of the base, the SFT reference, its parent and the ceiling."""
    base = scores[name] if (name := _find_base_arm(methods)) else None
    by_arm = {ceiling["arm"]: ceiling for ceiling in ceilings if ceiling["kind"] != "base_pass@k"}
    top = next(iter(by_arm.values()), None)
    ceiling = scores.get(top["arm"]) if top else None
    floors = [arm for arm, method in methods.items() if method.traits.floor]
    for arm, figures in entries.items():
        method, arm_scores = methods[arm], scores[arm]
        figures |= compute_gap_recovered(None if arm in by_arm else arm_scores, base, ceiling, top)
        to_reference, to_base = arm != spec.reference_arm, not method.traits.untouched
        figures["vs_sft"] = (
            compare_paired(arm_scores, scores.get(spec.reference_arm), method, reference_trained=True)
            if to_reference
            else None
        )
        figures["vs_base"] = compare_paired(arm_scores, base, method, reference_trained=False) if to_base else None
        figures["vs_parent"] = compare_to_parent(arm, scores, methods)
        if floors and to_base and not method.traits.floor:
            figures["vs_floors"] = {
                floor: compare_paired(arm_scores, scores[floor], method, reference_trained=False) for floor in floors
            }


def _add_sample_comparisons(
    spec: Spec,
    methods: Mapping[str, Method],
    entries: Mapping[str, dict[str, Any]],
    arms: Mapping[str, ArmData],
    scores: Scores,
    samples_by_arm: Mapping[str, ArmSamples | None],
    order: Sequence[str],
    *,
    checkable: bool,
) -> None:
    """Compare every arm with the base's samples."""
    name = _find_base_arm(methods)
    sampled = samples_by_arm[name] if name else None
    base_traces = average_trace_probabilities(arms[name]) if name else {}
    budgets = {arm: figures["budget"] for arm, figures in entries.items()}
    for arm, figures in entries.items():
        budgets[arm] |= sum_inherited_costs(arm, methods, budgets)
        is_base = methods[arm].traits.untouched
        arm_samples, base = samples_by_arm[arm], None if is_base else sampled
        if (bounds := summarise_trace_probabilities(average_trace_probabilities(arms[arm]))) is not None:
            figures["pass_at_k_exact_trace"] = bounds
        figures["sharpening"] = samples.compute_sharpening(arm_samples, base, methods[arm])
        figures["expansion"] = samples.compute_expansion(arm_samples, base, checkable=checkable)
        if figures["expansion"] is not None and base is not None and base_traces:
            figures["expansion"] |= settle_expansion(figures["expansion"], base_traces, base.problems)
        figures["crossover_k"] = samples.find_crossover_k(arm_samples, base)
        rival = (name, base) if name is not None and base is not None else None
        figures |= compare_to_rivals(scores[arm], order, budgets[arm], methods[arm], rival)


def _add_off_target_comparisons(
    spec: Spec, methods: Mapping[str, Method], entries: Mapping[str, dict[str, Any]], arms: Mapping[str, ArmData]
) -> None:
    """Compare every arm with the base on the off-target tasks, paired."""
    name = _find_base_arm(methods)
    for figures in entries.values():
        figures["off_target_vs_base"] = {}
    for task in spec.off_target:
        order = score_tables.problem_order(arms, task)
        base = score_tables.tabulate_scores(arms[name].rows[task], order) if name else None
        for arm, figures in entries.items():
            arm_scores = (
                None if methods[arm].traits.untouched else score_tables.tabulate_scores(arms[arm].rows[task], order)
            )
            figures["off_target_vs_base"][task] = compare_paired(
                arm_scores, base, methods[arm], reference_trained=False
            )
        apply_holm_correction([[figures["off_target_vs_base"][task]] for figures in entries.values()])


def _task_descriptions(spec: Spec) -> dict[str, Mapping[str, Any]]:
    """Label -> description; the target task's last."""
    return {**spec.off_target, spec.task_label: spec.task}


def _find_base_arm(methods: Mapping[str, Method]) -> str | None:
    """Find the first arm that is the untouched base."""
    return next((arm for arm, method in methods.items() if method.traits.untouched), None)


def _describe_sampling(spec: Spec, limit: int | None) -> dict[str, int] | None:
    """Samples per problem and number of sampled problems."""
    return (
        {"n": spec.samples.n, "problems": spec.samples.limit_problems(count_test_problems(spec, limit))}
        if spec.samples.n
        else None
    )


def _guesser_pass_at_k(spec: Spec, run: Path, model: str) -> dict[str, float] | None:
    """pass@k of a uniform guesser over the answer space, for the same k."""
    model_spec = spec.for_model(model)
    space = load_run_task(spec, run, model, model_spec.task_label, None).answer_space
    if space is None:
        return None
    return {str(k): statistics.guesser_pass_at_k(space, k) for k in samples.KS if k <= max(1, model_spec.samples.n)}


def _find_ceilings(
    spec: Spec,
    methods: Mapping[str, Method],
    arms: Mapping[str, ArmData],
    scores: Scores,
    samples_by_arm: Mapping[str, ArmSamples | None],
) -> list[dict[str, Any]]:
    """Ceilings of the accuracy: arms that are ceilings, and the base's pass@K."""
    ceilings: list[dict[str, Any]] = []
    for arm, method in methods.items():
        table = scores[arm]
        if method.traits.ceiling is not None and table is not None:
            kind = arms[arm].record.get("ceiling", method.traits.ceiling)
            if kind is not None:  # the best prompt of an organism, whose cue is left out, is a floor alone
                ceilings.append({"kind": kind, "arm": arm, **statistics.estimate_accuracy(table).to_json()})
    for arm in spec.arms:
        curve = (
            samples.summarise_pass_at_k(samples_by_arm[arm], valid_only=False)
            if methods[arm].traits.untouched
            else None
        )
        if curve:
            k = max(curve, key=int)
            ceilings.append({"kind": "base_pass@k", "k": int(k), "arm": arm, **curve[k]})
    return ceilings
