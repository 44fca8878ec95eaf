"""The table of readouts, and their files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from elicit import documents
from elicit.errors import unknown
from elicit.readouts.contrast import Contrast
from elicit.readouts.core import Readout
from elicit.readouts.dola import DoLa
from elicit.readouts.hybrid import Hybrid
from elicit.readouts.instead import Instead

#: kind -> function that reads one back from its meaning and a policy's folder
READOUTS: dict[str, Callable[[Mapping[str, Any], Path], Readout]] = {
    Contrast.kind: Contrast.read,
    DoLa.kind: DoLa.read,
    Hybrid.kind: Hybrid.read,
    Instead.kind: Instead.read,
}


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
    fields = documents.read_object(path)
    documents.known_field(fields, "kind", path)
    kind = fields.pop("kind")
    if not isinstance(kind, str) or kind not in READOUTS:
        raise unknown("readout", kind, READOUTS, where=str(path))
    with documents.named_place(path):
        return READOUTS[kind](fields, folder)
