"""Specs for a plan: benchmarks that are not on this machine are replaced by invented rows of the usual length."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elicit.comparison.spec import Spec
from elicit.comparison.spec.assumed_size import check_assumed_configs
from elicit.comparison.spec.spec import check_form, check_tasks
from elicit.comparison.spec.yaml_loading import parse_yaml_mapping, pop_limit, read_spec_text
from elicit.tasks.datasets.benchmark import find_benchmark
from elicit.tasks.datasets.stand_ins import describe_stand_in


def read_spec_for_plan(path: Path, folder: Path) -> tuple[Spec, int | None]:
    """A spec file with its limit, as `read_limited_spec`, with invented rows for benchmarks that are not here.

    Args:
        folder: for the invented rows.

    Raises:
        ElicitError: as `read_limited_spec`; an assumed config is not here.
    """
    plain = parse_yaml_mapping(read_spec_text(path), str(path))
    limit = pop_limit(plain, str(path))
    spec = replace_missing_benchmarks(check_form(plain, where=str(path), folder=path.parent), folder)
    check_tasks(spec, str(path))
    check_assumed_configs(spec.assume)
    return spec, limit


def replace_missing_benchmarks(spec: Spec, folder: Path) -> Spec:
    """Replace them wherever the spec names one: target, off-target tasks, panels and options of arms.

    Args:
        folder: for the invented rows.
    """

    def replace(value: Any) -> Any:
        if isinstance(value, list):
            return [replace(item) for item in value]
        if not isinstance(value, Mapping):
            return value
        inner = {key: replace(item) for key, item in value.items()}
        return describe_stand_in(inner, folder) or inner

    fields = {
        "task": replace(spec.task),
        "off_target": {label: replace(item) for label, item in spec.off_target.items()},
        "arms": {arm: replace(options) for arm, options in spec.arms.items()},
        "panels": {
            model: panel.model_copy(update={field: replace(getattr(panel, field)) for field in ("task", "off_target")})
            for model, panel in spec.panels.items()
        },
    }
    return spec.model_copy(update=fields)


def describe_stand_ins(folder: Path) -> list[str]:
    """A line about each benchmark that was replaced."""
    lines = []
    for name in sorted(path.name for path in folder.iterdir()):
        usual = find_benchmark(name).usual
        assert usual is not None
        rows = " and ".join(f"{count:,} {split}" for split, count in usual.rows.items())
        lengths = ", ".join(f"{column} {count}" for column, count in usual.characters.items())
        lines.append(f"{name} is not on this machine: {rows} rows of assumed lengths ({lengths} characters)")
    return lines
