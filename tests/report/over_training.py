"""Summaries with trajectories whose curves are known: answers drawn from planted curves, classified by the real code.

Nothing here trains. What the summary holds is what `elicit.analysis.curves` makes of the drawn answers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from elicit.analysis.curves import CurveClassification, classify_curve, measure_stopping_cost
from elicit.report.data.summary_view import read_panels
from elicit.report.trajectories import section
from elicit.report.trajectories.text import SHAPE_NAMES
from elicit.schema import Estimate
from elicit.seeds import make_generator
from tests.report.support import arm, estimate, summary, versus

STEPS = (0, 10, 20, 40, 80, 160, 320, 640)
#: Planted accuracies at those steps.
PLANTED = {
    "rises": (0.30, 0.36, 0.48, 0.66, 0.80, 0.88, 0.91, 0.92),
    "dips": (0.60, 0.52, 0.40, 0.38, 0.46, 0.58, 0.64, 0.66),
    "stays": (0.60, 0.44, 0.38, 0.36, 0.36, 0.37, 0.36, 0.37),
    "peaks": (0.60, 0.68, 0.77, 0.79, 0.70, 0.58, 0.51, 0.48),
    "flat": (0.50,) * 8,
}
LOSSES = (2.1, 1.2, 0.8, 0.55, 0.41, 0.45, 0.52, 0.61)


def answers(planted: tuple[float, ...], *, seeds: int, problems: int, label: str, name: str) -> np.ndarray:
    """Correctness [seed, checkpoint, problem]; a problem's luck is mostly its own, so checkpoints are correlated.

    The base's answers on a task are the same for every arm and seed.
    """
    own = make_generator("over training", label).random((1, 1, problems))
    rng = make_generator("over training", label, name)
    other = rng.random((seeds, len(planted), problems))
    luck = np.where(rng.random((seeds, len(planted), problems)) < 0.65, own, other)
    luck[:, 0] = own[:, 0]
    return (luck < np.array(planted)[None, :, None]).astype(float)


def plain(curve: CurveClassification) -> dict[str, Any]:
    """A classified curve as a summary holds it."""
    turn = curve.turn
    return {
        "shape": curve.shape,
        "probabilities": curve.probabilities,
        "flat_p": curve.flat_p,
        "misfit_p": curve.misfit_p,
        "turn": None if turn is None else {key: getattr(turn, key).to_json() for key in ("size", "step", "undone")},
        "danger": {"steps": list(curve.danger.steps), "probability": list(curve.danger.probability)},
        "note": curve.note,
    }


def followed(planted: str, *, label: str, seeds: int = 3, problems: int = 200, name: str = "") -> dict[str, Any]:
    """One task of a trajectory."""
    correct = answers(PLANTED[planted], seeds=seeds, problems=problems, label=label, name=name)
    curve = classify_curve(correct, STEPS)
    stop = measure_stopping_cost(correct, STEPS, np.array(LOSSES))
    rates = correct.mean(axis=(0, 2)).tolist()
    surge = [6 + 30 * math.exp(-((math.log(step + 1) - 3.4) ** 2)) * rates[1] for step in STEPS]
    return {
        "accuracy": [one.to_json() for one in curve.accuracy],
        "trace_rate": [estimate(min(1.0, 0.2 + 0.1 * i), None, problems) for i in range(len(STEPS))],
        "valid_trace_rate": [estimate(0.9 * rate, None, problems) for rate in rates],
        "finished_rate": [Estimate(1 - min(0.4, s / 100), problems, None).to_json() for s in surge],
        "answered_rate": [Estimate(1 - min(0.3, s / 200), problems, None).to_json() for s in surge],
        "tokens": [estimate(s, (s - 1, s + 1), problems) for s in surge],
        "loss": [None, *LOSSES[1:]],
        "token_accuracy": [1 - loss / 3 * rates[0] for loss in LOSSES],
        "entropy": [loss / 4 * rates[-1] for loss in LOSSES],
        "curve": plain(curve),
        "stopping": {"step": stop.step, "to_best": stop.to_best.to_json(), "to_end": stop.to_end.to_json()},
    }


def trajectory(*, seeds: int = 3, problems: int = 200, name: str = "", **tasks: str) -> dict[str, Any]:
    """An arm's `trajectory`: task -> which planted curve it follows, the target first."""
    return {
        "steps": list(STEPS),
        "tasks": {
            label: followed(planted, label=label, seeds=seeds, problems=problems, name=name)
            for label, planted in tasks.items()
        },
        "kl": [0.0, *(0.05 * i**1.5 for i in range(1, len(STEPS)))],
    }


def trained(accuracy: float, **changes: Any) -> dict[str, Any]:
    """A trained arm's entry with its trajectory."""
    return arm(accuracy, method="sft", seeds=3, train={"flops": 1e9, "tokens": 100, "labels": 16}, **changes)


def over_training(**arms: dict[str, Any]) -> dict[str, Any]:
    """A summary whose arms (`__` stands for `/`) have these trajectories; `sft` among them replaces the usual one."""
    entries = {name: trained(0.6, trajectory=found) for name, found in arms.items()}
    made = summary()
    known = made["models"]["m"]["tasks"]["addition"]["arms"]
    for name, entry in entries.items():
        known[name.replace("__", "/")] = entry
    return made


