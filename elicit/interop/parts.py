"""Parts of a run's cells that other programs take as they are: steering vectors, and LoRA adapters for plain peft.

Committed archives keep neither: they hold rows and figures.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from elicit.comparison.run import open_run
from elicit.comparison.run_cell import RunCell
from elicit.errors import ElicitError

_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def write_vectors(run: str | Path, folder: Path, *, arms: Sequence[str] | None = None) -> list[Path]:
    """`MODEL/ARM/SEED.json` with `.safetensors` for every arm that steers (see `vectors`). Returns the JSON files.

    Raises:
        ElicitError: no run, or no cell in it that steers by vectors alone.
    """
    from elicit import steering
    from elicit.interop import vectors
    from elicit.policy_document import read_document

    written = []
    for cell, policy in _iter_saved_policies(run, arms):
        edits = [edit for edit in steering.load_edits(policy) if isinstance(edit, steering.Steering)]
        gated = len(edits) < len(steering.load_edits(policy))
        if edits and not gated:
            document = read_document(policy)
            base = dataclasses.asdict(document.base)
            facts = {**base, "d_model": edits[0].d_model, **_read_architecture(document.base.name)}
            origin = {"run": cell.run.name, "cell": cell.name, "policy_sha256": document.sha256}
            origin |= vectors.select_provenance(document.record)
            vector_path = folder / cell.model / Path(cell.arm) / str(cell.seed)
            written.append(vectors.write_vector_files(edits, vector_path, model=facts, provenance=origin))
    if not written:
        raise ElicitError(f"{run} holds no steering vectors: no arm steers, or it is an archive, which keeps none.")
    return written


def write_adapters(run: str | Path, folder: Path, *, arms: Sequence[str] | None = None) -> list[Path]:
    """`MODEL/ARM/SEED/adapter_*`: folders for `peft.PeftModel.from_pretrained`. Returns them.

    Raises:
        ElicitError: no run, or no cell in it that trained an adapter.
    """
    written = []
    for cell, policy in _iter_saved_policies(run, arms):
        if all((policy / name).exists() for name in _ADAPTER):
            adapter_folder = folder / cell.model / Path(cell.arm) / str(cell.seed)
            adapter_folder.mkdir(parents=True)
            for name in _ADAPTER:
                shutil.copyfile(policy / name, adapter_folder / name)
            written.append(adapter_folder)
    if not written:
        raise ElicitError(
            f"{run} holds no adapters: no arm was trained with LoRA (option lora_rank), or it is an archive, which "
            "keeps none."
        )
    return written


def _iter_saved_policies(run: str | Path, arms: Sequence[str] | None) -> Iterator[tuple[RunCell, Path]]:
    with open_run(run) as source:
        for cell in source.cells(arms=arms, state="done"):
            policy = cell.folder / "policy"
            if (policy / "policy.json").exists():
                yield cell, policy


def _read_architecture(name: str) -> dict[str, object]:
    """Architecture and depth of a base, from its config alone; null where the model is not here any more."""
    from transformers import AutoConfig

    from elicit.loading.catalog import resolve_model
    from elicit.loading.load import fetch_model_folder

    try:
        config = AutoConfig.from_pretrained(fetch_model_folder(resolve_model(name), download=False)).get_text_config(
            decoder=True
        )
    except (ElicitError, OSError, ValueError):
        return {"model_type": None, "n_layers": None}
    return {"model_type": config.model_type, "n_layers": config.num_hidden_layers}
