"""`sft`: supervised fine-tuning on demonstrations.

The baseline with which every method is compared.

    L = -(1 / T) sum_t log p(y_t | x, y_<t) over the T completion tokens of a batch

Prompt-completion negative log-likelihood on completion tokens only, with TRL's `SFTTrainer` (`training.supervised`).
Demonstrations are drawn from the train split by the seed; the rows are tokenised here (prompt ids, completion ids, end
token), so that training uses exactly the ids of sampling. Full fine-tuning works on a copy of the base and keeps the
changed parameters; LoRA keeps the adapter.

`supervision: theorem` after Theorem-SFT (2605.09270): each step of the solution states its rule, the rule's condition
and the values inserted. Such solutions are longer, so the policy may give longer answers (see the record). `swapped`,
`shuffled`, `filler` and `random` after 2505.13775: the worked solution's answer and length, with steps that do not lead
to it (`elicit.tasks.generated.corruption`; also drawn by the seed). `shortcut`: half of the steps are left out
(`elicit.tasks.generated.shortcuts`). The record has the shares of training solutions that are right and valid by the
task's verifier, their length and how often each was seen; their tokens are counted like a teacher's. `parameters`
selects the trained parameters (all, mlp, attn, embeddings).

`source`: the demonstrations are another task's, and the policy still answers the target task (after the Countdown
traces of 2604.06628). `steps`: trains arms with different demonstrations for the same number of steps: few problems
often, or many once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elicit.context import check_prompt_fits
from elicit.errors import ElicitError
from elicit.fitting.auxiliary_tasks import add_projection_cost, build_projection_callback, build_warning_callback
from elicit.fitting.demonstrations import SolvedProblem, collect_demonstrations, describe_demonstrations
from elicit.fitting.option_checks import check_adapter, check_checkpoints, check_positive
from elicit.fitting.other_task import bind_described_task, check_task_description
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class SFT(Method):
    """Fine-tuning on solutions."""

    demonstrations: int = 16
    """Number of train problems."""
    supervision: Literal["worked", "direct", "theorem", "shortcut", "swapped", "shuffled", "filler", "random"] = (
        "worked"
    )
    """Train on worked solutions, on bare answers (direct), or on worked solutions that state their rules (theorem),
    lack half of their steps (shortcut), or whose steps are replaced by another problem's (swapped), by their own in
    another order (shuffled), by filler or by random steps."""
    source: dict[str, Any] | None = None
    """Another task, {task: NAME}, whose train problems and solutions replace the target's."""
    parameters: Literal["all", "mlp", "attn", "embeddings"] = "all"
    """Parameters to train (after 2605.09270), or to adapt with LoRA. embeddings: of tokens (and of
    positions where they are learned) and the LM head."""
    lora_rank: int | None = None
    """Rank of a LoRA adapter; None trains the parameters themselves."""
    lora_alpha: float | None = None
    """LoRA alpha: the adapter's output is scaled by alpha / rank. None: twice the rank."""
    lora_dropout: float = 0.0
    """Dropout on the adapter's input while training."""
    epochs: float = 10.0
    steps: int | None = None
    """Train for exactly this many steps with full batches; overrides `epochs`."""
    batch_size: int = 8
    """Demonstrations per step; at most all of them."""
    learning_rate: float | None = None
    """Peak rate; warm-up over a tenth of the steps (none below 10 steps), then linear decay.
    None: 2e-4 for LoRA (2305.14314 uses it up to 13 B parameters), else 1e-3 under 5 M parameters and 1e-5 above (not
    tuned)."""
    checkpointing: bool | None = None
    """Recompute activations in the backward pass: less memory, a third more time. None: if a single row needs it."""
    checkpoints: tuple[int, ...] = ()
    """Steps after which to keep a copy of what is trained (the policy's `checkpoints`)."""
    warn: dict[str, dict[str, Any]] | None = None
    """Tasks to watch while training, {label: {task: NAME}}: the effect of each step on their loss (`training.probes`,
    in the record). The weights do not depend on it."""
    warn_every: int = 1
    """Steps between two looks. A look costs a forward and backward pass over the problems of every task."""
    warn_problems: int = 16
    """Select problems of every watched task, and of the trained one."""
    protect: dict[str, Any] | None = None
    """A task, {task: NAME}, whose loss no step's gradient may increase: the conflicting part is projected out (one-way
    PCGrad, 2001.06782; `training.projection`)."""
    protect_problems: int = 16
    """Train problems of the protected task whose gradient is computed at every step."""

    traits: ClassVar[Traits] = Traits(seeded=True, trained=True, family="sft")

    def __post_init__(self) -> None:
        check_positive(
            "sft",
            demonstrations=self.demonstrations,
            epochs=self.epochs,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warn_every=self.warn_every,
            warn_problems=self.warn_problems,
            protect_problems=self.protect_problems,
        )
        if self.source is not None:
            check_task_description(self.source, "sft: source")
        for label, description in (self.warn or {}).items():
            check_task_description(description, f"sft: warn {label!r}")
        if self.protect is not None:
            check_task_description(self.protect, "sft: protect")
        check_checkpoints("sft", self.checkpoints, steps=self.steps)
        check_adapter("sft", self.parameters, self.lora_rank, alpha=self.lora_alpha, dropout=self.lora_dropout)

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        lengths_of = {"direct": lengths.plain, "shortcut": (lengths.plain + lengths.worked) / 2}
        length = lengths_of.get(self.supervision, lengths.worked)
        return CostEstimate(
            Generation(1, length, 1, lengths.prompt),
            trained_tokens=(self.demonstrations * self._passes + self._auxiliary_problems) * (lengths.prompt + length),
            training="full" if self.lora_rank is None else "adapter",
        )

    def shares_training(self, processes: int) -> bool:
        watched = self.warn is not None or self.protect is not None  # both need the whole model's gradients
        return processes == 1 or not watched

    @property
    def _passes(self) -> float:
        """Passes over the demonstrations."""
        if self.steps is None:
            return self.epochs
        return self.steps * min(self.batch_size, self.demonstrations) / self.demonstrations

    @property
    def _auxiliary_problems(self) -> float:
        """Problems of other tasks with a forward and backward pass of their own."""
        steps = self.demonstrations * self._passes / min(self.batch_size, self.demonstrations)
        looks = 0.0 if not self.warn else (steps / self.warn_every + 1) * (1 + len(self.warn))
        return looks * self.warn_problems + (0.0 if self.protect is None else steps * self.protect_problems)

    def sample_held_out_solutions(
        self, task: Task, count: int, *, seed: int, build_task: Callable[[Mapping[str, Any]], Task]
    ) -> list[SolvedProblem]:
        if self.source is None and self.supervision == "worked":
            return []
        source_task = task if self.source is None else build_task(self.source)
        try:
            return collect_demonstrations(source_task, self.supervision, "select", count, pick=0, seed=seed, who="sft")
        except ElicitError:  # fewer than that, or none
            return []

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError if the task has no such solutions, fewer train problems than demonstrations, or for
        checkpoints after the last step.

        Raises:
            TrainingFailed: the loss is not a number.
        """
        from elicit.policy import Policy
        from elicit.training.supervised import SupervisedSchedule, example, train_on_examples

        source_task = task if self.source is None else bind_described_task(base, self.source, "sft: source")
        solutions = collect_demonstrations(
            source_task, self.supervision, "train", self.demonstrations, pick=seed + 1, seed=seed, who="sft"
        )
        examples = [example(base, problem.prompt, solution, who="sft") for problem, solution in solutions]
        decoding = task_decoding(task)
        if self.supervision == "theorem":
            longest = max(len(item.completion) for item in examples)
            decoding = decoding.replace(max_new_tokens=max(decoding.max_new_tokens, longest * 3 // 2))
            for item in examples:
                check_prompt_fits(
                    len(item.prompt), decoding.max_new_tokens, base.context_length, model=base.name, who="sft"
                )
        schedule = SupervisedSchedule(
            self.parameters,
            self.lora_rank,
            self.lora_alpha,
            self.lora_dropout,
            epochs=self._passes,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            checkpointing=self.checkpointing,
        )
        watched_solutions = (
            collect_demonstrations(
                source_task, self.supervision, "select", self.warn_problems, pick=0, seed=seed, who="sft"
            )
            if self.warn
            else []
        )
        warning_callback = (
            build_warning_callback(base, watched_solutions, self.warn, every=self.warn_every, who="sft")
            if self.warn
            else None
        )
        projection_callback = (
            None
            if self.protect is None
            else build_projection_callback(base, self.protect, problems=self.protect_problems, seed=seed, who="sft")
        )
        result = train_on_examples(
            base,
            examples,
            schedule,
            who="sft",
            seed=seed,
            scratch=scratch,
            checkpoints=self.checkpoints,
            callbacks=[item for item in (projection_callback, warning_callback) if item is not None],
            identity=() if projection_callback is None else [projection_callback.identity],
        )
        teacher_tokens = 0 if self.supervision == "direct" else sum(len(item.completion) for item in examples)
        record = result.to_record(base, labels=self.demonstrations, teacher_tokens=teacher_tokens)
        if warning_callback is not None:
            record["warning"] = warning_callback.to_record()
        if projection_callback is not None:
            record |= {
                "protect": projection_callback.to_record(),
                "train": add_projection_cost(record["train"], projection_callback),
            }
        if self.supervision == "theorem":
            record["max_new_tokens"] = decoding.max_new_tokens
        seen = max(1, round(self.demonstrations * self._passes))
        record |= describe_demonstrations(base, source_task, solutions, self.supervision, self.source, seen=seen)
        return Policy(base, decoding, weights=result.weights, record=record, trail=result.trail)
