"""A fitted policy as the second model, which runs along with the base."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elicit.errors import ElicitError

if TYPE_CHECKING:
    from elicit.policy import Policy
    from elicit.readouts import SecondModel


def build_second_model(method: str, arm: str, policy: Policy) -> SecondModel:
    """Build a second model from the weights and edits of an arm's policy.

    Raises:
        ElicitError: the policy has more than that (a prompt, a search, a readout), or is the untouched base.
    """
    from elicit.policy import Prompting
    from elicit.readouts import SecondModel

    if policy.prompting != Prompting() or not policy.has_distribution:
        raise ElicitError(
            f"{method}: arm {arm!r} has a prompt, search or readout of its own, which cannot run token by token "
            "along with the base. Name an arm that trains or steers, such as sft or grpo."
        )
    if policy.weights is None and not policy.steering:
        raise ElicitError(f"{method}: arm {arm!r} is the base itself. Name an arm that trains or steers.")
    return SecondModel(weights=policy.weights, steering=policy.steering)
