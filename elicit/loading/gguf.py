"""GGUF files, converted once into a folder of safetensors, which stays in a cache (`converted`).

1. The header is read: a truncated or unsupported file is refused before anything slow. 2. transformers de-quantises it
into an ordinary model, tensor by tensor: a minute or two for half a billion weights. 3. Model, tokenizer and chat
template are written together with a note of their origin.

Float files keep their type. De-quantised weights are stored as bfloat16: its rounding (0.2 %) is smaller than that of
8-bit blocks and far below that of 4-bit ones, and the cache is half as large.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from elicit.errors import ElicitError, one_line, require_extra
from elicit.loading import converted, gguf_tokenizer, headers, memory, size
from elicit.loading.rope import restore_rope_scaling

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def convert_gguf_file(path: Path) -> Path:
    """Model folder of the .gguf file `path`, converted now if it is not in the cache.

    Raises:
        ElicitError: the package gguf is missing, the file is damaged or unsupported, there is too little memory to
            convert it, or the cache cannot be written.
    """
    header = headers.read_gguf_header(path)
    return converted.convert_once(path, lambda scratch: _convert_to_safetensors(path, header, scratch))


def _convert_to_safetensors(path: Path, header: headers.GgufHeader, scratch: Path) -> None:
    require_extra("gguf", "gguf", f"Reading {path.name}")
    count = sum(tensor.values for tensor in header.tensors)
    held = size.gguf_dtype(list(header.tensors))
    memory.check_conversion(path.name, count * size.BYTES[held])
    converted.print_notice(
        f"converting {path.name} ({path.stat().st_size / 1e6:,.0f} MB, {count / 1e6:,.0f} M parameters) to safetensors "
        f"once: about {round(20 + count / 8e6, -1):.0f} s ..."
    )
    started = time.monotonic()
    with _hide_progress_bars():
        hf, tokenizer = _load_dequantised(path, header, _DTYPES[held])
        _save_converted(hf, tokenizer, scratch)
    converted.print_notice(f"converted {path.name} in {time.monotonic() - started:.0f} s")


def _load_dequantised(path: Path, header: headers.GgufHeader, dtype: torch.dtype) -> tuple[Any, Any]:
    """De-quantised model and tokenizer. Every parser fails in its own way on a damaged file."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        gguf_options = {"gguf_file": path.name, "local_files_only": True, "trust_remote_code": False}
        hf, report = AutoModelForCausalLM.from_pretrained(
            path.parent,
            dtype=dtype,
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
            **gguf_options,
        )
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **gguf_options)
        restore_rope_scaling(hf.config, _read_rope_scaling(path, header), path.name)
        fields = headers.read_gguf_header(path, arrays=gguf_tokenizer.ARRAYS).fields
        gguf_tokenizer.repair_tokenizer(hf, tokenizer, fields, path.name)
    except ElicitError:
        raise
    except Exception as error:
        raise ElicitError(
            f"cannot read {path} as GGUF: {one_line(f'{type(error).__name__}: {error}', 250)} "
            "The file may be damaged (compare its hash with the source), or of a kind that transformers does not "
            "convert."
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ElicitError(f"{path}: {len(missing)} tensors of the model are not in the file, first {missing[0]}.")
    return hf, tokenizer


def _read_rope_scaling(path: Path, header: headers.GgufHeader) -> dict[str, Any]:
    """Fields and tensors of the file that concern rotary scaling."""
    extras: dict[str, Any] = {
        key.split(".", 1)[1]: value for key, value in header.fields.items() if ".rope.scaling." in key
    }
    if any(tensor.name.startswith("rope_f") for tensor in header.tensors):
        import gguf

        tensors = gguf.GGUFReader(path).tensors
        extras |= {t.name: torch.tensor(t.data).float() for t in tensors if t.name.startswith("rope_f")}
    return extras


def _save_converted(hf: Any, tokenizer: Any, folder: Path) -> None:
    # With a trace of the quantiser left, save_pretrained would consider the model quantised and refuse.
    hf.hf_quantizer = None
    vars(hf.config).pop("quantization_config", None)
    try:
        hf.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except Exception as error:  # a full disk is an OSError here and a SafetensorError there
        raise converted.cache_write_error(folder.parent, error) from error


@contextlib.contextmanager
def _hide_progress_bars() -> Iterator[None]:
    """Show the progress bars of transformers (of three kinds) only in a terminal."""
    if sys.stderr.isatty():
        yield
        return
    with contextlib.redirect_stderr(io.StringIO()):  # log messages have a stream of their own and still appear
        yield
