"""Size of a model, from its files' headers and config alone: no weights are read and no torch is imported.

    from elicit.loading import size size.count_parameters("cued") # 334,464
    size.count_weight_bytes("Qwen/Qwen3-1.7B-Base", "bfloat16") size.shape("model.gguf").kv_values # keys and values
    that one token of one row adds to a cache

Every function takes the names that `elicit.load` takes (or a resolved `ModelSource`). A hub id is looked up in the
local cache and never on the network; for one that is not there the result is None: unknown.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from elicit import documents
from elicit.errors import ElicitError, one_line, unknown_name_error
from elicit.loading import catalog, headers, hub
from elicit.loading.catalog import ModelSource
from elicit.loading.headers import TensorHeader

ModelName = ModelSource | str | os.PathLike[str]

#: dtype -> bytes of a value.
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

_KINDS = {"F32": "float32", "F64": "float32", "BF16": "bfloat16", "F16": "float16"}
#: Masks and tables that older checkpoints of GPT-2 and Pythia store with the weights; they are not parameters.
_TABLES = re.compile(r"\.(attn|attention)\.(bias|masked_bias)$|rotary_emb\.|^rope_f")
#: Names of heads: of transformers, of GPT-NeoX, and in GGUF files.
_HEAD_NAMES = ("lm_head.weight", "embed_out.weight", "output.weight")
#: Name of a file in the same folder.
_PLAIN = re.compile(r"[^/\\\x00]+")
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


class ModelShape(NamedTuple):
    """Sizes that, with the number of parameters, determine memory and time of a forward pass."""

    layers: int
    d_model: int
    vocabulary: int
    kv_values: int
    """Values (keys and values, all layers) that a token of a row adds to the cache; multiply by the bytes of a
    value."""
    embedding: int
    """Parameters of the token embedding, which are not multiplied for a token (those of a tied head are)."""
    family: str
    """config.model_type, or a GGUF file's architecture."""
    attention: int
    """Width of all query heads of a layer together."""


def count_parameters(name: ModelName) -> int | None:
    """Number of weights, tied ones once. None for a hub id that is not in the local cache, or a folder without weights.

    Raises:
        ElicitError: no such model, or files that are damaged, cut or missing.
    """
    tensors = _read_tensor_headers(_resolve_source(name))
    return None if tensors is None else sum(tensor.values for tensor in tensors)


def share_of_experts(source: ModelSource) -> tuple[float, float]:
    """Experts that a token visits, and all experts of a layer: (2, 8) for Mixtral, (1, 1) for a dense model."""
    if source.kind == "gguf":
        assert source.path is not None
        fields = headers.read_gguf_header(source.path).fields
        family = fields.get("general.architecture")
        visited, every = (fields.get(f"{family}.{key}") for key in ("expert_used_count", "expert_count"))
    else:
        folder = _find_weights_folder(source) or hub.find_cached_config(source.name)
        config = {} if folder is None else read_config_json(folder)
        visited = config.get("num_experts_per_tok")
        every = next((config[name] for name in _EXPERTS if config.get(name)), None)
    if not isinstance(visited, int) or not isinstance(every, int) or not 0 < visited <= every:
        return 1.0, 1.0
    return float(visited), float(every)


def is_expert(tensor: str) -> bool:
    """Return True for a weight of one of a layer's experts, not of those that every token visits."""
    return ".experts." in tensor or "_exps." in tensor


def count_expert_parameters(source: ModelSource) -> int | None:
    """Those of `count_parameters` that belong to experts; 0 for a dense model."""
    tensors = _read_tensor_headers(source)
    return None if tensors is None else sum(tensor.values for tensor in tensors if is_expert(tensor.name))


def has_own_head(tensors: Iterable[str]) -> bool:
    """True if one of a model's tensors is a head of its own, not the embedding."""
    return any(name in _HEAD_NAMES for name in tensors)


