"""From what a reader found to an `SAE`, once the algebra that steering rests on has been seen to hold.

    decode(f) = f @ D + b        so that f_i -> c with the error kept is h + (c - f_i) D_i

Directions are read from the weights by each format's own rule; here they are compared with what `decode` really does,
so that a kind with another decoder cannot slip in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float

from elicit import seeds
from elicit.errors import ElicitError, one_line
from saes.manifest import Manifest
from saes.sae import SAE, Coder

#: Latents that are tried: the longest and shortest rows, and these many others.
_OTHERS = 4
_TOKENS = 8
#: Largest difference of a direction from what `decode` does, relative to its length.
_TOLERANCE = 1e-3


class LoadedWeights(NamedTuple):
    """Weights and metadata that a reader found in files."""

    coder: Coder
    rows: Float[torch.Tensor, "d_sae d_model"]
    """Decoder rows by the format's own rule, float32."""
    linear: bool
    """False for a normalisation by token, which scales the decoder by a factor of the token's own."""
    model: str
    hook: str | None
    """The place it reads, if the files say."""
    tensors: Mapping[str, torch.Tensor]
    """All its weights, by the names in its file."""
    kinds: tuple[str, ...]
    """Its architecture and, where it differs, the one it was trained as."""
    k: float | None = None
    training: dict[str, Any] | None = None


def build_validated_sae(loaded: LoadedWeights, manifest: Manifest, name: str, sha256: str, *, where: str) -> SAE:
    """The SAE, once its weights are finite, its encoder works and its decoder is what `directions` say.

    Raises:
        ElicitError: if any of that does not hold.
    """
    try:
        with torch.inference_mode():
            fault = _check_weights(loaded) or _check_encoder(loaded) or _check_decoder(loaded)
    except Exception as error:  # whatever arithmetic can raise on settings that do not fit the tensors
        raise ElicitError(f"{where}: this SAE cannot be run: {one_line(error, 160)}") from error
    if fault:
        raise ElicitError(f"{where}: {fault}")
    return SAE(loaded.coder, loaded.rows, manifest, name, sha256, loaded.linear)


def _check_weights(loaded: LoadedWeights) -> str:
    for part, tensor in {**loaded.tensors, "the decoder": loaded.rows}.items():
        if not bool(torch.isfinite(tensor).all()):
            return f"{part} holds NaN or infinity. The file is damaged, or training diverged."
    return ""


def _make_probe_inputs(loaded: LoadedWeights) -> Float[torch.Tensor, "token d_model"]:
    """Residual-like inputs, the same for the same width."""
    draws = seeds.make_generator("saes proof", loaded.rows.shape[1]).standard_normal((_TOKENS, loaded.rows.shape[1]))
    return torch.as_tensor(draws, dtype=torch.float32, device=loaded.rows.device)


def _check_encoder(loaded: LoadedWeights) -> str:
    x = _make_probe_inputs(loaded)
    f = loaded.coder.encode(x)
    if f.shape != (_TOKENS, loaded.rows.shape[0]) or not bool(torch.isfinite(f).all()):
        return f"encode gives shape {list(f.shape)}, expected {[_TOKENS, loaded.rows.shape[0]]} of finite numbers."
    out = loaded.coder.decode(f)
    if out.shape != x.shape or not bool(torch.isfinite(out).all()):
        return f"decode gives shape {list(out.shape)}, expected {list(x.shape)} of finite numbers."
    return ""


def _check_decoder(loaded: LoadedWeights) -> str:
    """Compare rows with decode(a e_i) - decode(0), at the same token: a normalising decoder needs one."""
    x, lengths = _make_probe_inputs(loaded)[:1], loaded.rows.norm(dim=-1)
    order = lengths.argsort()
    alive = order[lengths[order] > 0]
    if not len(alive):
        return "every decoder row is zero."
    others = seeds.make_generator("saes proof", "latents").integers(len(alive), size=_OTHERS).tolist()
    chosen = alive[[0, -1, *others]].unique()

    def decode(f: torch.Tensor) -> torch.Tensor:
        loaded.coder.encode(x.expand(len(f), -1))  # a normalising decoder undoes what the last encode did
        return loaded.coder.decode(f)

    zero = torch.zeros(1, loaded.rows.shape[0], device=loaded.rows.device)
    b = decode(zero)
    amount = (1 + b.norm()) / lengths[chosen]  # as long as the bias, or the difference would be lost in rounding
    one_each = zero.repeat(len(chosen), 1)
    one_each[range(len(chosen)), chosen] = amount
    together = decode(one_each.sum(dim=0, keepdim=True)) - b
    steps = (decode(one_each) - b) / amount[:, None]
    rows = loaded.rows[chosen]
    factor = 1.0 if loaded.linear else float((steps * rows).sum() / (rows * rows).sum())
    off = ((steps - factor * rows).norm(dim=-1) / rows.norm(dim=-1)).max()
    off = torch.maximum(off, (together - (amount @ steps)).norm() / together.norm().clamp_min(1e-30))
    if not float(off) <= _TOLERANCE * max(1.0, abs(factor)):
        return (
            f"decode does not add activation times decoder row (off by {float(off):.2g} of a row's length): an SAE of "
            f"architecture {loaded.kinds[0]!r} that works in another way than the lab knows."
        )
    return ""


def build_manifest(loaded: LoadedWeights, layer: int, hook: str) -> Manifest:
    """The manifest of an SAE that brings none of ours."""
    return Manifest(
        model=loaded.model, layer=layer, hook=hook, architecture=loaded.kinds[-1], k=loaded.k, training=loaded.training
    )
