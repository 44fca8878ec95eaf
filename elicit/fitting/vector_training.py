"""What RL-trained steering and its controls share: where vectors start, how they are trained, what they become.

Vectors are measured in median residual norms of their layer, so that a learning rate means the same at every layer and
in every model: with Adam, a step moves each entry by about the learning rate, a vector by at most
`learning_rate * sqrt(d_model)` residual norms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elicit.context import check_room
from elicit.errors import ElicitError
from elicit.fitting.contrast_pairs import Contrast, check_templates
from elicit.fitting.option_checks import check_checkpoints, check_group, check_positions, check_positive
from elicit.fitting.rlvr import Rewarding, cost, reached
from elicit.fitting.vector_init import Start, edits, starting, trained_edits
from elicit.method import Demand, Draws, Lengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.sampling import Engine
    from elicit.steering import Edit, Steering
    from elicit.tasks import Problem, Task
    from elicit.training.pilot import Pilot

#: Largest change of a vector per step, in residual norms, if no learning rate is given.
_PACE = 0.1


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training. One set serves a method and its controls."""

    start: Literal["noise", "mean", "feature"] = "noise"
    """noise: a random direction by seed. mean: a difference of means between two conditions. feature: the decoder row
    of an SAE feature."""
    strength: float | None = None
    """Length of each starting vector, in residual norms. None: 0.05 for noise, 0.25 for the others."""
    layers: tuple[int, ...] | None = None
    """One vector after each of these layers; None: after all but the last, whose output no other block reads (feature:
    after the SAE's layer alone)."""
    positions: str = "first"
    """Where vectors are added."""
    feature: str | None = None
    """The SAE feature to start from (`feature` only), as SAE/NUMBER, such as cued/L1/379. None: of the SAE shipped for
    the model's last layer but one, the feature whose mean activation differs most between the two conditions."""
    contrast: Contrast = "auto"
    """The two conditions (`mean`, and `feature` without a name)."""
    positive: str | None = None
    """Template of the positive condition (`contrast: templates` only), with {prompt}."""
    negative: str = "{prompt}"
    """Template of the negative condition (`contrast: templates` only)."""
    train_problems: int = 64
    """Train problems the difference is taken over."""
    steps: int = 30
    """0 trains nothing: the policy steers with the starting vectors."""
    problems: int = 8
    """Problems per step (all that the pilot kept, if fewer)."""
    generations: int = 32
    """Answers sampled to each of them. The rarer success is, the more are needed for one of them to be right."""
    learning_rate: float | None = None
    """First rate of each entry in residual norms; it falls linearly to 0. None: 0.1 / sqrt(d_model)."""
    pilot_problems: int = 256
    """Train problems that the difficulty filter looks at, under the starting vectors."""
    pilot_samples: int = 16
    max_completion_length: int | None = None
    """Tokens of a sampled answer; None takes the task's own limit."""
    norm_limit: float = 20.0
    """Residual norms that all vectors together may reach: beyond, training has diverged."""
    rows: int | None = None
    """Most answers per pass; None: as many as fit into memory. It changes rounding, and nothing else."""
    checkpointing: bool | None = None
    """Recompute activations in the backward pass: less memory, a third more time. None: where one answer needs it."""
    checkpoint_every: int = 20
    """Steps between the trainer's own checkpoints, from which a killed training goes on."""
    checkpoints: tuple[int, ...] = ()
    """Steps after which to keep a copy of what is trained (the policy's `checkpoints`). A training that ends early
    keeps those it came to; the record says which."""

    name: ClassVar[str] = "rl_steering"
    traits: ClassVar[Traits] = Traits(seeded=True, trained=True)

    def __post_init__(self) -> None:
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
        )
        check_positive(self.name, **{name: value for name, value in asdict(self).items() if name not in other})
        check_positive(self.name, steps=self.steps + 1)
        check_positions(self.name, self.positions)
        check_templates(self.name, self.contrast, self.positive, self.negative)
        if self.layers == ():
            raise ElicitError(f"{self.name}: layers is empty; name at least one, or leave it out.")
        if self.feature is not None and self.start != "feature":
            raise ElicitError(f"{self.name}: feature belongs to start: feature.")
        check_group(self.name, self.generations)
        check_checkpoints(self.name, self.checkpoints, steps=self.steps)

    def demand(self, lengths: Lengths) -> Demand:
        """If the pilot keeps enough problems for every step."""
        most = self.max_completion_length or lengths.limit
        length = min(lengths.between, most)
        pilot, rollouts = self.pilot_problems * self.pilot_samples, self.steps * self.problems * self.generations
        return Demand(
            Draws(1, lengths.thought, 1, lengths.prompt),
            (
                Draws(pilot, min(lengths.plain, most), self.pilot_problems, lengths.prompt, 256),
                Draws(rollouts, length, self.steps * self.problems, lengths.prompt, self.problems * self.generations),
            ),
            trained=rollouts * (lengths.prompt + length),
            training="adapter",
        )

    @property
    def needs(self) -> tuple[str, ...]:
        return ()


