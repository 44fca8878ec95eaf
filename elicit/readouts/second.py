"""`SecondModel`: a model that runs along with the policy's own, with its own cache.

It is another model by name (an amateur: smaller, or an earlier checkpoint), or the same base with other weights and
edits (the policy of another arm). The base is never copied whole: a second tree of modules shares every parameter that
the weights do not change. A policy with a second model must therefore not have changed weights of its own, which would
affect both; trained weights belong to the second model.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from elicit import documents, steering, weights
from elicit.errors import ElicitError
from elicit.loading import architectures
from elicit.loading.frequencies import reset_dynamic_rope
from elicit.model import BaseModel
from elicit.sampling import Engine
from elicit.steering import AnyEdit, PositionTracker, steer, to_hook_edit
from elicit.weights import FullWeights, Weights

if TYPE_CHECKING:
    import torch

_FOLDER = "second"


@dataclass(frozen=True)
class SecondModelEntry:
    """A second model in `readout.json`; both fields are null for the base itself."""

    name: str | None
    weights_sha256: str | None


class RunningModel(NamedTuple):
    """A second model while its context is open."""

    engine: Engine
    layers: Sequence[nn.Module]


@dataclass(frozen=True, eq=False)
class SecondModel:
    """Spec of a second model. Equality is by `sha256`."""

    name: str | None = None
    """Name of a model to load; None: the base itself."""
    weights_sha256: str | None = None
    """Hash of the named model's weights."""
    weights: Weights | None = None
    """Trained changes to the base, if `name` is None."""
    steering: tuple[AnyEdit, ...] = ()

    @classmethod
    def from_name(cls, base: BaseModel, name: str) -> SecondModel:
        """Another model by name, which must have the base's tokenizer.

        Raises:
            ElicitError: the model is unknown or has another tokenizer.
        """
        other = base.another(name)
        if other.tokenizer_sha256 != base.tokenizer_sha256:
            raise ElicitError(
                f"{name} and {base.name} have different tokenizers ({other.tokenizer_sha256[:12]} and "
                f"{base.tokenizer_sha256[:12]}): their logits cannot be compared token by token. Name a model of the "
                "same family, such as a smaller one or an earlier checkpoint."
            )
        return cls(name, other.weights_sha256)

    @property
    def sha256(self) -> str:
        parts = ["base" if self.name is None else str(self.weights_sha256)]
        parts.append("own" if self.weights is None else self.weights.sha256)
        parts += [edit.sha256 for edit in self.steering]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def __str__(self) -> str:
        if self.name is not None:
            return self.name
        changed = [] if self.weights is None else [f"{self.weights.parameters:,} trained values"]
        return ", ".join([*changed, *(str(edit) for edit in self.steering)]) or "the base itself"

    @contextmanager
    def open_model(self, base: BaseModel) -> Iterator[RunningModel]:
        """Open the second model for running.

        Raises:
            ElicitError: a named model has changed since the policy was made.
        """
        if self.name is not None:
            other = base.another(self.name)
            if other.weights_sha256 != self.weights_sha256:
                raise ElicitError(
                    f"the policy was made with {self.name} (weights {str(self.weights_sha256)[:12]}), but the model of "
                    f"that name now has {other.weights_sha256[:12]}. Bring the old one back, or fit the policy again."
                )
            yield RunningModel(other.engine, other.layers)
            return
        hf = _copy_sharing_parameters(base.hf, self.weights)
        base_engine = base.engine
        engine = Engine(
            hf,
            base_engine.tokenizer,
            PositionTracker(base_engine.tokenizer),
            base_engine.end_ids,
            base_engine.pad_id,
            base_engine.banned_ids,
            base_engine.cache_budget,
        )
        with ExitStack() as stack:
            if self.weights is not None:
                stack.enter_context(self.weights.apply(hf))
            layers = list(architectures.get_decoder_layers(hf))
            if self.steering:
                edits = [to_hook_edit(edit) for edit in self.steering]
                stack.enter_context(steer(architectures.get_decoder(hf), layers, engine.clock, edits))
            yield RunningModel(engine, layers)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "weights_sha256": self.weights_sha256}

    def save_tensors(self, folder: Path) -> None:
        """Write weights and edits into a subfolder of `folder`; nothing for a named model."""
        if self.weights is None and not self.steering:
            return
        inner = folder / _FOLDER
        inner.mkdir()
        if self.weights is not None:
            self.weights.save(inner)
        if self.steering:
            steering.save_edits(self.steering, inner)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], folder: Path) -> SecondModel:
        """Load from the output of `to_json` and `save_tensors`. Raises ElicitError for anything else."""
        entry = documents.as_record(data, SecondModelEntry, "second")
        inner = folder / _FOLDER
        if not inner.exists():
            return cls(entry.name, entry.weights_sha256)
        return cls(None, None, weights.load_weights(inner), steering.load_edits(inner))


def _copy_sharing_parameters(hf: Any, changed: Weights | None) -> Any:
    """Build a second tree of modules over the same parameters, except those that full weights will replace."""
    replaced = set(changed.tensors) if isinstance(changed, FullWeights) else set()
    shared: list[torch.Tensor] = [p for name, p in hf.named_parameters() if name not in replaced]
    memo = {id(tensor): tensor for tensor in [*shared, *hf.buffers()]}
    twin = copy.deepcopy(hf, memo)
    for module in twin.modules():  # edits open on the base do not belong to the second model
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            hooks.clear()
    reset_dynamic_rope(twin)  # the one hook that belongs to a model
    return twin
