"""How a training ends that a person should hear about, and one that should not begin. Torch-free, for configs."""

from __future__ import annotations

from collections.abc import Collection

from elicit.errors import ElicitError


class TrainingFailed(ElicitError):
    """A training went wrong: the step, what was seen, and what to try. Its cell fails; the others go on."""


def check_within(who: str, checkpoints: Collection[int], end: int) -> None:
    """Raises ElicitError for checkpoints after steps that a training does not have."""
    if checkpoints and max(checkpoints) > end:
        raise ElicitError(
            f"{who}: a checkpoint after step {max(checkpoints)} was asked for, but this training has {end} steps. Ask "
            f"for steps up to {end}, or train for longer."
        )