def reinforce(
    recipe: Recipe, rewarding: Rewarding, base: BaseModel, task: Task, *, seed: int, scratch: Path | None
) -> Policy:
    """The steering that training on a reward makes of the starting vectors.

    Raises:
        TrainingFailed: see `elicit.training.guards`; vectors that grew beyond `norm_limit`.
        ElicitError: see `starting`.
    """
    import torch

    from elicit.adapters import sharing
    from elicit.checkpoints import Change, Trail
    from elicit.loading import devices
    from elicit.policy import Policy
    from elicit.training.pilot import pilot
    from elicit.training.rollouts import training_engine
    from elicit.training.run import Settings, train

    length = recipe.max_completion_length or task.max_new_tokens
    drawn = task.problems("train", recipe.pilot_problems, seed=seed + 1) if recipe.steps else []
    for problem in drawn:  # before the starting vectors are measured
        check_room(len(base.encode(problem.prompt)), length, base.context_length, model=base.name, who=recipe.name)
    start = starting(recipe, base, task, seed)
    record: dict[str, Any] = {
        "recipe": {"options": {**asdict(recipe), "checkpoints": list(recipe.checkpoints)}, "seed": seed},
        "start": {"kind": recipe.start, **_lengths(start, start.vectors)},
        "curve": [],
    }
    if recipe.steps == 0:
        steering = edits(start, start.vectors, recipe.positions)
        return Policy(base, task_decoding(task), steering=steering, record=_said(record, steering))

    def encode(problem: Problem) -> tuple[int, ...]:
        return base.encode(problem.prompt)

    devices.one_device(base.hf, "training")
    hf = sharing(base.hf)
    hf.steering_vectors = torch.nn.Parameter(start.vectors.clone().to(base.device))
    engine = training_engine(base, hf)
    open_edits = trained_edits(start, hf.steering_vectors, recipe.positions)
    with _steered(engine, open_edits):
        found = pilot(engine, task, drawn, encode, samples=recipe.pilot_samples, seed=seed, max_new_tokens=length)
    done = None
    if found.kept:
        settings = Settings(
            steps=recipe.steps,
            problems=recipe.problems,
            generations=recipe.generations,
            learning_rate=recipe.learning_rate or _PACE / base.d_model**0.5,
            max_new_tokens=length,
            rows=recipe.rows,
            checkpointing=recipe.checkpointing,
            checkpoint_every=recipe.checkpoint_every,
        )
        same = replace(recipe, checkpoints=())  # what is copied on the way changes nothing
        done = train(
            hf,
            engine,
            task,
            found.kept,
            rewarding(task, seed, found),
            settings,
            encode=encode,
            seed=seed,
            method=recipe.name,
            edits=open_edits,
            norm_limit=recipe.norm_limit,
            scratch=scratch,
            identity=(base.weights_sha256, base.dtype, recipe.name, same, start.vectors.tolist()),
            checkpoints=recipe.checkpoints,
            made=lambda: Change(steering=edits(start, hf.steering_vectors, recipe.positions)),
        )
        record |= reached(recipe.checkpoints, done)
        record |= {"curve": done.curve, "stopped": done.stopped, "learning_rate": settings.learning_rate}
    else:
        record["note"] = _nothing(recipe, found)
    vectors = hf.steering_vectors.detach()
    record |= {
        "train": cost(base, found, done, vectors.numel()),
        "pilot": found.record(),
        "end": _lengths(start, vectors),
        "turned": _cosines(start.vectors, vectors.cpu()),
        "trained_values": vectors.numel(),
    }
    steering = edits(start, vectors, recipe.positions)
    trail = None if done is None else Trail(Change(steering=steering), done.checkpoints)
    return Policy(base, task_decoding(task), steering=steering, record=_said(record, steering), trail=trail)


@contextmanager
def _steered(engine: Engine, opened: Sequence[Edit]) -> Iterator[None]:
    from elicit.loading import architectures
    from elicit.steering import steer

    layers = architectures.decoder_layers(engine.hf)
    with steer(architectures.decoder(engine.hf), layers, engine.clock, opened):  # type: ignore[arg-type]
        yield


def _said(record: dict[str, Any], steering: Sequence[Steering]) -> dict[str, Any]:
    return {"steering": [str(edit) for edit in steering], **record}


def _lengths(start: Start, vectors: torch.Tensor) -> dict[str, Any]:
    """Layers, and how long each vector is in residual norms."""
    return {"layers": list(start.layers), "norms": vectors.norm(dim=1).tolist(), "labels": list(start.labels)}


def _cosines(before: torch.Tensor, after: torch.Tensor) -> list[float]:
    """How far each vector has turned: the cosine with where it started."""
    import torch

    return torch.nn.functional.cosine_similarity(before, after, dim=1).tolist()


def _nothing(recipe: Recipe, found: Pilot) -> str:
    return (
        f"{recipe.name}: nothing was trained. Of {found.problems} problems the starting vectors always solved "
        f"{len(found.always)} and never solved {len(found.unsolved)} in {found.samples} samples each, so no group of "
        "answers would differ in reward."
    )
