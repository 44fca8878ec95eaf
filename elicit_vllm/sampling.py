"""The logits processor: chooses every token by identity, and leaves vLLM's greedy sampler no other.

A request carries its own instructions in `SamplingParams.extra_args["elicit"]` and runs at vLLM's temperature 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

from elicit_vllm.choosing import Choice, Filters, Stream, choose
from elicit_vllm.records import find_record

ARGUMENTS = "elicit"


class _Row(NamedTuple):
    """A request in the batch."""

    arguments: Mapping[str, Any]
    filters: Filters
    stream: Stream | None
    output: list[int]
    """vLLM's own list of its tokens so far."""


class IdentitySampling(LogitsProcessor):
    """Chooses the tokens of requests that carry instructions; leaves others alone."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self._rows: dict[int, _Row] = {}

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        if batch_update is None:
            return
        for index in batch_update.removed:
            self._rows.pop(index, None)
        for index, params, _, output in batch_update.added:
            arguments = (params.extra_args or {}).get(ARGUMENTS)
            self._rows.pop(index, None)
            if arguments is not None and "filters" in arguments:
                key = arguments["key"]
                stream = None if key is None else Stream(int(key), arguments["start"])
                self._rows[index] = _Row(arguments, Filters(**arguments["filters"]), stream, output)
        for source, target, direction in batch_update.moved:
            moved, replaced = self._rows.pop(source, None), self._rows.pop(target, None)
            if moved is not None:
                self._rows[target] = moved
            if direction == MoveDirectionality.SWAP and replaced is not None:
                self._rows[source] = replaced

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        if not self._rows:
            return logits
        indices = sorted(self._rows)
        rows = [self._rows[index] for index in indices]
        where = torch.tensor(indices, device=logits.device)
        chosen = choose(logits[where], [_describe_choice(row) for row in rows])
        for row, choice in zip(rows, chosen, strict=True):
            find_record(row.arguments["id"]).chosen[len(row.output)] = choice
        logits[where] = -torch.inf
        logits[where, torch.tensor([choice.token for choice in chosen], device=logits.device)] = 0.0
        return logits


def _describe_choice(row: _Row) -> Choice:
    step = len(row.output)
    first = step == 0
    return Choice(
        row.filters,
        0.0 if row.stream is None else row.stream.number(step),
        row.arguments["rank"] if first else None,
        tuple(row.arguments["avoid"]) if first else (),
    )
