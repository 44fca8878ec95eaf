"""`sft`: plain supervised fine-tuning on demonstrations, the baseline every method is compared with.

Prompt-completion negative log-likelihood on completion tokens only, with TRL's `SFTTrainer` (`training.supervised`).
Demonstrations come from the train split and the seed picks which; the rows are tokenised here (prompt ids, completion
ids, end token), so that the model is trained on exactly the ids it is sampled with. Full fine-tuning works on a copy of
the base and keeps the changed parameters; LoRA keeps the adapter.

`supervision: theorem` after Theorem-SFT (2605.09270): the solution states at each step the rule that is used, its
condition and what is put into it. Such solutions are longer, so the policy may answer at greater length (in the
record). `swapped`, `shuffled`, `filler` and `random` after 2505.13775: the worked solution's answer and length, with
steps that do not lead to it (`elicit.tasks.corruption`; the seed picks them too). The record says how many of the
solutions taught are right and valid by the task's verifier, and counts their tokens as it does a teacher's. Which
parameters learn (all, mlp, attn, embeddings) is `parameters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.methods.core import Demand, Draws, Lengths, Traits, task_decoding
from elicit.methods.options import check_adapter, check_positive

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Problem, Task

#: What is taught where nothing is corrupted.
_RIGHT = ("worked", "direct", "theorem")


@dataclass(frozen=True)
class SFT:
    """Fine-tuning on solutions."""

    demonstrations: int = 16
    """How many train problems are shown."""
    supervision: Literal["worked", "direct", "theorem", "swapped", "shuffled", "filler", "random"] = "worked"
    """Train on worked solutions, on bare answers, on worked solutions that state their rules, or on worked solutions
    with another problem's steps, their own in another order, filler or random steps in place of the right ones."""
    parameters: Literal["all", "mlp", "attn", "embeddings"] = "all"
    """Which parameters are trained (after 2605.09270), or carry the LoRA adapter. embeddings: of tokens (and of
    positions where they are learned) and the LM head."""
    lora_rank: int | None = None
    """Rank of a LoRA adapter; None trains the parameters themselves."""
    lora_alpha: float | None = None
    """Its output is scaled by alpha / rank; None: twice the rank."""
    lora_dropout: float = 0.0
    """Dropout of the adapter's input while training."""
    epochs: float = 10.0
    batch_size: int = 8
    """Demonstrations per step; at most all of them."""
    learning_rate: float | None = None
    """Peak rate; warm-up over a tenth of the steps (none below 10 steps), then linear decay.
    None: 2e-4 for LoRA (2305.14314 uses it up to 13 B parameters), else 1e-3 under 5 M parameters and 1e-5 above (not
    tuned)."""
    checkpointing: bool | None = None
    """Recompute activations in the backward pass: less memory, a third more time. None: where a single row needs it."""

    traits: ClassVar[Traits] = Traits(seeded=True, trained=True)

    def __post_init__(self) -> None:
        check_positive(
            "sft",
            demonstrations=self.demonstrations,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )
        check_adapter("sft", self.parameters, self.lora_rank, alpha=self.lora_alpha, dropout=self.lora_dropout)

    @property
    def needs(self) -> tuple[str, ...]:
        return ()

    def demand(self, lengths: Lengths) -> Demand:
        length = lengths.plain if self.supervision == "direct" else lengths.worked
        return Demand(
            Draws(1, length, 1, lengths.prompt),
            trained=self.demonstrations * self.epochs * (lengths.prompt + length),
            training="full" if self.lora_rank is None else "adapter",
        )

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError if the task has no such solutions, or fewer train problems than demonstrations.

        Raises:
            TrainingFailed: a loss that is no number.
        """
        from elicit.policy import Policy
        from elicit.training.supervised import Schedule, example, train

        solutions = self._solutions(task, seed)
        examples = [example(base, problem.prompt, solution, who="sft") for problem, solution in solutions]
        schedule = Schedule(
            self.parameters,
            self.lora_rank,
            self.lora_alpha,
            self.lora_dropout,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            checkpointing=self.checkpointing,
        )
        trained = train(base, examples, schedule, who="sft", seed=seed, scratch=scratch)
        taught = 0 if self.supervision == "direct" else sum(len(one.completion) for one in examples)
        record = trained.record(base, labels=self.demonstrations, teacher_tokens=taught)
        decoding = task_decoding(task)
        if self.supervision == "theorem":
            longest = max(len(one.completion) for one in examples)
            decoding = decoding.replace(max_new_tokens=max(decoding.max_new_tokens, longest * 3 // 2))
            record["max_new_tokens"] = decoding.max_new_tokens
        if self.supervision not in _RIGHT:
            verdicts = [task.verify(problem, solution) for problem, solution in solutions]
            record["taught"] = {
                "supervision": self.supervision,
                "solutions": len(verdicts),
                "right": sum(one.correct for one in verdicts),
                "valid": sum(one.trace_valid is True for one in verdicts),
            }
        return Policy(base, decoding, weights=trained.weights, record=record)

    def _solutions(self, task: Task, seed: int) -> list[tuple[Problem, str]]:
        rows = []
        for problem in task.problems("train", self.demonstrations, seed=seed + 1):
            solution = self._solution(task, problem, seed)
            if solution is None:
                raise ElicitError(
                    f"sft: problem {problem.id} of task {task.name!r} has no {self.supervision} solution. "
                    f"Use supervision: direct, or add `{self.supervision}` to the task's file."
                )
            rows.append((problem, solution))
        return rows

    def _solution(self, task: Task, problem: Problem, seed: int) -> str | None:
        from elicit.tasks.corruption import corrupted

        match self.supervision:
            case "worked":
                return task.worked(problem)
            case "theorem":
                return task.theorem(problem)
            case "direct":
                return task.direct(problem)
            case kind:
                return corrupted(task, problem, kind, seed=seed)
