"""`policy.json`: what it holds, its format, and what of it enters a policy's hash.

A policy that was saved keeps its hash when `Decoding`, `Prompting` or a search gets a field more: a field that is not
of the first format is written and hashed only where it differs from its default. So old files need no field that they
cannot have, and new ones that do not use it are as they were.
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
#: To be raised when older versions would misread what is written. Files without a number are of the first.
FORMAT = 1
#: Class -> its fields in the first format. They are always written and hashed. Never add to a line; a class that is new
#: gets one with the fields it begins with.
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
    """The model that a policy was made of."""

    name: str
    weights_sha256: str


@dataclass(frozen=True)
class TrainingSteps:
    """What the record says of a training: `Policy.at` asks it for the last step."""

    steps: int | None = None


@dataclass(frozen=True)
class PolicyDocument:
    """The content of a policy.json."""

    base: PolicyBase
    decoding: Decoding
    prompting: Prompting
    search: dict[str, Any] | None
    """Fields of the search, `kind` among them."""
    sha256: str
    record: dict[str, Any]
    checkpoints: dict[str, str] = field(default_factory=dict)
    """Step -> hash of the policy saved for it."""
    format: int = 1
    date: str | None = None
    """The day that prompts are told; None where no chat template asks for it."""


def read_document(folder: Path) -> PolicyDocument:
    """The policy.json of a policy's folder, checked.

    Raises:
        ElicitError: no such file, a damaged one, or one of a later format.
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
    # Numbers stay as they were written (1 is not 1.0 in a hash), which a checked type would change.
    return dataclasses.replace(
        document, decoding=Decoding(**plain["decoding"]), prompting=Prompting(**plain["prompting"])
    )


def read_search(document: PolicyDocument, folder: Path) -> search.Search | None:
    """The search of a document. Raises ElicitError for an unknown one."""
    if document.search is None:
        return None
    return search.load_search(document.search, where=f"{folder / NAME}: search")


def plain_fields(record: Any) -> dict[str, Any]:
    """The fields of a decoding, prompting or search as plain data, for its file and its hash."""
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
    """Plain data with null where a number is not known."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return [without_nan(item) for item in value] if isinstance(value, list | tuple) else value
