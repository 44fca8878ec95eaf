"""Model folders of several layouts, saved once, and what is done with a damaged copy."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
import warnings
from pathlib import Path

import numpy as np

from elicit.loading import load_transformers
from tests.fuzz.damage import damage_file
from tests.fuzz.limited import Outcome, run_limited
from tests.support.tiny import tiny

ARCHITECTURES = ("llama", "gpt2", "gemma3", "gpt_neox", "qwen2")


@functools.cache
def saved_models() -> dict[str, Path]:
    """Architecture -> folder, one of them in shards with an index."""
    root = Path(tempfile.mkdtemp(prefix="models-"))
    for arch in ARCHITECTURES:
        hf, tokenizer = tiny(arch)
        hf.save_pretrained(root / arch, max_shard_size="30KB" if arch == "qwen2" else "1GB")
        tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
        tokenizer.save_pretrained(root / arch)
    return {arch: root / arch for arch in ARCHITECTURES}


#: Values of config.json that no damage at random would find.
SIZES = tuple("hidden_size num_hidden_layers num_attention_heads vocab_size intermediate_size n_embd n_layer".split())
BAD_SIZES = (-1, 0, "32", None, 3.5, 10**12, 2**70, [32], True, {})


def damaged_model(seed: int) -> tuple[str, Outcome]:
    """(what was damaged, what became of loading it)."""
    rng = np.random.default_rng(seed)
    folders = saved_models()
    arch = str(rng.choice(ARCHITECTURES))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(shutil.copytree(folders[arch], Path(scratch) / arch))
        if rng.random() < 0.25:
            what = _resize(folder / "config.json", rng)
        else:
            # config.json as often as all others together: the most is decided there.
            files = sorted(path for path in folder.iterdir() if path.name != "config.json")
            path = folder / "config.json" if rng.random() < 0.5 else files[int(rng.integers(len(files)))]
            what = damage_file(path, rng)
        return f"seed {seed}, {arch}, {what}", run_limited(lambda: _load(folder))


def _resize(path: Path, rng: np.random.Generator) -> str:
    config = json.loads(path.read_text())
    names = [name for name in SIZES if name in config]
    name, value = names[int(rng.integers(len(names)))], BAD_SIZES[int(rng.integers(len(BAD_SIZES)))]
    path.write_text(json.dumps(config | {name: value}))
    return f"config.json: {name} = {value!r}"


def _load(folder: Path) -> None:
    warnings.simplefilter("ignore")
    loaded = load_transformers(folder, device="cpu")
    assert loaded.weights_sha256
    assert loaded.tokenizer("Q:1+1")["input_ids"] is not None
