"""`critique`: critique fine-tuning (2501.17703): learn to judge candidate solutions, then answer directly.

1. Prompt: question and a noisy candidate solution (`template`). Completion: a critique that ends in a verdict.
   Prompt-completion likelihood on the critique's tokens only.
2. Critiques are written by the program that knows the worked solution (`form`), or come from a teacher's file
   (`critiques`, see `elicit.tasks.generated.critiques`).
3. The policy answers plain questions. The critique prompt is not used at test time.

One problem (2506.03295): `problems: 1` with many `candidates`.

`form: remark` states the error in words; `form: worked` first gives the right solution in the task's form, then the
remark, so that a critique contains what SFT would train on.

Deviations: the paper fine-tunes 7 B models at 5e-6 on 50,000 critiques by a large model, of which about a fifth were
wrong, and picked checkpoints on a test subset. Here programs' critiques are right by construction, hyper-parameters are
those of `sft`, untuned, and no checkpoint is picked. The base's and the trained model's critiques of candidates for
select problems are judged (`held_out_before` and `held_out` in the record): a base may read critiques already, and
training may not have taught it to criticise at all.

On tiny organisms nothing transfers from critiques as such: answers change only through the *opening* of a critique,
and only if it follows the prompt as an answer would. On `cued` the default template elicits no traces with either form.
A template that ends like a plain question (the candidate first, then the question) elicits them with `form: worked`, as
SFT on the same solutions would, but not with remarks.

Fair baselines: `same_solutions` (SFT on the solutions the critic saw or knew, for equal completion tokens).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from elicit.errors import ElicitError
from elicit.fitting.critique_data import (
    CritiqueSelection,
    check_critique_room,
    evaluate_critiques,
    fill_critique_template,
)
from elicit.fitting.option_checks import check_adapter, check_checkpoints, check_positive
from elicit.method import CostEstimate, Generation, Method, TokenLengths, Traits, task_decoding

if TYPE_CHECKING:
    from pathlib import Path

    from elicit.model import BaseModel
    from elicit.policy import Policy
    from elicit.tasks import Task


@dataclass(frozen=True)
class Critique(Method):
    """Fine-tuning on critiques of candidate solutions."""

    problems: int | None = None
    """Train problems whose candidates are criticised; 1 is the one-problem mode. None: 16, or all in `critiques`.
    """
    candidates: int = 1
    """Different candidates per problem, with one critique each (all critiques of a file are used)."""
    critiques: str | None = None
    """A JSONL file of a teacher's critiques; None: the task's program writes them."""
    form: Literal["remark", "worked"] = "remark"
    """Content of the program's critiques: the error alone, or the right solution followed by the error."""
    template: str = "{prompt}{candidate}\nCritique:\n"
    """The critique prompt: {prompt} is the problem's, {candidate} the solution to judge. The critique follows directly.
    """
    parameters: Literal["all", "mlp", "attn", "embeddings"] = "all"
    """Parameters to train, or to adapt with LoRA."""
    lora_rank: int | None = None
    """Rank of a LoRA adapter; None trains the parameters themselves."""
    lora_alpha: float | None = None
    """LoRA alpha: the adapter's output is scaled by alpha / rank. None: twice the rank."""
    lora_dropout: float = 0.0
    """Dropout on the adapter's input while training."""
    epochs: float = 10.0
    batch_size: int = 8
    """Critiques per step; at most all of them."""
    learning_rate: float | None = None
    """As in `sft`."""
    checkpointing: bool | None = None
    """As in `sft`."""
    checkpoints: tuple[int, ...] = ()
    """Steps after which to keep a copy of what is trained (the policy's `checkpoints`)."""
    held_out: int = 64
    """Select problems on which the base's critiques and the trained model's are judged. 0: none."""

    traits: ClassVar[Traits] = Traits(seeded=True, trained=True, family="critique", provides=("critique",))

    def __post_init__(self) -> None:
        check_positive(
            "critique",
            problems=self.problems,
            candidates=self.candidates,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            held_out=self.held_out + 1,
        )
        check_checkpoints("critique", self.checkpoints)
        check_adapter("critique", self.parameters, self.lora_rank, alpha=self.lora_alpha, dropout=self.lora_dropout)
        for field in ("{prompt}", "{candidate}"):
            if self.template.count(field) != 1:
                raise ElicitError(f"critique: template has {self.template.count(field)} times {field}; expected one.")
        if self.critiques is not None and (self.candidates != 1 or self.form != "remark"):
            raise ElicitError("critique: candidates and form are for critiques that a program writes, not for a file.")

    def shares_training(self, processes: int) -> bool:
        return True

    def estimate_cost(self, lengths: TokenLengths) -> CostEstimate:
        """Estimate the cost: a row is question, candidate and critique, the latter two about as long as a solution."""
        rows = (self.problems or 16) * self.candidates
        critique = lengths.worked * (2 if self.form == "worked" else 1)
        read = lengths.prompt + lengths.worked
        return CostEstimate(
            Generation(1, lengths.mixed_answer, 1, lengths.prompt),
            (Generation(2 * self.held_out, critique, 2 * self.held_out, read, obstacle="critiques that are judged"),),
            trained_tokens=rows * self.epochs * (read + critique),
            training="full" if self.lora_rank is None else "adapter",
        )

    def fit(
        self, base: BaseModel, task: Task, *, seed: int, needs: Mapping[str, Policy], scratch: Path | None = None
    ) -> Policy:
        """Raises ElicitError for a task without candidates, a file that cannot be used, or too few problems.

        Raises:
            TrainingFailed: the loss is not a number.
        """
        from elicit.policy import Policy
        from elicit.training.supervised import SupervisedSchedule, example, train_on_examples

        selection = CritiqueSelection(self.problems, self.candidates, self.critiques, self.form, seed)
        rows, held_out = selection.load_train_critiques(task), selection.load_held_out_critiques(task, self.held_out)
        check_critique_room(base, held_out, self.template)
        examples = [
            example(base, fill_critique_template(self.template, row), row.critique, who="critique") for row in rows
        ]
        schedule = SupervisedSchedule(
            self.parameters,
            self.lora_rank,
            self.lora_alpha,
            self.lora_dropout,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            checkpointing=self.checkpointing,
        )
        before = evaluate_critiques(Policy(base, task_decoding(task)), held_out, self.template)
        result = train_on_examples(
            base, examples, schedule, who="critique", seed=seed, scratch=scratch, checkpoints=self.checkpoints
        )
        problems = list(dict.fromkeys(row.problem.id for row in rows))
        teacher_tokens = sum(len(row.completion) for row in examples)
        policy = Policy(base, task_decoding(task), weights=result.weights, trail=result.trail)
        record = result.to_record(base, labels=len(problems), teacher_tokens=teacher_tokens) | {
            "critique": {
                "by": "program" if self.critiques is None else "file",
                "problems": len(problems),
                "critiques": len(rows),
                "wrong_candidates": sum(row.correct is False for row in rows),
                "shown": dataclasses.asdict(selection),
                "schedule": dataclasses.asdict(schedule),
                "held_out_before": before,
                "held_out": evaluate_critiques(policy, held_out, self.template),
            }
        }
        return dataclasses.replace(policy, record=record)
