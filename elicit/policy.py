"""`Policy`: what a method returns and everything downstream consumes.

A policy is a base model plus, optionally, changed weights, steering, a readout, decoding, a way of prompting and a
search. It samples, scores, saves, loads and has a content hash. The untouched base is a policy.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from elicit import adapters, policy_document, readouts, search, steering, weights
from elicit import checkpoints as trail
from elicit.checkpoints import CheckpointHistory, PolicyDelta
from elicit.errors import ElicitError
from elicit.loading.templates import parse_date
from elicit.model import BaseModel
from elicit.policy_document import plain_fields
from elicit.prompting import Prompting as Prompting
from elicit.sampling import PLAIN, Completion, Decoding, Forward, logprobs
from elicit.search import Query, Search
from elicit.steering import GatedEdit, Steering
from elicit.tasks import Problem, Task

_CHECKPOINTS = "checkpoints"


class Answer(NamedTuple):
    """A policy's answer to one problem."""

    text: str
    tokens: int
    """Generated tokens, outvoted ones included."""
    finished: bool
    firings: int
    prompt_tokens: int
    prompt: str
    notes: Mapping[str, float]
    """What the search tells of itself; empty without one."""


@dataclass(frozen=True, eq=False)
class Policy:
    """A base model and everything a method made of it."""

    model: BaseModel
    decoding: Decoding = field(default_factory=Decoding)
    prompting: Prompting = field(default_factory=Prompting)
    steering: tuple[Steering | GatedEdit, ...] = ()
    weights: weights.Weights | None = None
    readout: readouts.Readout | None = None
    """Where next-token logits come from; None is the model's own last layer."""
    search: Search | None = None
    """How an answer is found; None takes the one completion that `decoding` gives."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What fitting found and cost: plain data for the report. Does not enter the hash."""
    trail: CheckpointHistory | None = None
    """What training had made of it before its end, for `checkpoints`. Does not enter the hash."""

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
        """Whether its answers follow the next-token distribution that scoring sees: no search, no other readout."""
        return self.search is None and self.readout is None

    @property
    def edits(self) -> tuple[Steering, ...]:
        """Its edits, for callers that read a single direction off each.

        Raises:
            ElicitError: an edit behind a gate, which has one direction per category.
        """
        gated = [str(edit) for edit in self.steering if isinstance(edit, GatedEdit)]
        if gated:
            raise ElicitError(f"this arm steers through a gate ({gated[0]}): its controls are `hybrid_control` arms.")
        return tuple(edit for edit in self.steering if isinstance(edit, Steering))

    @property
    def checkpoints(self) -> Mapping[int, Policy]:
        """Step -> the policy as it was after that many steps of its training, in every other way as it is now.

        Empty where nothing was kept, and for a policy whose weights or steering are not those that training ended in.
        The end is the policy itself and not in it. Each is read from the disk when it is asked for, and not held.
        """
        if self.trail is None or not self.trail.ends_in(PolicyDelta(self.weights, self.steering)):
            return {}
        deltas = self.trail.checkpoints
        return trail.LazyCheckpoints(tuple(deltas), lambda step: self._with_delta(step, deltas[step]))

    def at(self, step: int) -> Policy:
        """The policy after so many steps of its training.

        0 is the same without what training made: without its weights, or, where vectors were trained, without its
        steering (so not with the vectors that training began from: `untrained_vector` is that arm). For a policy that
        nothing was trained of it is the policy itself.

        Raises:
            ElicitError: a step that was not kept; it says which were.
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
        """The base model runs as this policy while the context is open; the sampler takes the `Forward` it gives."""
        with ExitStack() as stack:
            if self.weights is not None:
                stack.enter_context(self.weights.apply(self.model.hf))
            if self.steering:
                stack.enter_context(self.model.steer(self.steering))
            yield PLAIN if self.readout is None else stack.enter_context(self.readout.open_forward(self.model))

    def answer(self, problems: Sequence[Problem], task: Task, *, label: str, seed: int) -> list[Answer]:
        """One answer per problem, as the policy would be used.

        Args:
            task: reads completions for searches that compare answers.
            label, seed: the task's name in the run; with the problem's id and the sample's index, the identity of every
                random number.
        """
        if not problems:
            return []  # before any steering opens, which would rightly complain that it touched nothing
        prompts, asks = self._build_queries(problems, label, seed)
        with self.apply() as forward:
            if self.search is not None:
                answers = self.search.run(self.model, asks, self.decoding, task, forward)
            else:
                completions = search.sample_completions(self.model, asks, self.decoding, forward, 1)
                answers = [search.to_result(ask, samples, 0) for ask, samples in zip(asks, completions, strict=True)]
        rows = zip(prompts, asks, answers, strict=True)
        return [Answer(*result[:4], len(ask.ids), prompt + ask.opening, result.notes) for prompt, ask, result in rows]

    def draw(
        self, problems: Sequence[Problem], *, task: str, seed: int, n: int, decoding: Decoding, first: int = 0
    ) -> list[tuple[str, str, list[Completion]]]:
        """(prompt, forced opening, `n` completions) per problem, not searched; samples are numbered from `first`."""
        if not problems:
            return []
        prompts, asks = self._build_queries(problems, task, seed)
        with self.apply() as forward:
            completions = search.sample_completions(self.model, asks, decoding, forward, n, first)
        return [(prompt, ask.opening, samples) for prompt, ask, samples in zip(prompts, asks, completions, strict=True)]

    def _build_queries(self, problems: Sequence[Problem], label: str, seed: int) -> tuple[list[str], list[Query]]:
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
            ElicitError: a policy that answers by searching or through another readout.
        """
        if not self.has_distribution:
            raise ElicitError(f"{self!r} has no next-token distribution of its own to score with.")
        scored = [self.model.encode_pair(*pair) for pair in zip(prompts, completions, strict=True)]
        with self.apply():
            return logprobs(self.model.engine, scored)

    def meaning(self) -> dict[str, Any]:
        """Everything but tensors, as plain data. `date`, the day that prompts are told, only where they are."""
        date = self.model.prompt_date
        return {
            "base": {"name": self.model.name, "weights_sha256": self.model.weights_sha256},
            "decoding": plain_fields(self.decoding),
            "prompting": plain_fields(self.prompting),
            "search": None if self.search is None else {"kind": self.search.kind, **plain_fields(self.search)},
            **({} if date is None else {"date": date}),
        }

    @property
    def sha256(self) -> str:
        """Hash of everything that decides what the policy says."""
        return self._content_hash(self.meaning())

    def _content_hash(self, meaning: dict[str, Any]) -> str:
        del meaning["base"]["name"]
        parts = [json.dumps(meaning, sort_keys=True), *(edit.sha256 for edit in self.steering)]
        parts.append(self.weights.sha256 if self.weights is not None else "base")
        parts += [self.readout.sha256] if self.readout is not None else []
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def save(self, folder: Path) -> str:
        """Write the policy into an existing empty folder: JSON for meaning, safetensors for weights and directions.

        Checkpoints become policy folders of their own, `checkpoints/000010`, one after another. Returns the hash.
        """
        trail.save_delta(PolicyDelta(self.weights, self.steering), folder)
        if self.readout is not None:
            readouts.save_readout(self.readout, folder)
        hashes = {}
        for step, policy in self.checkpoints.items():
            checkpoint_folder = trail.step_folder(folder / _CHECKPOINTS, step)
            checkpoint_folder.mkdir(parents=True, exist_ok=True)
            hashes[str(step)] = policy.save(checkpoint_folder)
        document = {"format": policy_document.FORMAT, **self.meaning(), "sha256": self.sha256}
        document["record"] = policy_document.without_nan(dict(self.record))
        document |= {_CHECKPOINTS: hashes} if hashes else {}
        (folder / policy_document.NAME).write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
        return str(document["sha256"])

    @classmethod
    def from_peft(cls, model: BaseModel, folder: str | Path, *, any_base: bool = False) -> Policy:
        """The base with an adapter that somebody else made with peft.

        Args:
            folder: what `PeftModel.save_pretrained` wrote.
            any_base: accept an adapter that names another base.

        Raises:
            ElicitError: no adapter there, an unsupported kind, or one that was made for another model.
        """
        adapter = adapters.read_adapter(Path(folder))
        if not any_base:
            adapters.check_adapter_base(adapter, model, str(folder))
        with adapter.apply(model.hf):  # does it fit?
            pass
        return cls(model, weights=adapter, record={"adapter": adapter.to_record()})

    @classmethod
    def load(cls, folder: Path, model: BaseModel) -> Policy:
        """Read what `save` wrote, for the same base model. Checkpoints are found now and read when they are asked for.

        Where its prompts were told a date by the chat template, the policy's model tells it again: bind tasks with
        `policy.model.bind`.

        Raises:
            ElicitError: no policy there, a damaged one, or one of another base model.
        """
        document = policy_document.read_document(folder)
        policy_base = document.base
        if policy_base.weights_sha256 != model.weights_sha256:
            raise ElicitError(
                f"the policy in {folder} was made from {policy_base.name} (weights {policy_base.weights_sha256[:12]}), "
                f"but the model given is {model.name} (weights {model.weights_sha256[:12]})."
            )
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
        if date is None:  # saved before policies knew the day
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
