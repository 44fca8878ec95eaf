"""Policy x task -> rows, and what an arm does beside the task."""

from elicit.evaluation.evaluate import asked, evaluate, sample
from elicit.evaluation.probe import probe
from elicit.evaluation.side_effects import side_effects

__all__ = ["asked", "evaluate", "probe", "sample", "side_effects"]