def list_tensor_names(source: ModelSource) -> list[str]:
    """Names of the tensors that become weights; none where `count_parameters` is None."""
    return [tensor.name for tensor in _read_tensor_headers(source) or ()]


def count_weight_bytes(name: ModelName, dtype: str = "auto") -> int | None:
    """Bytes of the weights in memory when loaded as `dtype`. None if `count_parameters` is None.

    Raises:
        ElicitError: as `count_parameters`, or an unknown dtype.
    """
    held = resolve_dtype(name, dtype)
    count = None if held is None else count_parameters(name)
    return None if count is None or held is None else count * BYTES[held]


def resolve_dtype(name: ModelName, dtype: str = "auto") -> str | None:
    """Dtype of the model that `elicit.load(name, dtype=dtype)` gives. None for a hub id that is not in the local cache.

    `auto` is float32 for organisms, bfloat16 for quantised GGUF files, and else the type the files are written in.
    """
    if dtype != "auto" and dtype not in BYTES:
        raise unknown_name_error("dtype", dtype, ["auto", *BYTES])
    source = _resolve_source(name)
    if dtype != "auto":
        return dtype
    if source.kind == "organism":
        return "float32"
    tensors = _read_tensor_headers(source)
    if source.kind == "gguf" and tensors is not None:
        return gguf_dtype(tensors)
    folder = _find_weights_folder(source)
    config = {} if folder is None else read_config_json(folder)
    config_dtype = str(config.get("dtype") or config.get("torch_dtype") or "").removeprefix("torch.")
    if config_dtype in BYTES:
        return config_dtype
    if tensors is None:
        return None
    values: Counter[str] = Counter()
    for tensor in tensors:
        values[_KINDS.get(tensor.kind, "float32")] += tensor.values
    return values.most_common(1)[0][0]


def gguf_dtype(tensors: list[TensorHeader]) -> str:
    """Dtype to which a GGUF file is converted: its own if all of it is floats, else bfloat16.

    Norms are stored as F32 next to half-precision matrices, so the narrower type is the model's.
    """
    kinds = {tensor.kind for tensor in tensors}
    if not kinds <= _KINDS.keys():
        return "bfloat16"
    return _KINDS[next(kind for kind in ("BF16", "F16", "F32", "F64") if kind in kinds)]


def read_model_shape(name: ModelName) -> ModelShape | None:
    """Layers, width and cache of a model. None for a hub id that is not in the local cache.

    Raises:
        ElicitError: no such model, or a config without these values.
    """
    source = _resolve_source(name)
    folder = _find_weights_folder(source)
    try:
        if source.kind == "gguf":
            assert source.path is not None
            return _gguf_shape(headers.read_gguf_header(source.path))
        if folder is None:  # of a hub id whose weights are not here, the config alone
            folder = hub.find_cached_config(source.name)
        return None if folder is None else _config_shape(read_config_json(folder))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ElicitError(f"{source.name}: its config does not tell layers, heads and width ({one_line(error, 80)}).") \
            from error  # fmt: skip


def kv_bytes_per_token(name: ModelName, dtype: str = "auto") -> int | None:
    """Bytes that one token of one row takes in a cache of the model's dtype. None if `count_parameters` is None."""
    model_shape, held = read_model_shape(name), resolve_dtype(name, dtype)
    return None if model_shape is None or held is None else model_shape.kv_values * BYTES[held]


