"""Errors of a training: failures on the way, and checkpoints beyond its end. Imports no torch, for configs."""

from __future__ import annotations

from collections.abc import Collection

from elicit.errors import ElicitError


class TrainingFailed(ElicitError):
    """A training failed: names the step, the observation, and a remedy. Its cell fails; other cells continue."""


def check_generations(who: str, generations: int, processes: int) -> None:
    """Raise ElicitError unless the answers to a problem can be dealt equally to the processes of a training."""
    if generations % processes:
        whole = max(processes, generations - generations % processes)
        raise ElicitError(
            f"{who}: {generations} generations cannot be dealt equally to {processes} processes. Type "
            f"generations: {whole}, or a number of processes that divides {generations}."
        )


def check_within(who: str, checkpoints: Collection[int], end: int) -> None:
    """Raise ElicitError for checkpoints after the last step of a training."""
    if checkpoints and max(checkpoints) > end:
        raise ElicitError(
            f"{who}: a checkpoint after step {max(checkpoints)} was asked for, but this training has {end} steps. Ask "
            f"for steps up to {end}, or train for longer."
        )
