"""An SAE's origin: its model's weights, the hook, and its training. `manifest.json` beside SAELens's files.

Torch-free, so that the command line can list SAEs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from elicit import documents
from elicit.errors import ElicitError, one_line
from elicit.format_versions import CURRENT_VERSIONS, check_format_version

MANIFEST = "manifest.json"

_POST = re.compile(r"blocks\.(\d+)\.(?:hook_resid_post|hook_out)")
_PRE = re.compile(r"blocks\.(\d+)\.(?:hook_resid_pre|hook_in)")
#: How transformers' own module names spell a layer's output (Sparsify, and SAELens's converters of other releases).
_MODULE = re.compile(r"(?:model\.|language_model\.|transformer\.|gpt_neox\.)*(?:layers|h)\.(\d+)")


class Manifest(BaseModel):
    """The origin of an SAE. Fields that are not known are None, never guessed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    format_version: int = Field(default=CURRENT_VERSIONS["SAE"], ge=1)
    """See `elicit.format_versions`."""
    model: str
    """The model's name, as its maker wrote it."""
    weights_sha256: str | None = None
    """Hash of the weights it was trained on. None: unverified, to be checked live by its explained variance."""
    layer: int = Field(ge=0)
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


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of an SAE's folder, or None if it has none.

    Raises:
        ElicitError: if it is there and is not a manifest, or its layer is not the one its hook reads.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    plain = documents.read_object(path)
    check_format_version(plain, "SAE", path)
    try:
        manifest = Manifest.model_validate(plain)
    except ValidationError as error:
        raise ElicitError(
            f"{path} is not a manifest of an SAE: {describe_error(error)}. Remove it, or train again."
        ) from None
    if parse_hook_layer(manifest.hook, where=str(path)) != manifest.layer:
        raise ElicitError(f"{path} says layer {manifest.layer}, but its hook is {one_line(manifest.hook, 60)!r}.")
    return manifest


def describe_error(error: Exception) -> str:
    """Describe the fault of a file of ours or of SAELens's in a few words."""
    if not isinstance(error, ValidationError):
        return one_line(error, 160) or type(error).__name__
    first = error.errors(include_url=False)[0]
    location = ".".join(map(str, first["loc"])) or "the file"
    received = "" if first["type"] in ("missing", "json_invalid") else f", not {one_line(repr(first['input']), 40)}"
    return one_line(f"{location}: {first['msg']}{received}", 200)


def parse_hook_layer(hook: str, *, where: str = "this SAE") -> int:
    """The decoder layer whose output a hook reads.

    Raises:
        ElicitError: for a hook that is not the residual stream after a decoder layer.
    """
    if match := _POST.fullmatch(hook) or _MODULE.fullmatch(hook):
        return int(match[1])
    if (match := _PRE.fullmatch(hook)) and int(match[1]) > 0:
        return int(match[1]) - 1
    raise ElicitError(
        f"{where} reads {one_line(hook, 60)!r}; the lab reads and steers the residual stream after a decoder layer "
        "(blocks.L.hook_resid_post, or hook_resid_pre of a layer above 0)."
    )
