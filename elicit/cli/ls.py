"""`elicit ls`: what exists."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from elicit.cli.arguments import parse_arguments
from elicit.cli.offered_entries import OfferedEntry, print_offered_entries
from elicit.errors import EXIT_BAD_INPUT, ElicitError

if TYPE_CHECKING:
    from elicit.method import Method


@dataclass(frozen=True)
class LsOptions:
    """List models, SAEs, tasks, methods or runs."""

    kind: Positional[Literal["models", "saes", "tasks", "methods", "runs"]]
    folder: Path = Path("runs")
    """Where runs are (for `runs`)."""


def main(arguments: Sequence[str]) -> int:
    options = parse_arguments(LsOptions, "ls", arguments)
    if options.kind == "runs":
        return _list_runs(options.folder)
    {"models": _list_models, "saes": _list_saes, "tasks": _list_tasks, "methods": _list_methods}[options.kind]()
    return 0


def _list_models() -> None:
    from elicit.loading import catalog
    from elicit.organisms.recipes import get_organism_config

    for name, card in catalog.list_organisms():
        about = card or {}
        size = about.get("recipe", {})
        facts = f"{size.get('layers', '?')} layers, d_model {size.get('d_model', '?')}"
        print(f"{name:<14} {', '.join(about.get('families', [])):<32} {facts}; training seed {about.get('seed', '?')}")
    print("recipes to train first (elicit organism train NAME; load them as ./organisms/NAME):")
    for name in catalog.UNTRAINED:
        config, _ = get_organism_config(name)
        state = "; trained" if (Path("organisms") / name / "config.json").is_file() else ""
        facts = f"{config.layers} layers, d_model {config.d_model}; {config.tokens / 1e6:.0f}M tokens{state}"
        print(f"{name:<14} {', '.join(config.families):<32} {facts}")
    print(
        "also: a folder with safetensors, a .gguf file, or a hub id (org/name or org/name@revision; --download fetches)"
    )


def _list_saes() -> None:
    from saes import catalog

    entries = catalog.shipped()
    width = max((len(entry.name) for entry in entries), default=0)
    for name, _, manifest, d_sae in entries:
        card = manifest.card or {}
        figures = (
            f"explained variance {_format_card_estimate(card, 'explained_variance', '.3f')}, L0 "
            f"{_format_card_estimate(card, 'l0', '.1f')}"
        )
        about = f"{manifest.architecture}, {d_sae:,} latents after layer {manifest.layer} of {manifest.model}"
        print(f"{name:<{width}}  {about}; {figures}")
    print(
        "also: a folder of SAELens's or Sparsify's, or a SAELens release, RELEASE:ID "
        "(gemma-scope-2-270m-pt-res:layer_5_width_16k_l0_small)"
    )


def _format_card_estimate(card: dict[str, Any], name: str, form: str) -> str:
    """An estimate of a card with its interval and n, or `not measured`."""
    estimate = card.get(name)
    if not isinstance(estimate, dict) or estimate.get("value") is None:
        return "not measured"
    interval = estimate.get("ci")
    between = f" [{interval[0]:{form}}, {interval[1]:{form}}]" if interval else ""
    return f"{estimate['value']:{form}}{between} (n = {estimate['n']:,})"


def _list_tasks() -> None:
    from elicit.tasks import catalog, loaders, outside
    from elicit.tasks.generated import refusal

    for name in catalog.FAMILIES:
        module, class_name, _ = catalog.FAMILIES[name]
        family = getattr(__import__(module, fromlist=[class_name]), class_name)
        fields = ", ".join(
            field.name + _format_default(field).replace(" = ", "=") for field in dataclasses.fields(family)
        )
        first = (inspect.getdoc(inspect.getmodule(family)) or "").splitlines()[0]
        print(f"{first}\n    parameters: {fields}")
    first = (inspect.getdoc(refusal) or "").splitlines()[0]
    print(f"{first}\n    parameters: of='addition', marked=True, those of that family")
    for name, (what, parameters) in loaders.describe_sources().items():
        print(f"`{name}`: {what}.\n    parameters: {', '.join(parameters)}")
    built_in = [*catalog.FAMILIES, catalog.REFUSAL, *loaders.list_sources()]
    print_offered_entries("task", outside.GROUP, built_in, _describe_offered_task)


def _describe_offered_task(entry: OfferedEntry) -> str:
    """Name, package, the class's first line, and the parameters of its constructor."""
    from elicit.tasks import outside

    value = outside.load_code(entry.reference).value
    parameters = inspect.signature(value).parameters.values() if isinstance(value, type) else ()
    texts = [str(parameter).replace(" = ", "=") for parameter in parameters]
    return f"{_write_title(entry, value)}\n    parameters: {', '.join(texts) or 'none'}"


