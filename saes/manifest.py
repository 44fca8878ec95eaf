"""What an SAE belongs to: the weights, the hook, and how it was made. `manifest.json` beside SAELens's files."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict

from elicit.errors import ElicitError, one_line

_POST = re.compile(r"blocks\.(\d+)\.(?:hook_resid_post|hook_out)")
_PRE = re.compile(r"blocks\.(\d+)\.(?:hook_resid_pre|hook_in)")
#: How transformers' own module names spell a layer's output (Sparsify, and SAELens's converters of other releases).
_MODULE = re.compile(r"(?:model\.|transformer\.|gpt_neox\.)?(?:layers|h)\.(\d+)")


class Manifest(BaseModel):
    """Where an SAE comes from. Fields that are not known are None, never guessed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    """The model's name, as its maker wrote it."""
    weights_sha256: str | None = None
    """Hash of the weights it was trained on. None: unverified, to be checked live by its explained variance."""
    layer: int
    hook: str
    """TransformerLens's name of the place it reads."""
    architecture: str
    """topk, batchtopk, jumprelu, matryoshka_batchtopk, standard, gated ... as it was trained."""
    k: float | None = None
    """Latents per token that training aimed at, where it did."""
    norm: float | None = None
    """Median residual norm there, over the text it was trained on, first token of each sequence left out."""
    tokens: int | None = None
    """Tokens it was trained on."""
    text_sha256: str | None = None
    seed: int | None = None
    training: dict[str, Any] | None = None
    """Hyper-parameters and package versions."""
    card: dict[str, Any] | None = None
    """The evaluation after training (`saes.evaluate`)."""


def layer_of(hook: str) -> int:
    """The decoder layer whose output a hook reads.

    Raises:
        ElicitError: for a hook that is not the residual stream after a decoder layer.
    """
    if found := _POST.fullmatch(hook) or _MODULE.fullmatch(hook):
        return int(found[1])
    if (found := _PRE.fullmatch(hook)) and int(found[1]) > 0:
        return int(found[1]) - 1
    raise ElicitError(
        f"this SAE reads {one_line(hook, 60)!r}; the lab reads and steers the residual stream after a decoder layer "
        "(blocks.L.hook_resid_post, or hook_resid_pre of a layer above 0)."
    )
