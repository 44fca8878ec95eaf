"""Scorers of one's own: a function of both conditions' figures that returns one score a feature.

    # my_scorer.py
    def score(positive, negative):          # larger: more of the positive condition
        return (positive.mean - negative.mean) / (positive.density + negative.density + 1e-3)

It is given to `discover(scorers=[score])`, or named `my_scorer.py:score` there and in `sae_steering`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from elicit import plugins
from elicit.errors import ElicitError
from saes.discovery.sample import Row
from saes.sae import SAE


@dataclass(frozen=True)
class ConditionFigures:
    """Activations of one condition, as a scorer gets them."""

    name: str
    mean: Float64[np.ndarray, " d_sae"]
    """Mean activation over the condition's tokens."""
    density: Float64[np.ndarray, " d_sae"]
    """Share of tokens on which a feature is active."""
    tokens: int
    rows: Sequence[Row] = field(default=(), repr=False)
    """A seeded sample of tokens, with their active features."""

    def sample_activations(self) -> Float64[np.ndarray, "token d_sae"]:
        """The sampled tokens' activations, zeros included (2,048 tokens by default: 0.5 GB for 32,768 features)."""
        dense = np.zeros((len(self.rows), len(self.mean)))
        for i, row in enumerate(self.rows):
            dense[i, row.feature] = row.value
        return dense


Scorer = Callable[[ConditionFigures, ConditionFigures], Float64[np.ndarray, " d_sae"]]


def name_scorer(scorer: str | Scorer) -> str:
    """The column of a scorer: its name; of a function, or a reference to one, the function's."""
    if callable(scorer):
        return str(getattr(scorer, "__name__", type(scorer).__name__))
    reference = plugins.parse_reference(scorer)
    return scorer if reference is None else reference.name


def find_function_scorers(scorers: Sequence[str | Scorer] | None) -> dict[str, Scorer]:
    """The scorers that are functions, or references to them, by column.

    Raises:
        ElicitError: one text instead of a list, code that cannot be imported, or two functions of one name.
    """
    if isinstance(scorers, str):
        raise ElicitError(f"saes.discover: scorers is {scorers!r}; expected a list, such as [{scorers!r}].")
    functions: dict[str, Scorer] = {}
    for scorer in scorers or ():
        name = name_scorer(scorer)
        if isinstance(scorer, str) and plugins.parse_reference(scorer) is None:
            continue
        function = plugins.load_reference(scorer) if isinstance(scorer, str) else scorer
        if not callable(function):
            raise ElicitError(f"saes.discover: {scorer} is {type(function).__name__}; expected a function.")
        if name in functions:
            raise ElicitError(f"saes.discover: two scorers are called {name!r}. Rename one: it names a column.")
        functions[name] = function
    return functions


def compute_function_score(
    name: str, scorer: Scorer, positive: ConditionFigures, negative: ConditionFigures, sae: SAE
) -> Float64[np.ndarray, " d_sae"]:
    """Call a scorer. Raises ElicitError if it fails, or does not return one finite number a feature."""
    try:
        scores = np.asarray(scorer(positive, negative), dtype=np.float64)
    except Exception as error:
        raise ElicitError(f"saes.discover: scorer {name!r} failed: {type(error).__name__}: {error}") from error
    if scores.shape != (sae.d_sae,) or not np.isfinite(scores).all():
        raise ElicitError(
            f"saes.discover: scorer {name!r} returned shape {list(scores.shape)}; expected {sae.d_sae} finite numbers, "
            "one a feature."
        )
    return scores
