"""The interface of readouts: a frozen spec of how the next-token logits of a batch are computed.

The default is the model's own forward pass (`sampling.PLAIN`). Others read earlier layers or run a second model as
well. An open readout gives a `Forward`, which the sampler calls for prefill and steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.sampling import Forward


class Readout(Protocol):
    """Interface of a readout. `kind` names it in files."""

    kind: ClassVar[str]

    @property
    def sha256(self) -> str:
        """Hash of everything that determines the logits, except the model itself."""
        ...

    def open_forward(self, model: BaseModel) -> AbstractContextManager[Forward]:
        """Open a context in which the sampler may use the readout on `model`."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Its options as plain data."""
        ...

    def save_tensors(self, folder: Path) -> None:
        """Write tensors, which `to_json` does not contain, into an existing folder; most readouts have none."""
        ...

    @classmethod
    def from_json(cls, data: Mapping[str, Any], folder: Path) -> Self:
        """Load from the output of `to_json` and `save_tensors`. Raises ElicitError for anything else."""
        ...
