"""`edit`: a Python function of the residual.

At the output of a decoder block:

    h <- h + strength * (f(h) - h)

    # my_edit.py
    def halve_the_mean(h):          # float32 [token, d_model], one row a token
        return h - 0.5 * h.mean(-1, keepdim=True)

f gets the residuals at the arm's positions and returns them edited (`steering.function_edit`). A saved policy has the
code's place and hash: it is refused where the file has changed. Several layers or strengths are tried on the select
split: the highest accuracy wins; among equals the smaller strength (`ties`), then the earlier layer. The test split is
not touched. A vLLM engine does not run such an arm: it runs on transformers.

Controls: `random_vector` and `covariance_vector` add a direction as long as the change that the function makes,
measured on train prompts; `searched_random_vector` where several settings were tried; `same_vector` runs the function
at other positions, or reversed. Controls by features are refused: it has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.fitting.option_checks import check_positions, check_positive
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.fitting.steering_choice import Setting
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class FunctionSteering(Method):
    """A function that edits residuals."""

    function: str
    """The function: my_file.py:my_function or my_package.module:my_function."""
    layer: int | None = None
    """The layer whose output is edited."""
    layers: tuple[int, ...] | None = None
    """Layers to try instead."""
    positions: str = "first"
    """Positions of the edit."""
    strength: float = 1.0
    """Factor on the function's change."""
    strengths: tuple[float, ...] | None = None
    """Factors to try instead."""
    ties: Literal["smallest", "largest"] = "smallest"
    """Strength that is taken among settings that do equally well on select."""
    select_problems: int = 64
    """Problems on which layer and strength are chosen, where there are several."""

    traits: ClassVar[Traits] = Traits(family="steering", provides=("direction",))

    def __post_init__(self) -> None:
        check_positions("edit", self.positions)
        check_positive("edit", select_problems=self.select_problems)
        if (self.layer is None) == (self.layers is None):
            raise ElicitError("edit: give a layer (layer: 12), or several to try (layers: [8, 12]).")
        if () in (self.layers, self.strengths):
            raise ElicitError("edit: layers and strengths need at least one value.")
        if self.strengths is not None and self.strength != 1.0:
            raise ElicitError("edit: give strength or strengths, not both.")
        if 0 in (self.strengths or (self.strength,)):
            raise ElicitError("edit: strength is 0, which edits nothing. The untouched model is the arm base.")

    @property
    def _settings(self) -> list[tuple[int, float]]:
        """(layer, strength) of every setting."""
        layers = self.layers or (() if self.layer is None else (self.layer,))
        return [(layer, strength) for layer in layers for strength in self.strengths or (self.strength,)]

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        trials = len(self._settings) * self.select_problems
        obstacle = "a Python function edits the residual"
        fitting = Generation(
            trials, lengths.mixed_answer, trials, lengths.prompt, self.select_problems, obstacle=obstacle
        )
        return CostEstimate(
            Generation(1, lengths.mixed_answer, 1, lengths.prompt, obstacle=obstacle),
            (fitting,) if len(self._settings) > 1 else (),
        )

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for code that cannot be imported or does not edit each token by itself."""
        from elicit import plugins
        from elicit.fitting.steering_choice import choose_edits
        from elicit.loading import architectures
        from elicit.steering.function_edit import FunctionEdit

        for layer, _ in self._settings:
            architectures.check_layer(base.hf, layer)
        if len(self._settings) > 1:
            task.problems("select", self.select_problems)  # their number is checked before anything is measured
        reference = plugins.absolute_reference(self.function)
        sha256 = plugins.source_sha256(reference)
        name = reference.rpartition(":")[2]
        settings: list[Setting] = [
            ((FunctionEdit(reference, sha256, base.d_model, layer, strength, self.positions, name),), {})
            for layer, strength in self._settings
        ]
        return choose_edits(
            base,
            task,
            settings,
            n=self.select_problems,
            ties=self.ties,
            dose="strength",
            record={"source": {"function": name, "sha256": sha256}},
        )
