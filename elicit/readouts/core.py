"""What a readout is: a frozen spec of how the next-token logits of a batch come about.

The plain readout is the model's own forward pass (`sampling.PLAIN`). Others read earlier layers or run a second model
beside it. While its context is open a readout gives a `Forward`, which the sampler calls for prefill and steps.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from elicit.model import BaseModel
    from elicit.sampling import Forward


class Readout(Protocol):
    """A way to next-token logits. `kind` names it in files."""

    kind: ClassVar[str]

    @property
    def sha256(self) -> str:
        """Hash of everything that decides the logits, beside the model itself."""
        ...

    def open_forward(self, model: BaseModel) -> AbstractContextManager[Forward]:
        """A context in which the sampler may use the readout on `model`."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Its options as plain data."""
        ...

    def save_tensors(self, folder: Path) -> None:
        """Write what `meaning` does not hold (tensors) into an existing folder; nothing for most."""
        ...
