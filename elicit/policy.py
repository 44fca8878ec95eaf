"""`Policy`: what a method returns and everything downstream consumes.

A policy is a base model plus, optionally, changed weights, steering, decoding, a way of prompting and a vote. It
samples, scores, saves, loads and has a content hash. The untouched base is a policy.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from elicit import seeds, steering, weights
from elicit.errors import ElicitError
from elicit.model import BaseModel
from elicit.sampling import Completion, Decoding, Request, Scored, generate, logprobs
from elicit.steering import Steering
from elicit.tasks import Problem


@dataclass(frozen=True)
class Prompting:
    """How a problem becomes a prompt."""

    condition: Literal["plain", "cue", "forced"] = "plain"
    """plain: the problem's prompt. cue: its cue prompt. forced: the prompt and the opening of a worked solution."""
    template: str = "{prompt}"
    """Text around the prompt; `{prompt}` is replaced, nothing else is interpreted."""

    def __post_init__(self) -> None:
        if "{prompt}" not in self.template:
            raise ElicitError("prompting: the template has no {prompt} in it.")

    def render(self, problem: Problem) -> tuple[str, str]:
        """(prompt, forced opening or "").

        Raises:
            ElicitError: if the problem has no cue prompt, or no opening to force.
        """
        if self.condition == "cue":
            if problem.cue_prompt is None:
                raise ElicitError(f"problem {problem.id} has no cue prompt; this arm needs a task with `cue_prompt`.")
            return self.template.replace("{prompt}", problem.cue_prompt), ""
        if self.condition == "forced":
            if problem.opening is None:
                raise ElicitError(f"problem {problem.id} has no worked solution, so no opening can be forced.")
            return self.template.replace("{prompt}", problem.prompt), problem.opening
        return self.template.replace("{prompt}", problem.prompt), ""


class Answer(NamedTuple):
    """A policy's answer to one problem."""

    text: str
    tokens: int
    """Generated tokens, outvoted ones included."""
    finished: bool
    firings: int
    prompt_tokens: int
    prompt: str