def find_weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the model in `folder`, as transformers chooses them; none if there are none.

    Raises:
        ElicitError: an index that cannot be read, or that names a missing file.
    """
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    if not (folder / _INDEX).is_file():
        return []
    weight_map = _read_json_object(folder / _INDEX).get("weight_map", {})
    is_valid = isinstance(weight_map, dict) and all(
        isinstance(name, str) and _PLAIN.fullmatch(name) for name in weight_map.values()
    )
    if not is_valid:
        raise ElicitError(f"{folder / _INDEX}: weight_map should give the name of a file beside it for every tensor.")
    names = sorted(set(weight_map.values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        raise ElicitError(
            f"{folder} is incomplete: {len(missing)} of its {len(names)} weight files are missing"
            f"{', first ' + one_line(missing[0], 100) if missing else ''}. Fetch them again."
        )
    return [folder / name for name in names]


def read_config_json(folder: Path) -> dict[str, Any]:
    """config.json of a folder, or the language model's part if it has several.

    Raises:
        ElicitError: it is missing or not a JSON object.
    """
    config = _read_json_object(folder / "config.json")
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, dict) else config


def _resolve_source(name: ModelName) -> ModelSource:
    return name if isinstance(name, ModelSource) else catalog.resolve_model(name)


def _find_weights_folder(source: ModelSource) -> Path | None:
    if source.kind == "gguf":
        return None
    return source.path if source.path is not None else hub.find_cached_model(source.name)


#: Name prefixes of the parts of a multimodal file that are not its language model.
_OTHER_PARTS = ("vision", "visual", "audio", "multi_modal_projector", "embed_vision", "embed_audio", "mm_projector")


def is_other_part(tensor: str) -> bool:
    """Return True if a tensor of a multimodal file belongs to vision or audio, which are not loaded."""
    return any(piece.startswith(_OTHER_PARTS) for piece in tensor.split("."))


def _read_tensor_headers(source: ModelSource) -> list[TensorHeader] | None:
    """Headers of all tensors that become weights."""
    if source.kind == "gguf":
        assert source.path is not None
        return [tensor for tensor in headers.read_gguf_header(source.path).tensors if not _TABLES.search(tensor.name)]
    folder = _find_weights_folder(source)
    if folder is None:
        return None
    tensors = [tensor for path in find_weight_files(folder) for tensor in headers.read_safetensors_header(path)]
    if not tensors:
        return None
    config = read_config_json(folder)
    tied = config.get("tie_word_embeddings") is True
    if "text_config" in config:
        tensors = [tensor for tensor in tensors if not is_other_part(tensor.name)]
    return [tensor for tensor in tensors if not (_TABLES.search(tensor.name) or (tied and tensor.name in _HEAD_NAMES))]


_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_WIDTH = ("hidden_size", "n_embd", "d_model")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads")


def _first_present(config: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """Value of the first of several names that a config has. Raises KeyError if it has none."""
    return int(config[next((name for name in names if config.get(name)), names[0])] or 0)


def _config_shape(config: Mapping[str, Any]) -> ModelShape:
    """Shape from a config.json; older families have names of their own."""
    layers, width, heads = (_first_present(config, names) for names in (_LAYERS, _WIDTH, _HEADS))
    vocabulary = int(config["vocab_size"])
    if config.get(
        "qk_nope_head_dim"
    ):  # DeepSeek's latent attention: the cache holds full keys and values for every head
        kv = heads * sum(int(config[part]) for part in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")) * layers
    else:
        kv_heads = int(config.get("num_key_value_heads") or config.get("num_kv_heads") or heads)
        kv = 2 * layers * kv_heads * int(config.get("head_dim") or width // heads)
    attention = heads * int(config.get("head_dim") or width // heads)
    return ModelShape(layers, width, vocabulary, kv, vocabulary * width, str(config["model_type"]), attention)


def _gguf_shape(header: headers.GgufHeader) -> ModelShape:
    family = str(header.fields["general.architecture"])
    layers, width, heads = (
        int(header.fields[f"{family}.{key}"]) for key in ("block_count", "embedding_length", "attention.head_count")
    )
    kv_heads = int(header.fields.get(f"{family}.attention.head_count_kv", heads))
    head_dim = int(header.fields.get(f"{family}.attention.key_length", width // heads))
    rows = next(tensor.shape[0] for tensor in header.tensors if tensor.name == "token_embd.weight")
    kv = 2 * layers * kv_heads * head_dim
    return ModelShape(layers, width, rows, kv, rows * width, family, heads * head_dim)


def _read_json_object(path: Path) -> dict[str, Any]:
    return documents.read_foreign_object(path)
