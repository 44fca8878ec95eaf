"""Relative paths in a spec file, which start at the file's folder: of models, of tasks' files and of arms' code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit.comparison.spec.code_references import resolve_references

if TYPE_CHECKING:
    from elicit.comparison.spec.spec import Spec


def resolve_paths(spec: Spec, folder: Path) -> Spec:
    """Resolve paths in a spec file relative to the file."""

    def resolve_model(text: str) -> str:
        near = folder / text
        return str(near.resolve()) if not Path(text).is_absolute() and text.startswith(".") else text

    def resolve_task(description: dict[str, Any]) -> dict[str, Any]:
        # Options of arms name tasks too: `source: {task: jsonl, path: ...}`.
        description = {
            name: resolve_task(part) if isinstance(part, dict) else part for name, part in description.items()
        }
        description = resolve_references(description, folder)
        path = description.get("path")
        if isinstance(path, str) and not Path(path).is_absolute() and (folder / path).exists():
            return {**description, "path": str((folder / path).resolve())}
        return description

    return spec.model_copy(
        update={
            "models": {label: resolve_model(name) for label, name in spec.models.items()},
            "task": resolve_task(spec.task),
            "arms": {label: resolve_task(options) for label, options in spec.arms.items()},
            "off_target": {label: resolve_task(description) for label, description in spec.off_target.items()},
            "panels": {
                model: panel if panel.task is None else panel.model_copy(update={"task": resolve_task(panel.task)})
                for model, panel in spec.panels.items()
            },
        }
    )
