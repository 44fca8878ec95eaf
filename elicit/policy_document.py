"""`policy.json`: its content, its format, and the part of it that enters a policy's hash.

A saved policy keeps its hash when `Decoding`, `Prompting` or a search gets a new field: a field outside the first
format is written and hashed only if it differs from its default. So old files remain valid, and new files that do not
use the field are identical to old ones.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elicit import documents, search
from elicit.errors import ElicitError
from elicit.prompting import Prompting
from elicit.sampling import Decoding

NAME = "policy.json"
#: Increase it when older versions would misread new files. Files without a number have the first format.
FORMAT = 1
#: Class -> its fields in the first format, which are always written and hashed. Never extend a line; a new class gets a
#: line with its initial fields.
FIRST_FIELDS = {
    "Decoding": "temperature top_k top_p min_p max_new_tokens stop",
    "Prompting": "condition template before replaces",
    "BudgetForcingSearch": "end wait answer min_tokens max_tokens max_waits",
    "CotDecodingSearch": "k choose min_p",
    "LikeliestBestOfN": "n",
    "MajorityVote": "n",
    "PowerSamplingSearch": "alpha block steps temperature until_ended",
    "VerifiedBestOfN": "n",
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
    """Step -> hash of its policy."""
    format: int = 1
    date: str | None = None
    """The date given in prompts; None if no chat template uses one."""


def read_document(folder: Path) -> PolicyDocument:
    """Read and check the policy.json of a policy's folder.

    Raises:
        ElicitError: the file is missing, damaged, or of a later format.
    """
    path = folder / NAME
    if not path.is_file():
        raise ElicitError(f"{folder} holds no {NAME}; expected a policy folder of a run.")
    plain = documents.read_object(path)
    number = plain.get("format", 1)
    if isinstance(number, int) and number > FORMAT:
        raise ElicitError(f"{path} is of format {number}, and this version reads up to {FORMAT}: update elicit.")
    document = documents.as_record(plain, PolicyDocument, path)
    if document.format < 1:
        raise ElicitError(f"{path}: format is {document.format}; expected 1 or more.")
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


def plain_fields(record: Any) -> dict[str, Any]:
    """Fields of a decoding, prompting or search as plain data, for its file and its hash."""
    fields = dataclasses.asdict(record)
    first = FIRST_FIELDS.get(type(record).__name__)
    if first is None:
        return fields
    always = first.split()
    defaults = {f.name: f.default for f in dataclasses.fields(record) if f.default is not dataclasses.MISSING}
    defaults |= {
        f.name: f.default_factory() for f in dataclasses.fields(record) if f.default_factory is not dataclasses.MISSING
    }
    return {
        name: value
        for name, value in fields.items()
        if name in always or name not in defaults or getattr(record, name) != defaults[name]
    }


def without_nan(value: Any) -> Any:
    """Replace NaN by null in plain data."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return [without_nan(item) for item in value] if isinstance(value, list | tuple) else value
