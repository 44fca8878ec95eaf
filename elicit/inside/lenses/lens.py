"""`Lens`: a lens map with the ways to read it; and the logit lens, which transports nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float

from elicit.activations.methods import Applies
from elicit.inside.lenses.disposition import Disposition, measure_disposition
from elicit.inside.lenses.mapping import LensMap
from elicit.inside.lenses.reading import LensReading, read_prompts


class Lens(LensMap):
    """A lens of one model: what it says on prompts, and what it sees the model disposed to."""

    def read(
        self,
        prompts: Sequence[str],
        *,
        tokens: Sequence[str | int] = (),
        layers: Sequence[int] | None = None,
        top: int = 5,
    ) -> LensReading:
        """Read prompts at every position: top tokens, chosen tokens, entropy, KL to the model's own output.

        Under `model.steer` or `policy.apply()` the steered model's residuals are read.

        Args:
            tokens: tokens to follow: ids, or texts of one token each (as they continue a text).
            layers: None for all.
            top: number of top tokens kept.

        Raises:
            ElicitError: no prompt, an unknown layer, or a text of several tokens.
        """
        return read_prompts(self, prompts, tokens=tokens, layers=layers, top=top)

    def disposition(
        self,
        prompts: Sequence[str],
        *,
        toward: Sequence[str | int],
        against: Sequence[str | int],
        policies: Mapping[str, Applies] | None = None,
        layers: Sequence[int] | None = None,
        last: int = 8,
    ) -> Disposition:
        """How far prompts dispose the model toward some tokens and against others, by layer and position.

        The log odds of the two sets under the lens, for the base and for policies on the same prompts.

        Args:
            toward, against: the openings: ids, or texts whose first token counts.
            policies: name -> policy, run beside the base.
            last: number of positions, up to the last prompt token (offset 0).

        Raises:
            ElicitError: a set is empty, the sets overlap, or a layer is unknown.
        """
        return measure_disposition(
            self, prompts, toward=toward, against=against, policies=policies or {}, layers=layers, last=last
        )


class LogitLens(Lens):
    """The residual read as it is (nostalgebraist 2020)."""

    kind = "logit"

    def transport(self, hidden: Float[torch.Tensor, "pos d_model"], layer: int) -> Float[torch.Tensor, "pos d_model"]:
        """The residuals themselves."""
        return hidden

    def __repr__(self) -> str:
        return f"LogitLens({self.model.name}, {self.model.n_layers} layers)"