@dataclass(frozen=True, eq=False)
class Policy:
    """A base model and everything a method made of it."""

    model: BaseModel
    decoding: Decoding = field(default_factory=Decoding)
    prompting: Prompting = field(default_factory=Prompting)
    steering: tuple[Steering, ...] = ()
    weights: weights.Weights | None = None
    votes: int = 1
    """Answers sampled per problem; the most frequent canonical answer wins (the first seen among equals)."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What fitting found and cost: plain data for the report. Does not enter the hash."""

    def __repr__(self) -> str:
        parts = [self.model.name, self.prompting.condition]
        parts += [str(edit) for edit in self.steering]
        if self.weights is not None:
            parts.append(f"{self.weights.parameters:,} trained values")
        parts.append("greedy" if self.decoding.temperature == 0 else f"T={self.decoding.temperature:g}")
        if self.votes > 1:
            parts.append(f"majority of {self.votes}")
        return f"Policy({'; '.join(parts)})"

    @property
    def is_search(self) -> bool:
        """Whether the text it answers with has no next-token distribution of its own (votes): KL is then undefined."""
        return self.votes > 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The base model runs as this policy while the context is open."""
        with ExitStack() as stack:
            if self.weights is not None:
                stack.enter_context(self.weights.applied(self.model.hf))
            if self.steering:
                stack.enter_context(self.model.steer(self.steering))
            yield

    def answer(
        self, problems: Sequence[Problem], canonical: Callable[[Problem, str], str | None], *, task: str, seed: int
    ) -> list[Answer]:
        """One answer per problem, as the policy would be used.

        Args:
            canonical: the task's reading of a completion; votes are counted over it.
            task, seed: with the problem's id and the sample's index, the identity of every random number.
        """
        drawn = self.draw(problems, task=task, seed=seed, n=self.votes, decoding=self.decoding)
        return [self._vote(problem, *one, canonical) for problem, one in zip(problems, drawn, strict=True)]

    def draw(
        self, problems: Sequence[Problem], *, task: str, seed: int, n: int, decoding: Decoding, first: int = 0
    ) -> list[tuple[str, str, list[Completion]]]:
        """(prompt, forced opening, `n` completions) per problem; samples are numbered from `first`."""
        if not problems:
            return []  # before any steering opens, which would rightly complain that it touched nothing
        rendered = [self.prompting.render(problem) for problem in problems]
        requests = []
        for problem, (prompt, opening) in zip(problems, rendered, strict=True):
            keys = tuple(seeds.key(seed, task, problem.id, sample) for sample in range(first, first + n))
            forced = self.model.continuation(opening) if opening else ()
            requests.append(Request(self.model.encode(prompt) + forced, keys, len(forced)))
        with self.applied():
            completions = generate(self.model.engine, requests, decoding)
        return [(*pair, one) for pair, one in zip(rendered, completions, strict=True)]

    def _vote(
        self,
        problem: Problem,
        prompt: str,
        opening: str,
        completions: list[Completion],
        canonical: Callable[[Problem, str], str | None],
    ) -> Answer:
        texts = [opening + completion.text for completion in completions]
        winner = 0
        if len(texts) > 1:
            read = [canonical(problem, text) for text in texts]
            # Completions without an answer do not vote, unless none has one.
            counts = Counter(answer for answer in read if answer is not None)
            if counts:
                winner = read.index(counts.most_common(1)[0][0])
        return Answer(
            texts[winner],
            sum(len(completion.tokens) for completion in completions),
            completions[winner].finished,
            sum(completion.firings for completion in completions),
            completions[0].prompt_tokens,
            prompt + opening,
        )

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[list[float]]:
        """log p (nats) of every token of each completion under this policy, teacher-forced."""
        pairs = zip(prompts, completions, strict=True)
        scored = [Scored(self.model.encode(prompt), self.model.continuation(text)) for prompt, text in pairs]
        with self.applied():
            return logprobs(self.model.engine, scored)

    def meaning(self) -> dict[str, Any]:
        """Everything but tensors, as plain data."""
        return {
            "base": {"name": self.model.name, "weights_sha256": self.model.weights_sha256},
            "decoding": dataclasses.asdict(self.decoding),
            "prompting": dataclasses.asdict(self.prompting),
            "votes": self.votes,
        }

    @property
    def sha256(self) -> str:
        """Hash of everything that decides what the policy says."""
        meaning = self.meaning()
        del meaning["base"]["name"]
        parts = [json.dumps(meaning, sort_keys=True), *(edit.sha256 for edit in self.steering)]
        parts.append(self.weights.sha256 if self.weights is not None else "base")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write the policy into an existing empty folder: JSON for meaning, safetensors for weights and directions."""
        if self.steering:
            steering.save(self.steering, folder)
        if self.weights is not None:
            self.weights.save(folder)
        document = {**self.meaning(), "sha256": self.sha256, "record": dict(self.record)}
        (folder / "policy.json").write_text(json.dumps(document, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path, model: BaseModel) -> Policy:
        """Read what `save` wrote, for the same base model.

        Raises:
            ElicitError: no policy there, or one of another base model.
        """
        try:
            document = json.loads((folder / "policy.json").read_text())
        except FileNotFoundError:
            raise ElicitError(f"{folder} holds no policy.json; expected a policy folder of a run.") from None
        theirs = document["base"]
        if theirs["weights_sha256"] != model.weights_sha256:
            raise ElicitError(
                f"the policy in {folder} was made from {theirs['name']} (weights {theirs['weights_sha256'][:12]}), "
                f"but the model given is {model.name} (weights {model.weights_sha256[:12]})."
            )
        document["decoding"]["stop"] = tuple(document["decoding"]["stop"])
        policy = cls(
            model,
            Decoding(**document["decoding"]),
            Prompting(**document["prompting"]),
            steering.load(folder),
            weights.load(folder),
            document["votes"],
            document["record"],
        )
        if policy.sha256 != document["sha256"]:
            raise ElicitError(f"the policy in {folder} is damaged: its files do not have the hash it was saved with.")
        return policy