def _list_methods() -> None:
    """The first line of every built-in method's module, those that packages offer, and every option."""
    from elicit.methods import catalog, outside

    for name in catalog.METHODS:
        config = catalog.load_config_class(name)
        print((inspect.getdoc(inspect.getmodule(config)) or name).splitlines()[0])
        for line in _describe_options(config):
            print(line)
    print_offered_entries("method", outside.GROUP, [*catalog.METHODS, *catalog.ALIASES], _describe_offered_method)
    print("also: a class of your own, my_file.py:MyMethod or my_package.module:MyMethod")


def _describe_offered_method(entry: OfferedEntry) -> str:
    from elicit.methods.outside import load_method_class

    config = load_method_class(entry.reference)
    return "\n".join([_write_title(entry, config), *_describe_options(config)])


def _write_title(entry: OfferedEntry, value: object) -> str:
    """Name, package and reference, and the first line of the documentation of what is offered."""
    about = (value.__doc__ or "").strip().partition("\n")[0]
    return f"`{entry.name}` (package {entry.package}, {entry.reference}): {about}"


def _describe_options(config: type[Method]) -> list[str]:
    from elicit.methods.catalog import list_options

    return [f"    {field.name}: {_format_type(field)}{_format_default(field)}" for field in list_options(config)]


def _format_type(field: dataclasses.Field[Any]) -> str:
    return field.type if isinstance(field.type, str) else inspect.formatannotation(field.type)


def _format_default(field: dataclasses.Field[Any]) -> str:
    """Format a field's default; empty for a required one."""
    if field.default is not dataclasses.MISSING:
        return f" = {field.default!r}"
    return " (required)" if field.default_factory is dataclasses.MISSING else f" = {field.default_factory()!r}"


def _list_runs(folder: Path) -> int:
    """2 where a run's files are damaged: it is named on stderr, and the others are listed."""
    from elicit.comparison.storage.typed_files import read_manifest

    runs = sorted(path.parent for path in folder.glob("*/spec.yaml")) if folder.is_dir() else []
    code = 0
    for run in runs:
        try:
            started, state = read_manifest(run).get("start", "?"), _format_run_state(run)
        except ElicitError as error:
            print(f"elicit ls: {error}", file=sys.stderr)
            code = EXIT_BAD_INPUT
        else:
            print(f"{run}  started {started}  {state}")
    if not runs:
        print(f"no runs in {folder}. Start one: elicit run experiments/quickstart.yaml --out {folder}/quickstart")
    return code


def _format_run_state(run: Path) -> str:
    """Format the progress of a run's cells."""
    from elicit.comparison.cell_state import is_done, read_cell_status
    from elicit.comparison.reader import read_run_spec
    from elicit.comparison.spec.cells import list_cells
    from elicit.comparison.unpack import read_archived_cells

    spec, limit = read_run_spec(run)
    all_cells = list_cells(spec)
    packed = read_archived_cells(run)
    if packed is None:
        failed = sum(read_cell_status(cell, run)["state"] == "failed" for cell in all_cells)
        done = sum(is_done(cell, spec, run, limit) for cell in all_cells)
    else:
        states = [cell["status"]["state"] for cell in packed.values()]
        failed, done = states.count("failed"), states.count("done")
    parts = [f"{done} of {len(all_cells)} cells finished"] if done < len(all_cells) else ["finished"]
    parts += [f"{failed} failed"] if failed else []
    open_cells = len(all_cells) - done - failed
    parts += [f"{open_cells} to do: run the same command again"] if open_cells else []
    return ", ".join(parts)
