"""The configuration of a training: checked options, and the table of architectures. Torch-free, so that errors come at
once."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from elicit.errors import ElicitError, one_line, unknown_name_error


class Architecture(NamedTuple):
    """One kind of SAE: its place in SAELens, and its meaning."""

    config: str
    sae: str
    threshold: bool
    """Whether one threshold for all latents is set after training; see `saes.training.threshold`."""
    about: str


#: SAELens's name -> its classes.
ARCHITECTURES: dict[str, Architecture] = {
    "topk": Architecture(
        "TopKTrainingSAEConfig", "TopKTrainingSAE", False, "the k largest latents of every token (2406.04093)"
    ),
    "batchtopk": Architecture(
        "BatchTopKTrainingSAEConfig",
        "BatchTopKTrainingSAE",
        True,
        "the k x tokens largest latents of a batch (2412.06410)",
    ),
    "jumprelu": Architecture(
        "JumpReLUTrainingSAEConfig", "JumpReLUTrainingSAE", False, "a learned threshold for every latent (2407.14435)"
    ),
    "matryoshka_batchtopk": Architecture(
        "MatryoshkaBatchTopKTrainingSAEConfig",
        "MatryoshkaBatchTopKTrainingSAE",
        True,
        "batchtopk whose first latents must reconstruct by themselves (2503.17547)",
    ),
}

#: Weights are trained in float32; bfloat16 halves the file and is read back as float32.
STORED_AS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Plan:
    """Everything that decides an SAE, apart from the model and the text."""

    layer: int
    width: int = 512
    """Latents."""
    k: float = 8
    """Latents per token: exactly (topk), on average (batchtopk, matryoshka_batchtopk), or aimed at (jumprelu)."""
    tokens: int = 1_000_000
    """Training tokens; text is read again in another order until they are reached."""
    architecture: str = "topk"
    seed: int = 0
    lr: float = 1e-3
    """Learning rate of Adam at its highest: after a short warm-up, and before it falls to 0 over the last fifth."""
    batch: int = 1024
    """Tokens per step."""
    buffer: int | None = None
    """Tokens that are shuffled among each other: the memory is buffer x d_model x 8 bytes. Default: 262,144 for
    d_model 128, fewer for a wider model, but at least 65,536; see `buffer_for`."""
    stored_as: str = "float32"

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise unknown_name_error("SAE architecture", self.architecture, ARCHITECTURES)
        for name in ("layer", "seed"):
            _check_whole_number(name, getattr(self, name), 0)
        for name in ("width", "batch", "tokens"):
            _check_whole_number(name, getattr(self, name), 1)
        if isinstance(self.k, bool) or not isinstance(self.k, int | float) or not self.k > 0:
            raise ElicitError(f"k is {one_line(repr(self.k), 40)}; expected a number above 0.")
        if self.architecture == "topk" and self.k != int(self.k):
            raise ElicitError(f"k is {self.k}; topk needs a whole number. Type batchtopk for an average of {self.k}.")
        if self.k > self.width:
            raise ElicitError(
                f"k is {self.k:g}, more than the {self.width} latents. Type a smaller k or a larger width."
            )
        if not (isinstance(self.lr, int | float) and math.isfinite(self.lr) and self.lr > 0):
            raise ElicitError(f"lr is {one_line(repr(self.lr), 40)}; expected a learning rate above 0, such as 1e-3.")
        if self.tokens < self.batch:
            raise ElicitError(
                f"tokens is {self.tokens:,}, less than one step of {self.batch:,}. Type more tokens or a smaller batch."
            )
        if self.buffer is not None and self.buffer < self.batch:
            raise ElicitError(f"buffer is {self.buffer:,} tokens, less than one step of {self.batch:,}.")
        if self.stored_as not in STORED_AS:
            raise unknown_name_error("dtype to store", self.stored_as, STORED_AS)

    @property
    def steps(self) -> int:
        return self.tokens // self.batch

    @property
    def hook(self) -> str:
        """TransformerLens's name of the place."""
        return f"blocks.{self.layer}.hook_resid_post"

    def buffer_for(self, d_model: int) -> int:
        """Tokens to shuffle among each other."""
        return self.buffer or max(self.batch, 65_536, 2**25 // d_model)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _check_whole_number(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ElicitError(f"{name} is {one_line(repr(value), 40)}; expected a whole number of at least {least}.")
