"""One page about a model before anyone spends GPU hours: traps, self-test, and accuracy by prompt and reading.

page = examine(elicit.load("cued"))
spread = measure_spread(model, elicit.tasks.get("sums"), n=100)
"""

from elicit.doctor.facts import Fact, examine_model
from elicit.doctor.spread import Condition, ConditionResult, Spread, measure_spread

__all__ = ["Condition", "Fact", "ConditionResult", "Spread", "examine_model", "measure_spread"]
