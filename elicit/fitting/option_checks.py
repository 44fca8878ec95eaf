"""Checks of options that several configs share. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from elicit.errors import ElicitError
from elicit.positions import parse_expression
from elicit.training.failures import check_within

if TYPE_CHECKING:
    from elicit.policy import Policy


def check_positions(method: str, text: str) -> None:
    """Raise ElicitError unless `text` is a position form (`elicit.positions.grammar` defines them)."""
    try:
        parse_expression(text)
    except ElicitError as error:
        raise ElicitError(f"{method}: {error}") from None


def check_positive(method: str, **values: float | None) -> None:
    """Raise ElicitError unless every value is above 0 (None passes)."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ElicitError(f"{method}: {name} is {value}; expected a number above 0.")


def check_checkpoints(method: str, checkpoints: Sequence[int], *, steps: int | None = None) -> None:
    """Raise ElicitError unless these are steps in ascending order.

    Args:
        steps: number of training steps, if the configuration gives it.
    """
    values = list(checkpoints)
    if values != sorted(set(values)) or any(step < 1 for step in values):
        raise ElicitError(f"{method}: checkpoints is {values}; expected steps from 1 on, in ascending order.")
    if steps is not None:
        check_within(method, values, steps)


def check_adapter(
    method: str, parameters: str, lora_rank: int | None, *, alpha: float | None = None, dropout: float = 0.0
) -> None:
    """Raise ElicitError for a LoRA adapter on parameters that cannot carry one, or with invalid numbers."""
    check_positive(method, lora_rank=lora_rank, lora_alpha=alpha)
    if not 0 <= dropout < 1:
        raise ElicitError(f"{method}: lora_dropout is {dropout}; expected 0 to below 1.")
    if lora_rank is None and (alpha is not None or dropout):
        raise ElicitError(f"{method}: lora_alpha and lora_dropout belong to an adapter. Give lora_rank too.")
    if lora_rank is not None and parameters == "embeddings":
        raise ElicitError(f"{method}: a LoRA adapter cannot be put on embeddings. Leave lora_rank out, or name others.")


def check_group(method: str, generations: int) -> None:
    """Raise ElicitError unless groups have at least two answers, which can be compared with each other."""
    if generations < 2:
        raise ElicitError(
            f"{method}: generations is {generations}; an answer is judged against the others of its group, so expected "
            "at least 2."
        )


def check_steers(method: str, parent: str, policy: Policy) -> None:
    """Raise ElicitError if a control's parent does not steer: the control would silently be the untouched base."""
    if not policy.steering:
        raise ElicitError(f"{method}: its parent {parent!r} does not steer. Name a steering arm as parent.")
