"""`Policy`: the result of a method, used by everything downstream.

A policy is a base model plus, optionally, changed weights, steering, a readout, decoding, prompting and a search. It
samples, scores, saves, loads and has a content hash. The untouched base is a policy too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elicit import adapters, policy_document, readouts, search, steering, weights
from elicit import checkpoints as trail
from elicit.answer import Answer
from elicit.checkpoints import CheckpointHistory, PolicyDelta
from elicit.errors import ElicitError
from elicit.format_versions import CURRENT_VERSIONS, FORMAT_VERSION
from elicit.loading.templates import parse_date
from elicit.model import BaseModel
from elicit.prompting import Prompting as Prompting
from elicit.sampling import PLAIN, Completion, Decoding, Elsewhere, Forward, Source, logprobs
from elicit.search import Query, Search
from elicit.steering import AnyEdit, FunctionEdit, GatedEdit, Steering
from elicit.tasks import Problem, Task

_CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, eq=False)
class Policy:
    """A base model plus weights, steering, decoding and prompting."""

    model: BaseModel
    decoding: Decoding = field(default_factory=Decoding)
    prompting: Prompting = field(default_factory=Prompting)
    steering: tuple[AnyEdit, ...] = ()
    weights: weights.Weights | None = None
    readout: readouts.Readout | None = None
    """Source of next-token logits; None: the model's own last layer."""
    search: Search | None = None
    """Search for the answer; None takes the single completion given by `decoding`."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """Results and cost of fitting: plain data for the report. Not part of the hash."""
    trail: CheckpointHistory | None = None
    """Earlier training checkpoints, for `checkpoints`. Not part of the hash."""

    def __repr__(self) -> str:
        parts = [self.model.name, self.prompting.condition]
        parts += [str(edit) for edit in self.steering]
        if self.weights is not None:
            parts.append(f"{self.weights.parameters:,} trained values")
        parts.append("greedy" if self.decoding.temperature == 0 else f"T={self.decoding.temperature:g}")
        parts += [str(part) for part in (self.readout, self.search) if part is not None]
        return f"Policy({'; '.join(parts)})"

    @property
    def has_distribution(self) -> bool:
        """True if answers follow the next-token distribution used for scoring: no search and no readout."""
        return self.search is None and self.readout is None

    @property
    def edits(self) -> tuple[Steering, ...]:
        """Its edits, for callers that need a single direction from each.

        Raises:
            ElicitError: an edit is gated, with one direction per category, or a function, which has none.
        """
        gated = [str(edit) for edit in self.steering if isinstance(edit, GatedEdit)]
        if gated:
            raise ElicitError(f"this arm steers through a gate ({gated[0]}): its controls are `hybrid_control` arms.")
        functions = [str(edit) for edit in self.steering if isinstance(edit, FunctionEdit)]
        if functions:
            raise ElicitError(
                f"this arm steers by a function ({functions[0]}), which has no direction. Its controls are "
                "random_vector, covariance_vector, searched_random_vector and same_vector."
            )
        return tuple(edit for edit in self.steering if isinstance(edit, Steering))

    @property
    def checkpoints(self) -> Mapping[int, Policy]:
        """Step -> the policy after that many training steps, otherwise unchanged.

        Empty if no checkpoints were kept, or if the weights or steering are not the result of the training.
        The end is the policy itself and not included. Each checkpoint is loaded from disk on access and not cached.
        """
        if self.trail is None or not self.trail.ends_in(PolicyDelta(self.weights, self.steering)):
            return {}
        deltas = self.trail.checkpoints
        return trail.LazyCheckpoints(tuple(deltas), lambda step: self._with_delta(step, deltas[step]))

    def at(self, step: int) -> Policy:
        """The policy after a number of training steps.

        Step 0 is the policy without the result of training: without its weights, or, if vectors were trained, without
        its steering (not with the starting vectors: that is the arm `untrained_vector`). Without training it is the
        policy itself.

        Raises:
            ElicitError: the step was not kept; lists those that were.
        """
        end = (self.record.get("train") or {}).get("steps")
        if step == end:
            return self
        if step == 0:
            trained = PolicyDelta(steering=self.steering if self.weights is not None or end is None else ())
            return self if (self.weights, self.steering) == trained else self._with_delta(0, trained)
        if step not in self.checkpoints:
            raise trail.unknown_step_error(step, self.checkpoints, end, self)
        return self.checkpoints[step]

    def _with_delta(self, step: int, delta: PolicyDelta) -> Policy:
        return dataclasses.replace(
            self, weights=delta.weights, steering=delta.steering, record={"train": {"steps": step}}, trail=None
        )

    @contextmanager
    def apply(self) -> Iterator[Forward]:
        """Run the base model as this policy while the context is open; yields the `Forward` for the sampler."""
        with ExitStack() as stack:
            if self.weights is not None:
                stack.enter_context(self.weights.apply(self.model.hf))
            if self.steering:
                stack.enter_context(self.model.steer(self.steering))
            yield PLAIN if self.readout is None else stack.enter_context(self.readout.open_forward(self.model))

    def run(self) -> AbstractContextManager[Source]:
        """As `apply`, in the model's outside engine if it has one that can run this policy."""
        outside = self.model.outside
        return self.apply() if outside is None or self.obstacle else outside.open(self.weights, self.steering)

    @property
    def obstacle(self) -> str | None:
        """Why this policy runs in this process though its model has an outside engine; None if it runs outside."""
        if self.model.outside is None:
            return "the model has no outside engine"
        own = None if self.search is None or self.search.kind in search.SEARCHES else f"search {self.search.kind}"
        reason = self.readout or own
        if reason is not None:
            return f"{reason} runs the model itself"
        return self.model.outside.find_obstacle(self.weights, self.steering)

    applied = apply
    """The name of version 0.1."""

    def answer(self, problems: Sequence[Problem], task: Task, *, label: str, seed: int) -> list[Answer]:
        """Answer every problem as the policy would be used.

        Args:
            task: reads completions for searches that compare answers.
            label: the task's name in the run. With the seed, the problem's id and the sample's index it determines
                every random number.
            seed: the run seed.
        """
        if not problems:
            return []  # return before steering opens, which raises if it touches no forward pass
        prompts, asks = self.build_queries(problems, label, seed)
        with self.run() as forward:
            if self.search is not None:
                answers = self.search.run(self.model, asks, self.decoding, task, forward)
            else:
                completions = search.sample_completions(self.model, asks, self.decoding, forward, 1)
                answers = [search.to_result(ask, samples, 0) for ask, samples in zip(asks, completions, strict=True)]
        return [Answer.build(*row) for row in zip(prompts, asks, answers, strict=True)]

    def draw(
        self, problems: Sequence[Problem], *, task: str, seed: int, n: int, decoding: Decoding, first: int = 0
    ) -> list[tuple[str, str, list[Completion]]]:
        """Sample without the search: (prompt, forced opening, `n` completions numbered from `first`) per problem."""
        if not problems:
            return []
        prompts, asks = self.build_queries(problems, task, seed)
        with self.run() as forward:
            completions = search.sample_completions(self.model, asks, decoding, forward, n, first)
        return [(prompt, ask.opening, samples) for prompt, ask, samples in zip(prompts, asks, completions, strict=True)]

    def build_queries(self, problems: Sequence[Problem], label: str, seed: int) -> tuple[list[str], list[Query]]:
        """(prompts without forced openings, queries) of `answer` and `draw`."""
        prompts, asks = [], []
        for problem in problems:
            prompt, opening = self.prompting.render(problem)
            ids, forced = self.model.encode_pair(prompt, opening)
            prompts.append(prompt)
            asks.append(Query(problem, ids + forced, len(forced), opening, (seed, label, problem.id)))
        return prompts, asks

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[list[float]]:
        """log p (nats) of every token of each completion under this policy, teacher-forced.

        Raises:
            ElicitError: the policy has a search or a readout.
        """
        if not self.has_distribution:
            raise ElicitError(f"{self!r} does not define a next-token distribution to score with.")
        scored = [self.model.encode_pair(*pair) for pair in zip(prompts, completions, strict=True)]
        with self.run() as forward:
            if isinstance(forward, Elsewhere):
                return forward.logprobs(self.model.engine, scored)
            return logprobs(self.model.engine, scored)

    def meaning(self) -> dict[str, Any]:
        """Everything except tensors, as plain data. `date`, the date given in prompts, only if they have one."""
        date, search = self.model.prompt_date, self.search
        return {
            "base": {"name": self.model.name, "weights_sha256": self.model.weights_sha256},
            "decoding": policy_document.plain_fields("decoding", self.decoding),
            "prompting": policy_document.plain_fields("prompting", self.prompting),
            "search": search and {"kind": search.kind, **policy_document.plain_fields(search.kind, search)},
            **({} if date is None else {"date": date}),
        }

    @property
    def sha256(self) -> str:
        """Hash of everything that determines the policy's answers."""
        return self._content_hash(self.meaning())

    def _content_hash(self, meaning: dict[str, Any]) -> str:
        del meaning["base"]["name"]
        parts = [json.dumps(meaning, sort_keys=True), *(edit.sha256 for edit in self.steering)]
        parts.append(self.weights.sha256 if self.weights is not None else "base")
        parts += [self.readout.sha256] if self.readout is not None else []
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def save(self, folder: Path) -> str:
        """Write the policy into an existing empty folder: JSON for options, safetensors for weights and directions.

        Checkpoints become policy folders of their own, such as `checkpoints/000010`. Returns the hash.
        """
        trail.save_delta(PolicyDelta(self.weights, self.steering), folder)
        if self.readout is not None:
            readouts.save_readout(self.readout, folder)
        hashes = {}
        for step, policy in self.checkpoints.items():
            checkpoint_folder = trail.step_folder(folder / _CHECKPOINTS, step)
            checkpoint_folder.mkdir(parents=True, exist_ok=True)
            hashes[str(step)] = policy.save(checkpoint_folder)
        document = {FORMAT_VERSION: CURRENT_VERSIONS["policy"], **self.meaning(), "sha256": self.sha256}
        record = policy_document.without_nan(dict(self.record))
        document |= {"record": record} | ({_CHECKPOINTS: hashes} if hashes else {})
        (folder / policy_document.NAME).write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
        return str(document["sha256"])

    @classmethod
    def from_peft(cls, model: BaseModel, folder: str | Path, *, any_base: bool = False) -> Policy:
        """Build a policy from the base and an adapter made with peft elsewhere.

        Args:
            folder: a folder written by `PeftModel.save_pretrained`.
            any_base: accept an adapter that names another base.

        Raises:
            ElicitError: the adapter is missing, of an unsupported type, or made for another model.
        """
        adapter = adapters.read_adapter_of(model, Path(folder), any_base=any_base)
        return cls(model, weights=adapter, record={"adapter": adapter.to_record()})

    @classmethod
    def load(cls, folder: Path, model: BaseModel) -> Policy:
        """Load a policy that `save` wrote, for the same base model. Checkpoints are loaded on access.

        If its prompts contained a date from the chat template, the policy's model uses the same date: bind tasks with
        `policy.model.bind`.

        Raises:
            ElicitError: the policy is missing, damaged, or of another base model.
        """
        document = policy_document.read_document(folder)
        document.check_base(model, folder)
        date = document.date
        policy = cls(
            model if date is None else model.on(parse_date(date, f"{folder / policy_document.NAME}: date")),
            document.decoding,
            document.prompting,
            steering.load_edits(folder),
            weights.load_weights(folder),
            readouts.load_readout(folder),
            policy_document.read_search(document, folder),
            document.record,
        )
        meaning = policy.meaning()
        if date is None:  # saved before policies recorded the date
            meaning.pop("date", None)
        if policy._content_hash(meaning) != document.sha256:
            raise ElicitError(f"the policy in {folder} is damaged: its files do not have the hash it was saved with.")
        hashes = {int(step): sha256 for step, sha256 in document.checkpoints.items()}
        if not hashes:
            return policy

        def read_delta(step: int) -> PolicyDelta:
            checkpoint_folder = trail.step_folder(folder / _CHECKPOINTS, step)
            checkpoint = cls.load(checkpoint_folder, model)
            if policy_document.read_document(checkpoint_folder).sha256 != hashes[step]:
                raise ElicitError(
                    f"{checkpoint_folder} is not the checkpoint of step {step} that {folder} was saved with."
                )
            return PolicyDelta(checkpoint.weights, checkpoint.steering)

        final_delta = PolicyDelta(policy.weights, policy.steering)
        return dataclasses.replace(
            policy, trail=CheckpointHistory(final_delta, trail.LazyCheckpoints(tuple(sorted(hashes)), read_delta))
        )
