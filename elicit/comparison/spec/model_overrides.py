"""Overrides of a spec for one model, and the forms in which a spec may give tasks. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from elicit.tasks.catalog import label_of


def index_by_name(values: list[Any], names: list[str]) -> dict[str, Any]:
    """Turn a list into a mapping. Raises ValueError if a name occurs twice, because one entry would be lost."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the name {name!r} comes twice; give a mapping with a name of its own for each")
    return dict(zip(names, values, strict=True))


def _one_task(value: Any) -> Any:
    return {"task": value} if isinstance(value, str) else value


def _tasks_by_name(value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return index_by_name([{"task": name} for name in value], [label_of(name) for name in value])
    return value


#: `addition`, or `{task: addition, digits: 2}`
TaskField = Annotated[dict[str, Any], BeforeValidator(_one_task)]
#: `[mod_chain]`, or `{chains: {task: mod_chain}}`
TasksField = Annotated[dict[str, dict[str, Any]], BeforeValidator(_tasks_by_name)]


class ModelOverrides(BaseModel):
    """Fields that differ for one model; None takes the spec's own value."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    task: TaskField | None = None
    off_target: TasksField | None = None
    arms: list[str] | None = None
    """Only these arms of the spec, in the spec's order."""
    seeds: int | None = Field(default=None, ge=1, le=1000)
    test: int | None = Field(default=None, ge=1, le=1_000_000)
