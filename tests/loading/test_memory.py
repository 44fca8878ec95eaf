"""Models that do not fit, as sparse files: real headers of a terabyte that take no space on the disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elicit.errors import ElicitError
from elicit.loading import catalog, load_transformers, memory, size
from elicit.loading.load import prepare_model_folder
from tests.loading.test_load import saved

GIB = 2**30


def huge(folder: Path, *, values: int, kind: str = "BF16") -> Path:
    """A folder whose one tensor has so many values."""
    _, _, folder = saved(folder)
    width = {"BF16": 2, "F32": 4}[kind]
    entry = {"dtype": kind, "shape": [values // 1024, 1024], "data_offsets": [0, values * width]}
    header = json.dumps({"model.embed_tokens.weight": entry}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + values * width)
    config = json.loads((folder / "config.json").read_text())
    dtype = {"BF16": "bfloat16", "F32": "float32"}[kind]
    (folder / "config.json").write_text(json.dumps({**config, "dtype": dtype}))
    return folder


def test_a_model_that_does_not_fit_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    folder = huge(tmp_path, values=1 << 40)
    for function in (load_transformers, prepare_model_folder):
        with pytest.raises(ElicitError) as caught:
            function(folder, device="cpu")
        text = str(caught.value)
        assert text.startswith(
            f"{folder} does not fit: its 1099.5 billion weights take 2,048.0 GiB in bfloat16, and only "
        )
        assert text.endswith(
            " GiB of memory are free. Nothing here holds it, not even in bfloat16 (2,048.0 GiB): take a smaller model "
            "or a larger machine."
        )


def test_what_would_fit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_cpu", lambda: 20 * GIB)
    wide = catalog.resolve_model(huge(tmp_path / "wide", values=8 * GIB, kind="F32"))  # 32 GiB, or 16 in bfloat16
    big = catalog.resolve_model(huge(tmp_path / "big", values=16 * GIB))  # 32 GiB

    def refusal(source: catalog.ModelSource, device: str, *gpus: int, dtype: str = "auto", copies: int = 1) -> str:
        with pytest.raises(ElicitError) as caught:
            memory.check_model_fits(source, dtype, device, dict(enumerate(gpu * GIB for gpu in gpus)), copies=copies)
        return str(caught.value).partition(" GiB of memory are free. ")[2] or str(caught.value).partition(". Type ")[2]

    assert refusal(wide, "cpu") == "Type dtype='bfloat16'."
    memory.check_model_fits(wide, "bfloat16", "cpu", {})
    assert refusal(wide, "cpu", dtype="bfloat16", copies=2) == "Type: --workers 1"
    assert refusal(big, "cpu", 40) == "Type device='cuda'."
    assert refusal(big, "cuda:0", 24, 40) == "device='cuda:1'."
    assert refusal(big, "cuda:0", 24, 24) == "device='balanced', which spreads it over the GPUs."
    memory.check_model_fits(big, "auto", "balanced", {0: 24 * GIB, 1: 24 * GIB})
    assert refusal(wide, "cuda:0", 17) == "dtype='bfloat16', or device='cpu'."
    with pytest.raises(ElicitError, match=r"only 24\.0 GiB are free on the 2 GPUs together\. Nothing here holds it"):
        memory.check_model_fits(big, "auto", "balanced", {0: 12 * GIB, 1: 12 * GIB})


def test_a_container_s_limit_counts(tmp_path: Path) -> None:
    cgroups, own = tmp_path / "cgroup", tmp_path / "own"
    inner = cgroups / "jobs" / "mine"
    inner.mkdir(parents=True)
    own.write_text("0::/jobs/mine\n")
    machine = memory.free_cpu(cgroups=tmp_path / "none", process_cgroup=own)
    assert machine > 0
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("1000\n")
    (inner / "memory.stat").write_text("anon 900\ninactive_file 50\n")
    outer = inner.parent
    for name, text in (("memory.max", "5000"), ("memory.current", "3000"), ("memory.stat", "inactive_file 500\n")):
        (outer / name).write_text(text)
    # Its own group is not limited; the one above is, and its page cache can be had back.
    assert memory.free_cpu(cgroups=cgroups, process_cgroup=own) == 5000 - 3000 + 500
    (inner / "memory.max").write_text("1100\n")
    assert memory.free_cpu(cgroups=cgroups, process_cgroup=own) == 1100 - 1000 + 50
    (inner / "memory.current").write_text("2000\n")
    assert memory.free_cpu(cgroups=cgroups, process_cgroup=own) == 0
    own.write_text("12:memory:/old\n")
    assert memory.free_cpu(cgroups=cgroups, process_cgroup=own) > 5000


def test_sizes_of_the_sparse_files(tmp_path: Path) -> None:
    """What the tests above rest on."""
    folder = huge(tmp_path, values=1 << 40)
    assert size.count_weight_bytes(folder) == 1 << 41
    assert (folder / "model.safetensors").stat().st_blocks * 512 < 1 << 20