def papers(seeds: int = 3) -> dict[str, Any]:
    """The shapes that papers report, side by side: SFT that dips and recovers, controls that do not."""
    return over_training(
        sft=trajectory(addition="rises", mod_chain="dips", copying="flat", seeds=seeds),
        sft__shuffled=trajectory(addition="rises", mod_chain="stays", copying="flat", seeds=seeds, name="b"),
        grpo=trajectory(addition="rises", mod_chain="peaks", copying="flat", seeds=seeds, name="c"),
    )


def watched(*, seeds: int = 3, shape: str = "dip-recover", **changes: Any) -> dict[str, Any]:
    """An arm's `warning`: a loss that rises to step 40 and falls again, foretold a little too low."""
    looks = list(range(0, 641, 2))
    loss = [1.5 + 0.4 * (math.exp(-step / 400) - math.exp(-step / 20)) for step in looks]
    dips = shape.startswith("dip")
    lead = estimate(18.0, (5.0, 31.0), seeds) if dips else None
    task = {
        "loss": loss,
        "token_accuracy": [0.7] * len(looks),
        "cosine": [0.3 * math.tanh((step - 34) / 30) for step in looks],
        "integral": [0.9 * (one - loss[0]) for one in loss],
        "trapezoid": [one - loss[0] for one in loss],
        "explained": {"integral": 0.87, "trapezoid": 0.99},
        "shape": shape,
        "dips": dips,
        "trough": estimate(40.0, (20.0, 80.0), 200) if dips else None,
        "bracket": [20, 80] if dips else None,
        "crossing": {"steps": [62, 66, None][:seeds], "loss_peak": [64] * seeds, "lead": estimate(-24.0, None, 1)},
        "signals": {"gradient": {"threshold": 0.02, "unit": "nats/token", "alarm": [22] * seeds, "lead": lead}},
    }
    record = {"seeds": seeds, "every": 2, "problems": 16, "seconds": 3.0, "share": 0.124, "steps": looks}
    return {
        **record,
        "in": {"loss": loss, "token_accuracy": [0.9] * len(looks)},
        "tasks": {"mod_chain": task | changes},
    }


def pooled() -> dict[str, Any]:
    """A task's `warning`: what every signal was worth."""
    one = {"hits": estimate(2 / 3, (0.09, 0.99), 3), "false": estimate(0.0, (0.0, 0.71), 3), "late": 1}
    one |= {"lead": estimate(18.0, (5.0, 31.0), 3), "auc": estimate(0.89, None, 9), "unit": "nats/token"}
    signals = {name: {**one, "threshold": 0.02} for name in ("gradient", "loss", "length")}
    return {"dips": ["sft:mod_chain"], "calm": ["sft:copying"], "declines": [], "signals": signals}


def by_hand(shape: str, probability: float, **changes: Any) -> dict[str, Any]:
    """One arm on two tasks; on `other` its curve is said to have this shape."""
    rest = (1 - probability) / 2
    shares = dict.fromkeys(SHAPE_NAMES, 0.0) | {"monotone-up": rest, "dip-only": rest, shape: probability}
    turning = {"size": estimate(0.062, (0.031, 0.094)), "step": estimate(40.0, (20.0, 80.0))}
    curve = {"shape": shape, "probabilities": shares, "flat_p": 0.003, "misfit_p": 0.4, "note": ""}
    curve |= {"turn": {**turning, "undone": estimate(0.101, (0.05, 0.15))}, "danger": {"steps": [10, 20, 40]}}
    curve |= changes
    if shape not in ("dip-recover", "dip-only", "peak-decline"):
        curve["turn"] = None
    task = {"accuracy": [estimate(0.3 + 0.01 * i, (0.2, 0.5)) for i in range(len(STEPS))], "curve": curve}
    stopping = {"step": 80, "to_best": estimate(0.062, (0.03, 0.091)), "to_end": versus(-0.02, 0.05)}
    tasks = {"addition": {**task, "stopping": None}, "other": {**task, "stopping": stopping}}
    return over_training(sft={"steps": list(STEPS), "seeds": 3, "tasks": tasks, "kl": None})


def arms_of(given: dict[str, Any]) -> dict[str, Any]:
    return dict(given["models"]["m"]["tasks"]["addition"]["arms"])


def followed_at(given: dict[str, Any], arm: str = "sft") -> dict[str, Any]:
    """Task -> what an arm's trajectory holds of it."""
    tasks: dict[str, Any] = arms_of(given)[arm]["trajectory"]["tasks"]
    return tasks


def drawn(given: dict[str, Any]) -> str:
    (panel,) = read_panels(given)
    return section.render_trajectories(panel)


def at(given: dict[str, Any], arm: str, key: str) -> Any:
    """What the summary holds where a figure on the page points to."""
    found: Any = arms_of(given)[arm]
    for part in key.split("."):
        found = found[int(part)] if isinstance(found, list) else found[part]
    if isinstance(found, dict):
        return found["difference"] if "difference" in found else found["value"]
    return found
