"""What a readout is: a frozen spec of how the next-token logits of a batch come about.

The plain readout is the model's own forward pass (`sampling.PLAIN`). Others read earlier layers or run a second model
beside it. While its context is open a readout gives a `Forward`, which the sampler calls for prefill and steps.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from elicit.errors import unknown

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

    def opened(self, model: BaseModel) -> AbstractContextManager[Forward]:
        """A context in which the sampler may use the readout on `model`."""
        ...

    def meaning(self) -> dict[str, Any]:
        """Its options as plain data."""
        ...

    def save(self, folder: Path) -> None:
        """Write what `meaning` does not hold (tensors) into an existing folder; nothing for most."""
        ...


#: kind -> function that reads one back from its meaning and a policy's folder
READOUTS: dict[str, Any] = {}


def save(readout: Readout, folder: Path) -> None:
    """Write `readout.json`, and what tensors the readout has, into an existing folder."""
    readout.save(folder)
    document = {"kind": readout.kind, **readout.meaning()}
    (folder / "readout.json").write_text(json.dumps(document, indent=1) + "\n")


def load(folder: Path) -> Readout | None:
    """The readout saved in a policy's folder, None if the policy uses the model's own. Raises ElicitError."""
    path = folder / "readout.json"
    if not path.exists():
        return None
    fields = json.loads(path.read_text())
    kind = fields.pop("kind")
    if kind not in READOUTS:
        raise unknown("readout", kind, READOUTS)
    readout: Readout = READOUTS[kind](fields, folder)
    return readout
