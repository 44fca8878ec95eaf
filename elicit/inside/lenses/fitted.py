"""Lenses that are fitted on text: an affine map a layer, and where it came from.

A fitted lens is a folder: `lens.safetensors` holds `layers.L.weight` (and `layers.L.bias`), `lens.json` its provenance.
It belongs to the weights on which it was fitted and is refused on others.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float

from elicit import documents
from elicit.errors import ElicitError
from elicit.format_versions import CURRENT_VERSIONS, FORMAT_VERSION, check_format_version
from elicit.inside.lenses.lens import Lens
from elicit.loading.hashes import weights_hash
from elicit.model import BaseModel
from elicit.tensors import read_tensors, require_tensor
from elicit.version import __version__

_TENSORS, _DOCUMENT = "lens.safetensors", "lens.json"


@dataclass(frozen=True)
class LensFit:
    """Provenance of a fitted lens."""

    kind: str
    model: str
    weights_sha256: str
    """Of the weights as they were during the fit (`loading.hashes.weights_hash`)."""
    tokenizer_sha256: str
    text: str
    """Name of the text."""
    text_sha256: str
    """Hash of the token ids."""
    texts: int
    tokens: int
    """Positions that the maps were fitted on."""
    settings: Mapping[str, Any]
    """Options of the fit."""
    quality: Mapping[str, tuple[float | None, ...]]
    """Measures of the fit for every layer, by name; null where one is not known."""
    dtype: str
    elicit: str = __version__


@dataclass(frozen=True, eq=False)
class FittedLens(Lens):
    """A lens with an affine map for every layer before the last."""

    maps: Mapping[int, Float[torch.Tensor, "d_model d_model"]]
    """Layer -> M, with transport(h) = M h + bias. Float32, on the CPU."""
    biases: Mapping[int, Float[torch.Tensor, " d_model"]]
    """Layer -> bias; empty for a linear lens."""
    fit: LensFit
    _placed: dict[tuple[int, torch.device], tuple[torch.Tensor, torch.Tensor | None]] = field(
        default_factory=dict, repr=False
    )

    @property
    def layers(self) -> tuple[int, ...]:
        return (*sorted(self.maps), self.model.n_layers - 1)

    def transport(self, hidden: Float[torch.Tensor, "pos d_model"], layer: int) -> Float[torch.Tensor, "pos d_model"]:
        """M h + bias, in float32."""
        key = layer, hidden.device
        if key not in self._placed:
            bias = self.biases.get(layer)
            self._placed[key] = self.maps[layer].to(hidden.device), None if bias is None else bias.to(hidden.device)
        matrix, bias = self._placed[key]
        moved = hidden.float() @ matrix.T
        return moved if bias is None else moved + bias

    def on(self, model: BaseModel) -> Self:
        """The same maps with a model of the same weights.

        Raises:
            ElicitError: other weights, or another tokenizer.
        """
        require_same_weights(self.fit, model)
        return dataclasses.replace(self, model=model, _placed={})

    def save(self, folder: str | Path) -> Path:
        """Write the lens into a new or empty folder.

        Raises:
            ElicitError: the folder holds something.
        """
        from safetensors.torch import save_file

        path = Path(folder)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ElicitError(f"{path} is not an empty folder. Give the lens a folder of its own.")
        path.mkdir(parents=True, exist_ok=True)
        tensors = {f"layers.{layer}.weight": matrix.contiguous() for layer, matrix in self.maps.items()}
        tensors |= {f"layers.{layer}.bias": bias.contiguous() for layer, bias in self.biases.items()}
        save_file(tensors, path / _TENSORS)
        document = {
            FORMAT_VERSION: CURRENT_VERSIONS["lens"],
            **dataclasses.asdict(self.fit),
            "layers": sorted(self.maps),
        }
        (path / _DOCUMENT).write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
        return path

    @classmethod
    def load(cls, folder: str | Path, model: BaseModel) -> Self:
        """Read a lens that `save` wrote, for the model on whose weights it was fitted.

        Raises:
            ElicitError: the folder is missing or damaged, holds a lens of another kind, or one of other weights.
        """
        path = Path(folder)
        document = documents.read_object(path / _DOCUMENT)
        check_format_version(document, "lens", path / _DOCUMENT)
        layers = documents.as_record(document.pop("layers", None), list[int], f"{path / _DOCUMENT}: layers")
        document.pop(FORMAT_VERSION, None)
        fit = documents.as_record(document, LensFit, path / _DOCUMENT)
        if fit.kind != cls.kind:
            raise ElicitError(f"{path} holds a {fit.kind} lens; expected a {cls.kind} lens.")
        require_same_weights(fit, model, path)
        tensors = read_tensors(path / _TENSORS)
        maps = {layer: require_tensor(tensors, f"layers.{layer}.weight", path / _TENSORS).float() for layer in layers}
        biases = {i: tensors[f"layers.{i}.bias"].float() for i in layers if f"layers.{i}.bias" in tensors}
        d = model.d_model
        shapes = {tuple(matrix.shape) for matrix in maps.values()}
        if shapes != {(d, d)} or not set(layers) <= set(range(model.n_layers - 1)):
            raise ElicitError(f"{path / _TENSORS}: expected [{d}, {d}] for layers below {model.n_layers - 1}.")
        return cls(model, maps, biases, fit)

    def __repr__(self) -> str:
        fit = self.fit
        lines = [
            f"{type(self).__name__}({fit.model}, {len(self.maps)} layers; {fit.texts} texts of {fit.text!r}, "
            f"{fit.tokens:,} tokens)"
        ]
        for name, values in fit.quality.items():
            lines.append(f"  {name}: " + " ".join("–" if v is None else f"{v:.3g}" for v in values))
        return "\n".join(lines)


def require_same_weights(fit: LensFit, model: BaseModel, where: object = "this lens") -> None:
    """Raises ElicitError unless the lens was fitted on the model's weights and tokens."""
    if fit.tokenizer_sha256 != model.tokenizer_sha256:
        raise ElicitError(f"{where} was fitted with another tokenizer than that of {model.name}. Fit one for it.")
    if fit.weights_sha256 != weights_hash(model.hf):
        raise ElicitError(f"{where} was fitted on the weights of {fit.model}, not on those of {model.name}. Fit one.")


def describe_fit(
    kind: str,
    model: BaseModel,
    text: str,
    sequences: Sequence[Sequence[int]],
    tokens: int,
    settings: Mapping[str, Any],
    quality: Mapping[str, Sequence[float]],
) -> LensFit:
    """The provenance of a lens that was just fitted; NaN in its quality becomes null."""
    known = {k: tuple(None if math.isnan(v) else float(v) for v in values) for k, values in quality.items()}
    digest = hashlib.sha256(json.dumps([list(ids) for ids in sequences]).encode()).hexdigest()
    return LensFit(
        kind,
        model.name,
        weights_hash(model.hf),
        model.tokenizer_sha256,
        text,
        digest,
        len(sequences),
        tokens,
        dict(settings),
        known,
        str(model.dtype).removeprefix("torch."),
    )


def check_layers_before_last(model: BaseModel, layers: Sequence[int] | None) -> tuple[int, ...]:
    """The layers to fit, in order: None for all before the last.

    Raises:
        ElicitError: one is not before the last layer.
    """
    known = range(model.n_layers - 1)
    chosen = tuple(known) if layers is None else tuple(sorted(set(layers)))
    if not chosen or not set(chosen) <= set(known):
        raise ElicitError(f"lens: layers {list(chosen)}: expected some of 0 to {model.n_layers - 2}, before the last.")
    return chosen
