"""Steps per second of GRPO with the lab's rollouts, against TRL's own loop with transformers' `generate`.

Both sides are TRL's `GRPOTrainer` with the arguments of `elicit.training.run` (Dr. GRPO, AdamW, the task's verifier as
reward), on copies of one model. The learning rate is 0, so that completions stay as long as they are. They alternate,
one short training each per round; a training's first step is not counted. "20 tokens each" bans the end token on both
sides, so that every completion is exactly as long; "as they end" leaves lengths to the model.
"""

from __future__ import annotations

import copy
import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from transformers import TrainerCallback

import elicit
from elicit.comparison.spec import build_task
from elicit.model import BaseModel
from elicit.sampling import Decoding
from elicit.tasks import Problem, Task
from elicit.training import rewards
from elicit.training.quiet import silence_libraries
from elicit.training.rewards import Rollout
from elicit.training.rollouts import make_reward_function, make_rollout_function, schedule_problems, training_engine
from elicit.training.run import RLTrainingSettings, _build_grpo_arguments, _build_grpo_trainer


class Rates(NamedTuple):
    """Steps per second."""

    clock: float
    processor: float
    """Per second of processor time of all threads, which other work on the machine does not stretch."""


Side = Callable[[], Rates]


class _Clock(TrainerCallback):  # type: ignore[misc]
    """Times from the end of the first step to the end of the last."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append((time.perf_counter(), time.process_time()))

    @property
    def rates(self) -> Rates:
        steps = len(self.ends) - 1
        by_clock, by_processor = (last - first for first, last in zip(self.ends[0], self.ends[-1], strict=True))
        return Rates(steps / by_clock, steps / by_processor)


def sides(
    base: BaseModel, task: Task, settings: RLTrainingSettings, *, endless: bool, encode: Any
) -> tuple[Side, Side]:
    """Two functions that train for a few steps and return steps per second: with our rollouts, and with TRL's own."""
    plan = schedule_problems(
        task.problems("train", 64, seed=1), steps=settings.steps, per_step=settings.problems, seed=0
    )
    known = {problem.id: problem for problem in plan}
    check = rewards.make_verifier_reward(task)

    def prepared() -> tuple[Any, Any]:
        hf = copy.deepcopy(base.hf)
        hf.requires_grad_(True)
        return hf, _build_grpo_arguments(settings, _folder(), settings.problems, 0, keep=False, on_cpu=True)

    def ours() -> Rates:
        hf, arguments = prepared()
        engine = training_engine(base, hf)
        stop = () if endless else task.stop
        engine = dataclasses.replace(engine, end_ids=frozenset()) if endless else engine
        decoding = Decoding(temperature=1.0, max_new_tokens=settings.max_new_tokens, stop=stop)
        options: dict[str, Any] = {"generations": settings.generations, "seed": 0, "decoding": decoding}
        rollout = make_rollout_function(engine, list(known.values()), encode, **options)
        with silence_libraries():
            return _timed(_build_grpo_trainer(hf, engine, plan, rollout, make_reward_function(check, check), arguments))

    def theirs() -> Rates:
        from datasets import Dataset
        from transformers import PrinterCallback
        from trl import GRPOTrainer

        hf, arguments = prepared()
        if endless:
            arguments.generation_kwargs = {"min_new_tokens": settings.max_new_tokens}

        def rewarded(completions: list[str], problem: list[str], **_: Any) -> list[float]:
            pairs = zip(completions, problem, strict=True)
            return [check(Rollout(known[name], 0, 0, text, True)) for text, name in pairs]

        with silence_libraries():
            rows = {"prompt": [problem.prompt for problem in plan], "problem": [problem.id for problem in plan]}
            trainer = GRPOTrainer(
                model=hf,
                reward_funcs=rewarded,
                args=arguments,
                train_dataset=Dataset.from_dict(rows),
                processing_class=base.tokenizer,
            )
            trainer.remove_callback(PrinterCallback)
            return _timed(trainer)

    return ours, theirs


def _folder() -> Any:
    import tempfile
    from pathlib import Path

    return Path(tempfile.gettempdir())  # nothing is saved


def _timed(trainer: Any) -> Rates:
    clock = _Clock()
    trainer.add_callback(clock)
    trainer.train()
    return clock.rates


def ratio(left: Side, right: Side, rounds: int) -> dict[str, Any]:
    """Steps per second of `left` over `right`, in alternation, the first round thrown away."""
    pairs = []
    for number in range(rounds + 1):
        pair = (left(), right()) if number % 2 else (right(), left())[::-1]
        if number:
            pairs.append(pair)
    by_clock = [a.clock / b.clock for a, b in pairs]
    return {
        **_spread(by_clock),
        "by_processor_time": _spread([a.processor / b.processor for a, b in pairs]),
        "rounds": rounds,
        "steps_per_second": {"ours": [a.clock for a, _ in pairs], "theirs": [b.clock for _, b in pairs]},
    }


def _spread(ratios: list[float]) -> dict[str, float]:
    return {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}


def grpo(rounds: int = 5) -> dict[str, dict[str, Any]]:
    """Title -> ratio."""
    found: dict[str, dict[str, Any]] = {}
    base = elicit.load("cued")
    task = build_task({"task": "addition"}, base.card.get("dialect"), where="benchmark")

    def own(problem: Problem) -> tuple[int, ...]:
        return base.encode(problem.prompt)

    for tokens, title in ((20, "20 tokens each"), (None, "as they end")):
        length = tokens or task.max_new_tokens
        settings = RLTrainingSettings(steps=6, problems=8, generations=16, learning_rate=0.0, max_new_tokens=length)
        name = f"GRPO steps, cued, 8 x 16 completions, {title}: our rollouts / TRL's own"
        found[name] = ratio(*sides(base, task, settings, endless=tokens is not None, encode=own), rounds)
    return found
