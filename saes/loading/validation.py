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


class Read(NamedTuple):
    """What a reader found in files."""

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


def prove(read: Read, manifest: Manifest, name: str, sha256: str, *, where: str) -> SAE:
    """The SAE, once its weights are finite, its encoder works and its decoder is what `directions` say.

    Raises:
        ElicitError: if any of that does not hold.
    """
    try:
        with torch.inference_mode():
            fault = _weights(read) or _encoder(read) or _decoder(read)
    except Exception as error:  # whatever arithmetic can raise on settings that do not fit the tensors
        raise ElicitError(f"{where}: this SAE cannot be run: {one_line(error, 160)}") from error
    if fault:
        raise ElicitError(f"{where}: {fault}")
    return SAE(read.coder, read.rows, manifest, name, sha256, read.linear)


def _weights(read: Read) -> str:
    for part, tensor in {**read.tensors, "the decoder": read.rows}.items():
        if not bool(torch.isfinite(tensor).all()):
            return f"{part} holds NaN or infinity. The file is damaged, or training diverged."
    return ""


def _probe(read: Read) -> Float[torch.Tensor, "token d_model"]:
    """Residual-like inputs, the same for the same width."""
    draws = seeds.generator("saes proof", read.rows.shape[1]).standard_normal((_TOKENS, read.rows.shape[1]))
    return torch.as_tensor(draws, dtype=torch.float32, device=read.rows.device)


def _encoder(read: Read) -> str:
    x = _probe(read)
    f = read.coder.encode(x)
    if f.shape != (_TOKENS, read.rows.shape[0]) or not bool(torch.isfinite(f).all()):
        return f"encode gives shape {list(f.shape)}, expected {[_TOKENS, read.rows.shape[0]]} of finite numbers."
    out = read.coder.decode(f)
    if out.shape != x.shape or not bool(torch.isfinite(out).all()):
        return f"decode gives shape {list(out.shape)}, expected {list(x.shape)} of finite numbers."
    return ""


def _decoder(read: Read) -> str:
    """Compare rows with decode(a e_i) - decode(0), at the same token: a normalising decoder needs one."""
    x, lengths = _probe(read)[:1], read.rows.norm(dim=-1)
    order = lengths.argsort()
    alive = order[lengths[order] > 0]
    if not len(alive):
        return "every decoder row is zero."
    others = seeds.generator("saes proof", "latents").integers(len(alive), size=_OTHERS).tolist()
    chosen = alive[[0, -1, *others]].unique()

    def decode(f: torch.Tensor) -> torch.Tensor:
        read.coder.encode(x.expand(len(f), -1))  # a normalising decoder undoes what the last encode did
        return read.coder.decode(f)

    zero = torch.zeros(1, read.rows.shape[0], device=read.rows.device)
    b = decode(zero)
    amount = (1 + b.norm()) / lengths[chosen]  # as long as the bias, or the difference would be lost in rounding
    one_each = zero.repeat(len(chosen), 1)
    one_each[range(len(chosen)), chosen] = amount
    together = decode(one_each.sum(dim=0, keepdim=True)) - b
    steps = (decode(one_each) - b) / amount[:, None]
    rows = read.rows[chosen]
    factor = 1.0 if read.linear else float((steps * rows).sum() / (rows * rows).sum())
    off = ((steps - factor * rows).norm(dim=-1) / rows.norm(dim=-1)).max()
    off = torch.maximum(off, (together - (amount @ steps)).norm() / together.norm().clamp_min(1e-30))
    if not float(off) <= _TOLERANCE * max(1.0, abs(factor)):
        return (
            f"decode does not add activation times decoder row (off by {float(off):.2g} of a row's length): an SAE of "
            f"architecture {read.kinds[0]!r} that works in another way than the lab knows."
        )
    return ""


def described(read: Read, layer: int, hook: str) -> Manifest:
    """The manifest of an SAE that brings none of ours."""
    return Manifest(
        model=read.model, layer=layer, hook=hook, architecture=read.kinds[-1], k=read.k, training=read.training
    )
