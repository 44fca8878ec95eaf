"""A policy in vLLM: the lab's requests, answered by a server of `elicit_vllm`, and every answer checked.

1. A row (one sample of one request) is sent with its prompt length, random-number key, filters and edits.
2. The server stops at end tokens, at stop strings as vLLM sees them, or at the limit. Whether a text has ended is for
   the lab's own `Stopper` to say: a row that stopped too early goes on from where it is, and one that ran on is cut.
3. Every answer says at which positions each edit acted. An edit that acted anywhere else than planned, or not where it
   was to act, is an error: steering never fails in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from elicit.context import check_sampling_fits, check_text_fits
from elicit.engines.http import PROTOCOL, Connection
from elicit.engines.same_text import check_same_text
from elicit.engines.vllm_edits import EditFile, write_edit
from elicit.engines.vllm_rows import Row, check_touched
from elicit.engines.vllm_weights import WeightFile, find_weights_obstacle, write_weights
from elicit.errors import ElicitError
from elicit.sampling.decoding import Completion, Decoding, Measure, Request
from elicit.sampling.elsewhere import Elsewhere
from elicit.sampling.forward import Engine
from elicit.sampling.score import Scored
from elicit.sampling.stopping import Stopper
from elicit.steering import AnyEdit
from elicit.weights import Weights


class VLLMEngine:
    """A vLLM server that holds the model of one of the lab's samplers."""

    def __init__(self, connection: Connection, engine: Engine, *, rollouts: bool = False) -> None:
        """Connect to a server.

        Args:
            rollouts: trainings take their rollouts from it.

        Raises:
            ElicitError: it does not answer, or speaks another version of the protocol.
        """
        self.connection, self._engine, self._hf = connection, engine, engine.hf
        self.rollouts = rollouts
        self._written: tuple[str, WeightFile] | None = None
        self._proved: set[str] = set()
        self.about = connection.get("about")
        if self.about.get("protocol") != PROTOCOL:
            raise ElicitError(
                f"the vLLM server at {connection.url} speaks version {self.about.get('protocol')} of the protocol, "
                f"this lab {PROTOCOL}. Start it from the lab's own copy of elicit_vllm."
            )

    def __repr__(self) -> str:
        return f"VLLMEngine({self.connection.url})"

    def describe(self) -> str:
        """Its name and version, for records."""
        return f"vllm {self.about['version']}"

    def find_obstacle(self, weights: Weights | None, steering: Sequence[AnyEdit]) -> str | None:
        """Why it cannot run the base with these weights and edits; None if it can."""
        try:
            for edit in steering:
                write_edit(edit)
        except ElicitError as error:
            return str(error)
        return None if weights is None else find_weights_obstacle(self._hf, weights)

    @contextmanager
    def open(self, weights: Weights | None, steering: Sequence[AnyEdit]) -> Iterator[VLLMPolicy]:
        """Run the base with these weights and edits while the context is open."""
        edits = [write_edit(edit) for edit in steering]
        for edit in edits:
            self.connection.put_once(f"edits/{edit.name}", edit.content)
        yield VLLMPolicy(self.connection, tuple(edits), self._send_weights(weights))

    def generate_together(
        self, engine: Engine, parts: Sequence[tuple[VLLMPolicy, Sequence[Request]]], decoding: Decoding
    ) -> list[list[list[Completion]]]:
        """Sample the requests of several policies of one set of weights in one batch: every row has its own edits.

        Raises:
            ValueError: the policies differ in their weights or server.
        """
        return generate_together(engine, parts, decoding)

    def _send_weights(self, weights: Weights | None) -> str | None:
        """Send the tensors that `weights` change; returns their name."""
        if weights is None:
            return None
        if self._written is None or self._written[0] != weights.sha256:
            self._written = weights.sha256, write_weights(self._hf, weights, self.about["vocabulary"])
        name, content = self._written[1]
        self.connection.put_once(f"weights/{name}", content)
        if name not in self._proved:
            with weights.apply(self._hf):
                check_same_text(self._engine, VLLMPolicy(self.connection, (), name), "with trained weights")
            self._proved.add(name)
        return name


@dataclass(frozen=True)
class VLLMPolicy(Elsewhere):
    """The base with a policy's weights and edits, on a server."""

    connection: Connection
    edits: tuple[EditFile, ...] = ()
    weights: str | None = None
    """Name of a file of tensors that take the place of the base's own."""

    def generate(
        self, engine: Engine, requests: Sequence[Request], decoding: Decoding, measure: Measure | None
    ) -> list[list[Completion]]:
        return generate_together(engine, [(self, requests)], decoding, measure)[0]

    def logprobs(self, engine: Engine, sequences: Sequence[Scored]) -> list[list[float]]:
        for sequence in sequences:
            check_text_fits(len(sequence.prompt) + len(sequence.completion), engine.context)
        edits = [edit.name for edit in self.edits]
        requests = [{"ids": [*s.prompt, *s.completion], "prompt": len(s.prompt), "edits": edits} for s in sequences]
        answers = self.post("score", engine, requests)
        for sequence, answer in zip(sequences, answers, strict=True):
            check_touched(self.edits, len(sequence.prompt) + len(sequence.completion), len(sequence.prompt), answer)
        return [answer["logprobs"] for answer in answers]

    def post(self, path: str, engine: Engine, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Send requests that run with this policy's weights; returns the answers."""
        vocabulary = int(engine.hf.get_input_embeddings().num_embeddings)
        setting = {"vocabulary": vocabulary, "banned": list(engine.banned_ids), "weights": self.weights}
        answers: list[dict[str, Any]] = self.connection.post(path, {"setting": setting, "requests": list(requests)})[
            "answers"
        ]
        return answers


def generate_together(
    engine: Engine,
    parts: Sequence[tuple[VLLMPolicy, Sequence[Request]]],
    decoding: Decoding,
    measure: Measure | None = None,
) -> list[list[list[Completion]]]:
    """Sample the requests of several policies of one set of weights in one batch: every row has its own edits.

    Returns:
        For every part what `sampling.generate` gives for it alone.

    Raises:
        ValueError: the policies differ in their weights or server.
    """
    first = parts[0][0]
    if any((policy.connection, policy.weights) != (first.connection, first.weights) for policy, _ in parts):
        raise ValueError("policies of different weights or servers cannot share a batch")
    rows: list[list[list[Row]]] = []
    for policy, requests in parts:
        rows.append([])
        for request in requests:
            limit = decoding.max_new_tokens if request.limit is None else min(request.limit, decoding.max_new_tokens)
            check_sampling_fits(len(request.ids), limit, engine.context)
            ranks = request.ranks or (None,) * len(request.keys)
            rows[-1].append(
                [Row(request, policy.edits, key, rank, limit) for key, rank in zip(request.keys, ranks, strict=True)]
            )
    stopper = Stopper(engine.tokenizer, decoding.stop)
    every = [row for requests_of in rows for group in requests_of for row in group]
    pending = every
    while pending:
        answers = first.post("complete", engine, [row.describe(decoding, engine.end_ids) for row in pending])
        for row, answer in zip(pending, answers, strict=True):
            row.take(answer, engine.end_ids, stopper, measure)
        pending = [row for row in pending if row.finish is None]
    return [[[row.complete(stopper, measure) for row in group] for group in requests_of] for requests_of in rows]
