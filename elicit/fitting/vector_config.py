"""Hyper-parameters of training steering vectors: what `rl_steering`, its controls, and the vectors' start share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

from elicit.errors import ElicitError
from elicit.fitting.contrast_pairs import ContrastKind, check_contrast_templates
from elicit.fitting.option_checks import check_checkpoints, check_group, check_positions, check_positive
from elicit.fitting.reward_choice import check_reward, check_trainer_class
from elicit.fitting.rollout_cost import estimate_rollout_cost
from elicit.method import CostEstimate, TokenLengths


@dataclass(frozen=True)
class VectorTrainingConfig:
    """Hyper-parameters of training steering vectors, shared by a method and its controls."""

    reward: str = "verifier"
    """verifier; random, format_only or wrong_label (then the arm is a control); or a function, my_file.py:my_reward
    (see `elicit.fitting.reward_choice`)."""
    trainer_class: str | None = None
    """A subclass of TRL's GRPOTrainer, my_file.py:MyTrainer or my_package.module:MyTrainer; None: TRL's own."""

    start: Literal["noise", "mean", "feature"] = "noise"
    """noise: a random direction by seed. mean: a difference of means between two conditions. feature: the decoder row
    of an SAE feature."""
    strength: float | None = None
    """Length of each starting vector, in residual norms. None: 0.05 for noise, 0.25 for the others."""
    layers: tuple[int, ...] | None = None
    """One vector after each of these layers; None: after all but the last, whose output no other block reads (feature:
    only after the SAE's layer)."""
    positions: str = "first"
    """Positions at which vectors are added."""
    feature: str | None = None
    """The SAE feature to start from (`feature` only), as SAE/NUMBER, such as cued/L1/379. None: the feature whose mean
    activation differs most between the two conditions, in the SAE shipped for the model's last layer but one."""
    contrast: ContrastKind = "auto"
    """The two conditions (`mean`, and `feature` without a name)."""
    positive: str | None = None
    """Template of the positive condition (`contrast: templates` only), with {prompt}."""
    negative: str = "{prompt}"
    """Template of the negative condition (`contrast: templates` only)."""
    train_problems: int = 64
    """Train problems over which the difference is taken."""
    steps: int = 30
    """Training steps; with 0 the policy steers with the starting vectors."""
    problems: int = 8
    """Problems per step (all that the pilot keeps, if fewer)."""
    generations: int = 32
    """Answers sampled per problem. The rarer success is, the more are needed for one of them to be right."""
    learning_rate: float | None = None
    """Initial rate of each entry in residual norms; it falls linearly to 0. None: 0.1 / sqrt(d_model)."""
    pilot_problems: int = 256
    """Train problems in the pilot, which runs with the starting vectors."""
    pilot_samples: int = 16
    max_completion_length: int | None = None
    """Tokens of a sampled answer; None takes the task's own limit."""
    norm_limit: float = 20.0
    """Largest norm of all vectors together, in residual norms; beyond it, training has diverged."""
    rows: int | None = None
    """Most answers per pass; None: as many as fit into memory. Affects only rounding."""
    checkpointing: bool | None = None
    """Recompute activations in the backward pass: less memory, a third more time. None: if one answer needs it."""
    checkpoint_every: int = 20
    """Steps between the trainer's own checkpoints, from which a killed training resumes."""
    checkpoints: tuple[int, ...] = ()
    """Steps after which to keep a copy of what is trained (the policy's `checkpoints`). A training that ends early
    keeps those it reached; the record lists them."""

    name: ClassVar[str] = "rl_steering"

    def __post_init__(self) -> None:
        check_reward(self.name, self.reward)
        check_trainer_class(self.name, self.trainer_class)
        other = (
            "start",
            "layers",
            "positions",
            "feature",
            "contrast",
            "positive",
            "negative",
            "steps",
            "checkpointing",
            "checkpoints",
            "reward",
            "trainer_class",
        )
        check_positive(self.name, **{name: value for name, value in asdict(self).items() if name not in other})
        check_positive(self.name, steps=self.steps + 1)
        check_positions(self.name, self.positions)
        check_contrast_templates(self.name, self.contrast, self.positive, self.negative)
        if self.layers == ():
            raise ElicitError(f"{self.name}: layers is empty; name at least one, or leave it out.")
        if self.feature is not None and self.start != "feature":
            raise ElicitError(f"{self.name}: feature belongs to start: feature.")
        check_group(self.name, self.generations)
        check_checkpoints(self.name, self.checkpoints, steps=self.steps)

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        return estimate_rollout_cost(self, lengths, "adapter")
