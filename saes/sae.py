"""`SAE`: one face for sparse autoencoders of every origin, and `Feature`, one of its latents.

With h a residual, f = encode(h) >= 0 the activations (of either sign for the kind `abstopk`), D the decoder rows and b
its bias,

    decode(f) = f @ D + b        error(h) = h - decode(encode(h))

so that changing one activation from f_i to c, with the error kept, is the rank-one edit h + (c - f_i) D_i. That is all
that steering needs: no forward pass ever runs on a reconstruction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from jaxtyping import Float

from elicit.errors import ElicitError
from saes.manifest import Manifest


class Coder(Protocol):
    """The interface of an implementation (SAELens modules do; `saes.sparsify` adapts another). On one device and
    dtype."""

    def encode(self, x: Float[torch.Tensor, "*batch d_model"]) -> Float[torch.Tensor, "*batch d_sae"]: ...

    def decode(self, feature_acts: Float[torch.Tensor, "*batch d_sae"]) -> Float[torch.Tensor, "*batch d_model"]: ...

    def to(self, *args: Any, **kwargs: Any) -> Any: ...


@dataclass(frozen=True, eq=False)
class SAE:
    """A sparse autoencoder of the residual stream after one decoder layer."""

    coder: Coder
    directions: Float[torch.Tensor, "d_sae d_model"]
    """Decoder rows in the residual's own scale, float32: one unit of activation i adds row i."""
    manifest: Manifest
    name: str
    """What `saes.load` takes to load it again."""
    sha256: str
    """Hash of its weights and config."""
    linear: bool = True
    """Whether decode(f) = f @ directions + b. Not so with a normalisation by token (layer_norm, constant_norm_rescale):
    such an SAE can be read and its directions added, but its features cannot be clamped, scaled or ablated."""
    _features: dict[int, Feature] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        return (
            f"SAE({self.name}: {self.manifest.architecture}, {self.d_sae:,} latents at {self.manifest.hook} of "
            f"{self.manifest.model}, d_model {self.d_model})"
        )

    @property
    def layer(self) -> int:
        """The decoder layer whose output it reads."""
        return self.manifest.layer

    @property
    def hook(self) -> str:
        """TransformerLens's name of the place it reads."""
        return self.manifest.hook

    @property
    def d_sae(self) -> int:
        return self.directions.shape[0]

    @property
    def d_model(self) -> int:
        return self.directions.shape[1]

    @property
    def device(self) -> torch.device:
        return self.directions.device

    def encode(self, h: Float[torch.Tensor, "*batch d_model"]) -> Float[torch.Tensor, "*batch d_sae"]:
        """Activations, computed in float32 on the SAE's device whatever the residual's dtype.

        Raises:
            ElicitError: residuals of another width, or of whole numbers.
        """
        if h.shape[-1:] != (self.d_model,) or not h.is_floating_point():
            raise ElicitError(
                f"SAE {self.name!r} reads residuals [..., {self.d_model}] of floating point; these are "
                f"{list(h.shape)} of {h.dtype}."
            )
        return self.coder.encode(h.to(self.device, torch.float32))

    def decode(self, f: Float[torch.Tensor, "*batch d_sae"]) -> Float[torch.Tensor, "*batch d_model"]:
        """The reconstruction of a residual from activations.

        Raises:
            ElicitError: for an SAE that normalises by token, unless `encode` of the same residuals came right before.
        """
        try:
            return self.coder.decode(f)
        except AttributeError as error:
            if self.linear:
                raise
            raise ElicitError(
                f"SAE {self.name!r} normalises every token by itself: activations alone do not tell the residual. "
                "Encode the same residuals right before, or use reconstruct."
            ) from error

    def reconstruct(self, h: Float[torch.Tensor, "*batch d_model"]) -> Float[torch.Tensor, "*batch d_model"]:
        return self.decode(self.encode(h))

    def error(self, h: Float[torch.Tensor, "*batch d_model"]) -> Float[torch.Tensor, "*batch d_model"]:
        """The part of `h` that the SAE leaves unexplained."""
        return h.to(self.device, torch.float32) - self.reconstruct(h)

    def feature(self, index: int) -> Feature:
        """Latent `index`.

        Raises:
            ElicitError: if there is no such latent, or its decoder row is zero.
        """
        if not 0 <= index < self.d_sae:
            raise ElicitError(f"SAE {self.name!r} has no feature {index}. Its features are 0 to {self.d_sae - 1}.")
        if index not in self._features:
            self._features[index] = Feature(self, index)
        return self._features[index]


@dataclass(frozen=True, eq=False)
class Feature:
    """One latent: a direction to write along and an activation to read."""

    sae: SAE
    index: int

    def __post_init__(self) -> None:
        if not self.norm > 0:
            raise ElicitError(f"feature {self.index} of SAE {self.sae.name!r} has a decoder row of length {self.norm}.")

    def __repr__(self) -> str:
        return f"Feature({self.label}, |D_i| = {self.norm:.3g})"

    @property
    def label(self) -> str:
        return f"{self.sae.name}/{self.index}"

    @cached_property
    def norm(self) -> float:
        """Length of the decoder row: residual length per unit of activation."""
        return float(self.sae.directions[self.index].norm())

    @property
    def direction(self) -> Float[torch.Tensor, " d_model"]:
        """The decoder row at length 1."""
        return self.sae.directions[self.index] / self.norm

    def activation(self, h: Float[torch.Tensor, "*batch d_model"]) -> Float[torch.Tensor, "*batch"]:
        """f_i. Latents compete in TopK kinds, so all of them are encoded."""
        return self.sae.encode(h)[..., self.index]

    def coefficient(self, h: Float[torch.Tensor, "*batch d_model"]) -> Float[torch.Tensor, "*batch"]:
        """f_i in residual length: the coefficient of `direction` in the reconstruction.

        Raises:
            ElicitError: for an SAE whose decoder is not linear.
        """
        if not self.sae.linear:
            raise ElicitError(
                f"SAE {self.sae.name!r} normalises every token by itself: the coefficient of a feature is not a fixed "
                "number. Use mode add, which needs the direction alone."
            )
        return self.activation(h) * self.norm
