"""A fitted policy as the model that runs beside the base."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elicit.errors import ElicitError

if TYPE_CHECKING:
    from elicit.policy import Policy
    from elicit.readouts import SecondModel


def build_second_model(method: str, arm: str, policy: Policy) -> SecondModel:
    """The weights and edits of an arm's policy.

    Raises:
        ElicitError: a policy that is more than that (a prompt, a search, a readout), or nothing but the base.
    """
    from elicit.policy import Prompting
    from elicit.readouts import SecondModel

    if policy.prompting != Prompting() or not policy.has_distribution:
        raise ElicitError(
            f"{method}: arm {arm!r} prompts, searches or reads out in its own way, which cannot run token by token "
            "beside the base. Name an arm that trains or steers, such as sft or grpo."
        )
    if policy.weights is None and not policy.steering:
        raise ElicitError(f"{method}: arm {arm!r} is the base itself. Name an arm that trains or steers.")
    return SecondModel(weights=policy.weights, steering=policy.steering)
