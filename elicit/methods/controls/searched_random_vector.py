"""`searched_random_vector`: control of a steering arm. Random directions, given the parent's own search.

    h <- h + d * v / |v|        v ~ N(0, I), one for every direction that the parent tried

`random_vector` is one draw at the setting that the parent chose among many: chance has had a single try. Here every
setting of the parent's search is tried with a random direction in place of the parent's: the same layers, strengths,
positions and number of candidates, on the same select problems, chosen by the same rule, and the tokens of the search
are counted. d is the length of the parent's edit in that setting (`fitting.displacement`). One direction stands for one
of the parent's, at all its strengths; each seed draws others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from elicit import seeds
from elicit.method import Method, Traits

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from elicit.fitting.searched_settings import TriedSetting
    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.steering import Steering
    from elicit.tasks import Task


@dataclass(frozen=True)
class SearchedRandomVector(Method):
    """The best of as many random directions as the parent tried settings."""

    parent: str = "mean_steering"
    """The steering arm whose search is repeated."""

    traits: ClassVar[Traits] = Traits(
        seeded=True,
        provides=("direction",),
        fits_on=("direction",),
        label="random vectors given the same search",
        changes="direction",
        repeats_search=True,
    )

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.parent,)

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError if the parent did not search."""
        from elicit.fitting.searched_settings import read_tried_settings, repeat_search

        parent = needs[self.parent]
        settings = read_tried_settings("searched_random_vector", self.parent, parent)
        edits = [_draw_edits(base, task, parent, setting, seed) for setting in settings]
        return repeat_search(task, parent, settings, edits)


def _draw_edits(base: BaseModel, task: Task, parent: Policy, setting: TriedSetting, seed: int) -> tuple[Steering, ...]:
    """The setting's edits along random directions."""
    import torch

    from elicit.fitting.displacement import redirect_edits

    slots = setting.features or range(len(setting.edits))

    def draw_direction(i: int, layer: int) -> torch.Tensor:
        identity = ("searched random vector", seed, layer, slots[i])
        return torch.from_numpy(seeds.make_generator(*identity).standard_normal(base.d_model)).float()

    own = dataclasses.replace(parent, steering=setting.edits)
    return redirect_edits(base, task, own, draw_direction, f"searched random#{seed}")
