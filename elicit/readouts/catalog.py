"""Table of readouts by kind, and their files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from elicit import documents
from elicit.errors import unknown_name_error
from elicit.readouts.contrast import ContrastReadout
from elicit.readouts.core import Readout
from elicit.readouts.dola import DolaReadout
from elicit.readouts.hybrid import HybridReadout
from elicit.readouts.instead import ReplacementModel

#: kind -> function that loads a readout from its JSON and a policy's folder
READOUTS: dict[str, Callable[[Mapping[str, Any], Path], Readout]] = {
    ContrastReadout.kind: ContrastReadout.from_json,
    DolaReadout.kind: DolaReadout.from_json,
    HybridReadout.kind: HybridReadout.from_json,
    ReplacementModel.kind: ReplacementModel.from_json,
}


def save_readout(readout: Readout, folder: Path) -> None:
    """Write `readout.json`, and the readout's tensors if any, into an existing folder."""
    readout.save_tensors(folder)
    document = {"kind": readout.kind, **readout.to_json()}
    (folder / "readout.json").write_text(json.dumps(document, indent=1) + "\n")


def load_readout(folder: Path) -> Readout | None:
    """Load the readout from a policy's folder; None if the policy uses the model's own. Raises ElicitError."""
    path = folder / "readout.json"
    if not path.exists():
        return None
    fields = documents.read_object(path)
    documents.require_field(fields, "kind", path)
    kind = fields.pop("kind")
    if not isinstance(kind, str) or kind not in READOUTS:
        raise unknown_name_error("readout", kind, READOUTS, where=str(path))
    with documents.prefix_errors(path):
        return READOUTS[kind](fields, folder)
