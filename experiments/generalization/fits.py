"""The dual-timescale model against plainer shapes, on every curve of a run: a table in Markdown.

python experiments/generalization/fits.py experiments/results/generalization/trajectories

dAIC: of the model over the best of the other shapes; below -2 the model explains the curve better for the parameters it
takes. Open: those of its four parameters that the checkpoints do not determine. Curves with fewer than six points have
no fit: the model has five parameters.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from elicit.analysis.resampling import bootstrap_curve
from elicit.analysis.timescale_fit import TimescaleFit, fit_timescales
from elicit.comparison.cell_state import count_test_problems
from elicit.comparison.run import Run, open_run
from elicit.comparison.spec import checkpoints
from elicit.comparison.summary import trajectories

_MODEL = "dual-timescale"


def rows(run: Run) -> Iterator[str]:
    """One row per model, arm and task that was followed over enough checkpoints."""
    yield "| model | arm | task | points | best shape (weight) | dAIC of the model | its regimes | misfit p | open |"
    yield "|---" * 9 + "|"
    for model in run.spec.models:
        spec = run.spec.for_model(model)
        arms, labels = run.arms(model), [spec.task_label, *spec.off_target]
        base = next(arms[arm] for arm, options in spec.arms.items() if options["method"] == "base")
        for arm in [arm for arm in arms if checkpoints.checkpoint_steps(spec.arms[arm])]:
            followed = trajectories.read_trainings(arms[arm], labels, run.folder)
            points = trajectories.list_common_points(followed) if followed else []
            for label in labels if len(points) > 5 else ():
                among = spec.trajectory_or_default.limit_problems(count_test_problems(spec, run.limit))
                _, right = trajectories.tabulate_correctness(followed, points, label, base.rows[label][0], among)
                found = bootstrap_curve(right, 0)
                fitted = fit_timescales(
                    points, found.curve.tolist(), right.shape[2], covariance=found.covariance, resamples=100
                )
                yield f"| `{model}` | {arm} | {label} | {len(points)} | " + " | ".join(_cells(fitted)) + " |"


def _cells(fitted: TimescaleFit) -> list[str]:
    best, others = fitted.scores[0], [score.aic for score in fitted.scores if score.name != _MODEL]
    mine = next(score.aic for score in fitted.scores if score.name == _MODEL)
    regimes = sorted(fitted.regimes.items(), key=lambda item: -item[1])
    return [
        f"{best.name} ({best.weight:.2f})",
        f"{mine - min(others):+.1f}",
        ", ".join(f"{name} {share:.2f}" for name, share in regimes if share >= 0.05),
        f"{fitted.misfit_p:.2f}",
        ", ".join(fitted.identifiability.undetermined) or "none",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    with open_run(parser.parse_args().folder) as run:
        print("\n".join(rows(run)))


if __name__ == "__main__":
    main()
