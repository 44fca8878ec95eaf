"""One page about a model before spending GPU hours: pitfalls, self-test, and accuracy by prompt and answer reader.

facts = examine_model(elicit.load("cued"))
spread = measure_spread(model, elicit.tasks.get("sums"), n=100)
"""

from elicit.doctor.facts import Fact, examine_model
from elicit.doctor.spread import Condition, ConditionResult, Spread, measure_spread

__all__ = ["Condition", "Fact", "ConditionResult", "Spread", "examine_model", "measure_spread"]
