"""Run a model's layers one by one, from any of them to the logits.

A patch at layer L changes nothing below L. So the unpatched batch runs once, with the arguments and the input of every
layer kept; a patched run starts at its layer, with those arguments. That is the model's own code layer by layer, on any
architecture whose decoder passes one stream through its layers, and whether it is, is tested: an unpatched replay must
give the model's logits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int

from elicit.activations.sites import Replace, Site, replace_site
from elicit.errors import ElicitError
from elicit.loading import architectures
from elicit.loading.logits import compute_model_logits
from elicit.loading.parts import first_tensor
from elicit.sampling.forward import Engine
from elicit.sampling.score import PackedBatch
from elicit.steering import build_padded_frame

_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Replay:
    """An unpatched run of a batch, and what its layers were called with."""

    engine: Engine
    batch: PackedBatch
    inputs: tuple[torch.Tensor, ...]
    """Residual before every layer, and after the last: [batch, pos, d_model] each."""
    arguments: tuple[tuple[tuple[Any, ...], Mapping[str, Any]], ...]
    """Further positional and named arguments of every layer."""
    logits: Float[torch.Tensor, "batch vocab"]
    """At the last prompt token, from the model's own pass."""
    order: Int[torch.Tensor, " row"]
    """Rows of the recorded batch that are replayed; a row may be named many times."""

    def select(self, rows: Sequence[int]) -> Replay:
        """A replay of some of the recorded rows, which may be named several times."""
        return dataclasses.replace(self, order=torch.tensor(list(rows)))

    @property
    def prompts(self) -> list[int]:
        """The prompt of every replayed row."""
        return [self.batch.indices[row] for row in self.order.tolist()]

    @property
    def prompt_lengths(self) -> Int[torch.Tensor, " row"]:
        return self.batch.prompt_lengths[self.order]

    @cached_property
    def _own_arguments(self) -> list[tuple[tuple[Any, ...], Mapping[str, Any]]]:
        """The layers' arguments for the replayed rows. Layers share most of them, which are expanded once."""
        expanded: dict[int, Any] = {}

        def expand(value: Any) -> Any:
            if isinstance(value, tuple | list):
                return type(value)(expand(part) for part in value)
            if not isinstance(value, torch.Tensor) or not value.ndim or value.shape[0] != len(self.batch.indices):
                return value
            if len(value) == 1:  # broadcasts
                return value
            if id(value) not in expanded:
                expanded[id(value)] = value[self.order.to(value.device)]
            return expanded[id(value)]

        return [
            (expand(args), {name: expand(value) for name, value in kwargs.items()}) for args, kwargs in self.arguments
        ]

    def run(self, edits: Mapping[Site, Replace]) -> Float[torch.Tensor, "batch vocab"]:
        """Logits at the last prompt token of every replayed row, with the activations of some sites replaced."""
        layers = architectures.get_decoder_layers(self.engine.hf)
        start = min((_find_start(site) for site in edits), default=0)
        hidden = self.inputs[start][self.order.to(self.inputs[start].device)]
        inside = {site: replace for site, replace in edits.items() if site != Site(start - 1, "resid_post")}
        if len(inside) < len(edits):
            hidden = edits[Site(start - 1, "resid_post")](hidden)
        clock = self.engine.clock
        clock.explicit = build_padded_frame(self.batch.real[self.order], self.prompt_lengths)
        try:
            with ExitStack() as stack:
                for site, replace in inside.items():
                    stack.enter_context(replace_site(self.engine.hf, site, replace))
                for number in range(start, len(layers)):
                    args, kwargs = self._own_arguments[number]
                    hidden = first_tensor(layers[number](hidden.to(self.inputs[number].device), *args, **kwargs))
        finally:
            clock.explicit = None
        return self._read_logits(hidden)

    def _read_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(len(hidden), device=hidden.device)
        last = hidden[rows, (self.prompt_lengths - 1).to(hidden.device)]
        norm = architectures.get_final_norm(self.engine.hf)
        return compute_model_logits(self.engine.hf, norm(last[None])[0])

    def check(self) -> None:
        """Raise ElicitError unless an unpatched replay gives the model's own logits."""
        replayed = self.run({})
        logits = self.logits[self.order.to(self.logits.device)].float()
        distance = (replayed.float() - logits).norm() / logits.norm().clamp(min=1e-30)
        tolerance = _TOLERANCE if self.logits.dtype == torch.float32 else 0.05
        if not float(distance) <= tolerance:
            kind = architectures.unwrap_model(self.engine.hf).config.model_type
            raise ElicitError(
                f"patch: the layers of this {kind} model, run one by one, do not give its logits ({float(distance):.2g}"
                " away, relative to their size), so it cannot be patched here. model.bridge may know the architecture."
            )


def record_run(engine: Engine, batch: PackedBatch) -> Replay:
    """Run a batch as the model is (steered, if steering is open) and keep what its layers got."""
    layers = architectures.get_decoder_layers(engine.hf)
    inputs: dict[int, torch.Tensor] = {}
    arguments: dict[int, tuple[tuple[Any, ...], Mapping[str, Any]]] = {}
    outputs: list[torch.Tensor] = []

    def make_hook(number: int) -> Any:
        def keep(_: Any, args: Any, kwargs: Any) -> None:
            rest = dict(kwargs)
            inputs[number] = args[0] if args else rest.pop("hidden_states")
            arguments[number] = (tuple(args[1:]), rest)

        return keep

    def keep_output(_: Any, args: Any, output: Any) -> None:
        outputs[:] = [first_tensor(output)]

    engine.clock.explicit = build_padded_frame(batch.real, batch.prompt_lengths)
    with ExitStack() as stack:
        for number, layer in enumerate(layers):
            handle = layer.register_forward_pre_hook(make_hook(number), with_kwargs=True)
            stack.callback(handle.remove)
        stack.callback(layers[-1].register_forward_hook(keep_output).remove)
        try:
            final = architectures.get_decoder(engine.hf)(input_ids=batch.ids.to(engine.hf.device), use_cache=False)
        finally:
            engine.clock.explicit = None
    hidden = final.last_hidden_state
    rows = torch.arange(len(hidden), device=hidden.device)
    logits = compute_model_logits(engine.hf, hidden[rows, (batch.prompt_lengths - 1).to(hidden.device)])
    ordered = [inputs[number] for number in range(len(layers))] + outputs
    every = torch.arange(len(batch.indices))
    return Replay(engine, batch, tuple(ordered), tuple(arguments[i] for i in range(len(layers))), logits, every)


def _find_start(site: Site) -> int:
    """The first layer that has to run: the site's, or for the residual after it the next."""
    return site.layer + (site.name == "resid_post")
