"""Table of readouts by kind, and their files."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

from elicit import documents
from elicit.errors import unknown_name_error
from elicit.readouts.core import Readout

#: kind -> (module, class)
READOUTS: dict[str, tuple[str, str]] = {
    "contrast": ("elicit.methods.decoding.contrastive_decoding", "ContrastReadout"),
    "dola": ("elicit.methods.decoding.dola", "DolaReadout"),
    "hybrid": ("elicit.readouts.hybrid", "HybridReadout"),
    "instead": ("elicit.readouts.instead", "ReplacementModel"),
}


def load_readout_class(kind: str) -> type[Readout]:
    """The class of a built-in kind of readout."""
    module, class_name = READOUTS[kind]
    readout_class: type[Readout] = getattr(importlib.import_module(module), class_name)
    return readout_class


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
        return load_readout_class(kind).from_json(fields, folder)
