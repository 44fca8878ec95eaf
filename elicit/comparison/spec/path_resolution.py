"""Relative paths in a spec file, which start at the file's folder: of models, of tasks' files and of arms' code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from elicit.plugins import parse_reference

if TYPE_CHECKING:
    from elicit.comparison.spec.spec import Spec

#: Options of an arm that may name code in a file.
CODE_OPTIONS = ("method", "reward", "trainer_class")


def resolve_paths(spec: Spec, folder: Path) -> Spec:
    """Paths in a spec file are relative to the file."""

    def resolve_model(text: str) -> str:
        near = folder / text
        return str(near.resolve()) if not Path(text).is_absolute() and text.startswith(".") else text

    def resolve_task(description: dict[str, Any]) -> dict[str, Any]:
        # Options of arms name tasks too: `source: {task: jsonl, path: ...}`.
        description = {
            name: resolve_task(part) if isinstance(part, dict) else part for name, part in description.items()
        }
        path = description.get("path")
        if isinstance(path, str) and not Path(path).is_absolute() and (folder / path).exists():
            return {**description, "path": str((folder / path).resolve())}
        return description

    return spec.model_copy(
        update={
            "models": {label: resolve_model(name) for label, name in spec.models.items()},
            "task": resolve_task(spec.task),
            "arms": {label: resolve_code(resolve_task(options), folder) for label, options in spec.arms.items()},
            "off_target": {label: resolve_task(description) for label, description in spec.off_target.items()},
            "panels": {
                model: panel if panel.task is None else panel.model_copy(update={"task": resolve_task(panel.task)})
                for model, panel in spec.panels.items()
            },
        }
    )


def resolve_code(options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`method: my_file.py:MyMethod` and the like with the whole path of the file."""
    resolved = {}
    for option in CODE_OPTIONS:
        reference = parse_reference(str(options.get(option)))
        if reference is not None and reference.is_file:
            resolved[option] = f"{(folder / Path(reference.module).expanduser()).resolve()}:{reference.name}"
    return {**options, **resolved}
