"""`policy.json`: its content, its format, and the part of it that enters a policy's hash.

A saved policy keeps its hash when `Decoding`, `Prompting` or a search gets a new field: a field outside the first
format is written and hashed only if it differs from its default. So old files remain valid, and new files that do not
use the field are identical to old ones. Nothing has to be declared for a new field or class.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elicit import documents, search
from elicit.errors import ElicitError
from elicit.format_versions import FORMAT_VERSION, check_format_version
from elicit.model import BaseModel
from elicit.prompting import Prompting
from elicit.sampling import Decoding

NAME = "policy.json"
#: Part, or kind of search -> its fields in the first format, always written and hashed. The table is closed: a later
#: field or kind stays out of it, and is written and hashed where it differs from its default (which must then never
#: change).
_FIRST_FIELDS = {
    "decoding": "temperature top_k top_p min_p max_new_tokens stop",
    "prompting": "condition template before replaces",
    "budget_forcing": "end wait answer min_tokens max_tokens max_waits",
    "cot_decoding": "k choose min_p",
    "likeliest": "n",
    "majority": "n",
    "power_sampling": "alpha block steps temperature until_ended",
    "verified": "n",
}


@dataclass(frozen=True)
class PolicyBase:
    """The base model of a policy."""

    name: str
    weights_sha256: str


@dataclass(frozen=True)
class TrainingSteps:
    """Training steps in a policy's record; `Policy.at` needs the last one."""

    steps: int | None = None


@dataclass(frozen=True)
class PolicyDocument:
    """The content of a policy.json."""

    base: PolicyBase
    decoding: Decoding
    prompting: Prompting
    search: dict[str, Any] | None
    """Fields of the search, including `kind`."""
    sha256: str
    record: dict[str, Any]
    checkpoints: dict[str, str] = field(default_factory=dict)
    """Step -> hash of the policy saved for it."""
    format_version: int = 1
    date: str | None = None
    """The date given in prompts; None if no chat template uses one."""

    def check_base(self, model: BaseModel, folder: Path) -> None:
        """Raise ElicitError if the policy was made from another base than `model`."""
        if self.base.weights_sha256 != model.weights_sha256:
            raise ElicitError(
                f"the policy in {folder} was made from {self.base.name} (weights {self.base.weights_sha256[:12]}), "
                f"but the model given is {model.name} (weights {model.weights_sha256[:12]})."
            )


def read_document(folder: Path) -> PolicyDocument:
    """Read and check the policy.json of a policy's folder.

    Raises:
        ElicitError: the file is missing, damaged, or of a later format.
    """
    path = folder / NAME
    if not path.is_file():
        raise ElicitError(f"{folder} holds no {NAME}; expected a policy folder of a run.")
    plain = documents.read_object(path)
    if "format" in plain:  # the key before all files had the same one
        plain[FORMAT_VERSION] = plain.pop("format")
    check_format_version(plain, "policy", path)
    document = documents.as_record(plain, PolicyDocument, path)
    training = document.record.get("train")
    if training is not None:
        known = documents.as_object(training, f"{path}: record.train")
        documents.as_record(
            {key: known[key] for key in known if key == "steps"}, TrainingSteps, f"{path}: record.train"
        )
    for step in document.checkpoints:
        if not (step.isascii() and step.isdecimal() and len(step) <= 9):
            raise ElicitError(f"{path}: checkpoints has {step[:40]!r} for a step; expected a whole number.")
    # Numbers are not converted, since 1 and 1.0 hash differently; a checked type would convert them.
    return dataclasses.replace(
        document, decoding=Decoding(**plain["decoding"]), prompting=Prompting(**plain["prompting"])
    )


def read_search(document: PolicyDocument, folder: Path) -> search.Search | None:
    """Load the search of a document. Raises ElicitError for an unknown one."""
    if document.search is None:
        return None
    return search.load_search(document.search, where=f"{folder / NAME}: search")


def plain_fields(part: str, record: Any) -> dict[str, Any]:
    """The fields of a part of a policy as plain data, for its file and its hash.

    Fields of the first format, fields without a default, and others where they differ from their default.

    Args:
        part: `decoding`, `prompting`, or the kind of the search.
    """
    first = _FIRST_FIELDS.get(part, "").split()
    plain = dataclasses.asdict(record)
    return {
        item.name: plain[item.name]
        for item in dataclasses.fields(record)
        if item.name in first or getattr(record, item.name) != _default_of(item)
    }


def _default_of(item: dataclasses.Field) -> Any:
    """A field's default; the marker `MISSING`, which equals no value, where it has none."""
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


def without_nan(value: Any) -> Any:
    """Replace NaN by null in plain data."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return [without_nan(item) for item in value] if isinstance(value, list | tuple) else value
