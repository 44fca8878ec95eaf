"""The reward of a training by reinforcement: the task's verifier, one of three that say nothing of it, or your own.

    reward: verifier               # 1 for a right answer, else 0
    reward: random                 # a fair coin (2506.10947): what it gains, the verifier did not bring about
    reward: format_only            # 1 for the form of a worked solution, right or wrong (2504.20571)
    reward: wrong_label            # 1 for the wrong answer that the untrained model gave most often (after 2506.10947)
    reward: my_file.py:my_reward   # or my_package.module:my_reward

A function of your own has the signature of TRL's reward functions: lists in, one number per completion out.

    def my_reward(completions, prompts, problem, correct, **kwargs):
        return [float(right) - 0.001 * len(text) for right, text in zip(correct, completions)]

It is called by keyword with `prompts` and `completions` (texts), `problem` (`elicit.tasks.Problem`, with its `answer`),
`correct` (the verifier's judgement), `finished` (ended by itself, not cut) and `step` (of training, from 0), for all
answers of a step at once: those to one problem follow each other. It must be repeatable: a run that is killed calls it
again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit.errors import ElicitError, unknown_name_error
from elicit.plugins import load_reference, parse_reference, source_sha256

if TYPE_CHECKING:
    from elicit.tasks import Task
    from elicit.training.pilot import PilotResult
    from elicit.training.rewards import BatchReward, Reward

VERIFIER = "verifier"
#: Rewards that the verifier is compared with -> words for an arm that trains on one.
CONTROL_REWARDS = {
    "random": "a random reward",
    "format_only": "a reward for the form alone",
    "wrong_label": "a reward for wrong answers",
}


def check_reward(method: str, reward: str) -> None:
    """Raises ElicitError for a reward that is neither a name nor a reference."""
    if reward not in (VERIFIER, *CONTROL_REWARDS) and parse_reference(reward) is None:
        hint = "Or name a function: my_file.py:my_reward"
        raise unknown_name_error("reward", reward, (VERIFIER, *CONTROL_REWARDS), where=method, hint=hint)


def check_trainer_class(method: str, trainer_class: str | None) -> None:
    """Raises ElicitError for text that is not a reference."""
    if trainer_class is not None and parse_reference(trainer_class) is None:
        raise ElicitError(
            f"{method}: trainer_class is {trainer_class!r}; expected a subclass of TRL's GRPOTrainer, named as "
            "my_file.py:MyTrainer or my_package.module:MyTrainer"
        )


def describe_reward(method: str, reward: str) -> dict[str, Any]:
    """The traits that a reward changes: without the verifier an arm is a control of the same method."""
    if reward == VERIFIER:
        return {}
    return {
        "is_control": reward in CONTROL_REWARDS,
        "control_of": method,
        "varies": ("reward",),
        "label": CONTROL_REWARDS.get(reward, f"the reward {reward.rpartition(':')[2]}"),
        "changes": "reward",
    }


def build_reward(reward: str, task: Task, seed: int, pilot_result: PilotResult) -> Reward | BatchReward:
    """The reward behind its name.

    Raises:
        ElicitError: a function that is not there or cannot be called.
    """
    from elicit.training import rewards

    if reward == VERIFIER:
        return rewards.make_verifier_reward(task)
    if reward == "random":
        return rewards.make_random_reward(seed)
    if reward == "format_only":
        return rewards.make_format_reward(task)
    if reward == "wrong_label":
        return rewards.make_label_reward(task, pilot_result.wrong)
    return rewards.BatchReward(reward, load_reward_function(reward), task)


def load_reward_function(reference: str) -> Any:
    """The function of `my_file.py:my_reward`.

    Raises:
        ElicitError: no such file or name, or something that cannot be called.
    """
    function = load_reference(reference)
    if not callable(function):
        raise ElicitError(f"reward {reference}: expected a function, found {type(function).__name__}.")
    return function


def load_trainer_class(reference: str | None) -> Any:
    """The class of `my_file.py:MyTrainer`; TRL's own trainer for None.

    Raises:
        ElicitError: no such file or name, or something else than a subclass of TRL's GRPOTrainer.
    """
    from trl import GRPOTrainer

    if reference is None:
        return GRPOTrainer
    trainer_class = load_reference(reference)
    if not isinstance(trainer_class, type) or not issubclass(trainer_class, GRPOTrainer):
        raise ElicitError(f"trainer_class {reference}: expected a subclass of TRL's GRPOTrainer.")
    return trainer_class


def check_code(reward: str, trainer_class: str | None) -> None:
    """Raises ElicitError, before anything is sampled, for a reward function or a trainer that cannot be loaded."""
    if parse_reference(reward) is not None:
        load_reward_function(reward)
    if trainer_class is not None:
        load_trainer_class(trainer_class)


def identify_code(reward: str, trainer_class: str | None) -> list[str]:
    """Source hashes of what comes from outside, for the identity of a training; empty for what is built in."""
    references = [text for text in (reward, trainer_class) if text is not None and parse_reference(text) is not None]
    return [f"{Path(text).name} {source_sha256(text)}" for text in references]
