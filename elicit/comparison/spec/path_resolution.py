"""Relative paths in a spec file, which start at the file's folder: of models, SAEs, tasks' files and arms' code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elicit.comparison.spec.code_references import resolve_reference
from elicit.comparison.spec.model_overrides import ModelOverrides
from elicit.comparison.spec.option_values import map_texts

#: Options of an arm that name a model or SAEs, which are paths where they begin with a dot.
_LOADED = ("model", "amateur", "sae", "saes")


def resolve_paths(
    folder: Path,
    models: Mapping[str, str],
    task: dict[str, Any],
    arms: Mapping[str, dict[str, Any]],
    off_target: Mapping[str, dict[str, Any]],
    panels: Mapping[str, ModelOverrides],
    assume: Mapping[str, str],
) -> dict[str, Any]:
    """The fields of a spec that hold paths, with those of a spec file in this folder in full."""

    def resolve_model(text: str) -> str:
        near = folder / text
        return str(near.resolve()) if not Path(text).is_absolute() and text.startswith(".") else text

    def resolve_text(name: str, text: str) -> str:
        near = folder / text
        is_path = name == "path" or (name in _LOADED and text.startswith("."))
        if is_path and not Path(text).is_absolute() and near.exists():
            return str(near.resolve())
        return resolve_reference(name, text, folder)

    def resolve_task(description: dict[str, Any]) -> dict[str, Any]:
        # Options of arms name tasks too: `source: {task: jsonl, path: ...}`.
        return map_texts(description, resolve_text)

    return {
        "models": {label: resolve_model(name) for label, name in models.items()},
        "assume": {label: resolve_text("path", text) if "/" in text else text for label, text in assume.items()},
        "task": resolve_task(task),
        "arms": {label: resolve_task(options) for label, options in arms.items()},
        "off_target": {label: resolve_task(description) for label, description in off_target.items()},
        "panels": {
            model: panel if panel.task is None else panel.model_copy(update={"task": resolve_task(panel.task)})
            for model, panel in panels.items()
        },
    }
