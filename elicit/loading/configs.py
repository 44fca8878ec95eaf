"""config.json of a model folder, read by transformers and then checked against the weights next to it.

A size that no tensor has is refused before anything is built from it: transformers would create endless layers, or
tensors of terabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elicit import documents
from elicit.errors import ElicitError, one_line
from elicit.loading import headers, reports, size
from elicit.loading.headers import TensorHeader

#: Sizes by transformers' common names. Each is at least 1 and at most the longest side of a tensor.
_LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers")
_SIZES = ("vocab_size", "hidden_size")
#: Sizes that some families lack, or give layer by layer.
_OPTIONAL = ("num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size", "max_position_embeddings")
#: Most layers, and largest sizes, of a config without weights that it could be compared with.
_MOST_LAYERS, _LARGEST = 10_000, 10**8
#: Tokens for the beginning and end of texts, and for padding.
_SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")


def read_transformers_config(folder: Path, name: str) -> Any:
    """Transformers config of a folder. `name` is the model's name in messages.

    Raises:
        ElicitError: a damaged file, one that transformers rejects, or sizes that the weights cannot have.
    """
    from transformers import AutoConfig

    where = f"the config.json of {name}"
    tensors = [tensor for path in size.find_weight_files(folder) for tensor in headers.read_safetensors_header(path)]
    plain = size.read_config_json(folder)
    for field in _LAYERS:  # transformers makes lists of this length while it reads
        _check_layer_count(plain.get(field), tensors, where)
    with reports.buffer_transformers_logs():
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            text = config.get_text_config(decoder=True)
        except Exception as error:  # every family checks its fields in its own way
            raise ElicitError(f"cannot read the config.json of {name}: {one_line(error, 250)}") from error
        _check_sizes(text, tensors, where)
    _check_special_ids(folder, config, name)
    return config


def _check_layer_count(layers: object, tensors: Sequence[TensorHeader], where: str) -> None:
    if not isinstance(layers, int):
        return
    if tensors and layers > len(tensors):
        raise ElicitError(
            f"{where} says {one_line(layers, 40)} layers, but its weights are only {len(tensors)} tensors."
        )
    if not tensors and layers > _MOST_LAYERS:
        raise ElicitError(f"{where} says {one_line(layers, 40)} layers; expected at most {_MOST_LAYERS:,}.")


def _check_sizes(config: Any, tensors: Sequence[TensorHeader], where: str) -> None:
    for field in _SIZES:
        _read_positive_int(config, field, where)
    for field in _OPTIONAL:
        if isinstance(getattr(config, field, None), int | float):
            _read_positive_int(config, field, where)
    _check_layer_count(_read_positive_int(config, "num_hidden_layers", where), tensors, where)
    if not tensors:
        for field in (*_SIZES, "intermediate_size"):
            value = getattr(config, field, None)
            if isinstance(value, int) and value > _LARGEST:
                raise ElicitError(f"{where} says {field} {one_line(value, 40)}; expected at most {_LARGEST:,}.")
        return
    longest = max((side for tensor in tensors for side in tensor.shape), default=0)
    for field in _SIZES:
        if getattr(config, field) > longest:
            raise ElicitError(
                f"{where} says {field} {one_line(getattr(config, field), 40)}, but no tensor of its weights has a side "
                f"longer than {longest:,}. Get the files that belong together."
            )


def _read_positive_int(config: Any, field: str, where: str) -> int:
    value = getattr(config, field, None)
    if type(value) is not int or value < 1:
        raise ElicitError(f"{where}: {field} is {one_line(repr(value), 40)}; expected a whole number above 0.")
    return value


def _check_special_ids(folder: Path, config: Any, name: str) -> None:
    """Check that begin, end and pad ids are token numbers (several are allowed for the end), wherever a folder names
    them."""
    places = [("config.json", {field: getattr(config, field, None) for field in _SPECIAL})]
    generation_config = folder / "generation_config.json"
    if generation_config.is_file():
        places.append((generation_config.name, documents.read_object(generation_config)))
    for file, fields in places:
        for field in _SPECIAL:
            value = fields.get(field)
            token_ids = value if field == "eos_token_id" and isinstance(value, list) else [value]
            if any(type(token_id) is not int for token_id in token_ids if value is not None):
                expected = "a token's number" + (", or a list of them" if field == "eos_token_id" else "")
                raise ElicitError(f"the {file} of {name}: {field} is {one_line(repr(value), 60)}; expected {expected}.")
