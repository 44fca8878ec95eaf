"""A model's size as stated in a spec, for plans made while its files are not here. Imports no torch.

models: {big: {name: org/name, assume: 1.7B}}     # the same as: models: {big: org/name}, assume: {big: 1.7B}
models: {big: {name: org/name, assume: ./big}}    # a folder with its config.json (and tokenizer.json)
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from elicit.errors import ElicitError
from elicit.loading.catalog import ModelSource
from elicit.loading.size import ModelShape

_SIZE = re.compile(r"([0-9]{1,14}(?:\.[0-9]{1,3})?) ?([KMBT]?)", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
#: Typical vocabulary, and width over depth: Qwen 2.5 and 3, Llama 3, Gemma, SmolLM2 from 135 M to 70 B.
_VOCABULARY, _ASPECT = 128_000, 90
#: Query heads per key-value head.
_SHARED = 4


def parse_parameter_count(text: str) -> int:
    """Parse a stated size into a number of parameters.

    >>> parse_parameter_count("1.7B"), parse_parameter_count("135M")
    (1700000000, 135000000)

    Raises:
        ValueError: the text is not a number, optionally with K, M, B or T.
    """
    match = _SIZE.fullmatch(text.strip())
    count = 0 if match is None else round(float(match[1]) * _UNITS[match[2].upper()])
    if not 10**3 <= count <= 10**13:
        raise ValueError(
            "expected a number of parameters such as 135M or 1.7B (up to 10T), or a folder such as ./my-config, not "
            f"{text[:40]!r}"
        )
    return count


def estimate_shape(parameters: int) -> ModelShape:
    """Typical layers and width of a model with this many parameters."""
    vocabulary = min(_VOCABULARY, max(64, parameters // 1000))

    def count_parameters(width: float) -> float:
        return 12 * (width / _ASPECT) * width**2 + vocabulary * width

    low, high = 1.0, 1e6
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if count_parameters(middle) < parameters else (low, middle)
    width = max(8, round(low))
    layers = max(1, round(width / _ASPECT))
    kv = 2 * layers * max(1, width // _SHARED)
    return ModelShape(layers, width, vocabulary, kv, vocabulary * width, "assumed", width)


def is_config_folder(text: str) -> bool:
    """True for the path of a folder with a config.json, in place of a size."""
    return "/" in text


def find_assumed_config(text: str | None) -> ModelSource | None:
    """The folder of a config that is assumed, as a model; None for a size, and for a folder that is not here."""
    if text is None or not is_config_folder(text) or not (Path(text) / "config.json").is_file():
        return None
    return ModelSource("folder", text, Path(text))


def check_assumed_configs(assume: Mapping[str, str]) -> None:
    """Raise ElicitError for a folder that has no config.json. A run does without it: only plans read it."""
    for label, text in assume.items():
        if is_config_folder(text) and find_assumed_config(text) is None:
            raise ElicitError(
                f"assume: {label}: {text} is not a folder with a config.json. Type such a folder, or a size: 1.7B."
            )


def split_assumed_sizes(spec: Any) -> Any:
    """Move sizes given in a spec's `models` field into its `assume` field.

    Raises:
        ValueError: a model is neither a name nor {name, assume}.
    """
    models = spec.get("models") if isinstance(spec, Mapping) else None
    if not isinstance(models, Mapping) or not any(isinstance(entry, Mapping) for entry in models.values()):
        return spec
    names, sizes = dict(models), dict(spec.get("assume") or {})
    for label, entry in models.items():
        if not isinstance(entry, Mapping):
            continue
        if "name" not in entry or not set(entry) <= {"name", "assume"}:
            raise ValueError(f"model {str(label)[:40]!r} has {sorted(map(str, entry))}; expected name, and assume")
        names[label] = entry["name"]
        if "assume" in entry:
            sizes[label] = entry["assume"]
    return {**spec, "models": names, "assume": sizes}


def _number_to_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _check_size_text(value: str) -> str:
    if not is_config_folder(value):
        parse_parameter_count(value)
    return value


AssumedSize = Annotated[str, BeforeValidator(_number_to_text), AfterValidator(_check_size_text)]
"""A size as written in a spec: `1.7B`, or `./folder` with a config.json."""
