"""`elicit doctor`: is this installation fit for use, and what must one know about a model before using it?"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from elicit.cli.arguments import parse_arguments
from elicit.errors import ElicitError, one_line

_NEEDED = ("torch", "transformers", "transformer-lens", "trl", "peft", "datasets", "scipy", "pydantic")
_EXTRAS = {"gguf": "GGUF files"}


@dataclass(frozen=True)
class DoctorOptions:
    """Check packages, machine and shipped models. With a model: a page about it, and with a task its spread.

    The spread is the base's accuracy under each prompt condition and each reading of its answers, side by side.
    """

    model: Positional[str | None] = None
    """Built-in organism, folder, GGUF file or hub id."""
    task: str | None = None
    """A task by name (sums), or as a spec has it: '{task: sums, terms: [2, 3]}'."""
    n: int = 100
    """Test problems that the spread is measured on."""
    seed: int = 0
    dtype: str = "auto"
    device: str = "auto"
    download: bool = False
    """Fetch a hub id that is not on this machine."""


def main(arguments: Sequence[str]) -> int:
    """0 if everything is fine; 1 if the installation lacks something, or the model fails its self-test."""
    options = parse_arguments(DoctorOptions, "doctor", arguments)
    if options.model is not None:
        return _examine_model(options, options.model)
    if options.task is not None:
        raise ElicitError("--task needs a model. Type: elicit doctor MODEL --task sums")
    fine = _check_packages()
    _print_machine()
    return 0 if _check_shipped_models() and fine else 1


def _examine_model(options: DoctorOptions, name: str) -> int:
    if options.n < 1:
        raise ElicitError(f"--n is {options.n}; expected at least 1.")
    description = None if options.task is None else _parse_task_yaml(options.task)
    from elicit.doctor import examine_model, measure_spread
    from elicit.doctor.page import render_model_page
    from elicit.loading.load import load_transformers
    from elicit.model import build_base_model
    from elicit.selftest import self_test
    from elicit.tasks.from_dict import build_task

    model = build_base_model(
        load_transformers(name, dtype=options.dtype, device=options.device, download=options.download)
    )
    task = None if description is None else build_task(description, model.card.get("dialect"), where="--task")
    facts, checks = examine_model(model), self_test(model.engine)
    fine = all(check.passed for check in checks)
    spread = None
    if task is not None and fine:
        spread = measure_spread(model, task, n=options.n, seed=options.seed, progress=_print_condition_done)
    print(render_model_page(facts, checks, spread))
    return 0 if fine else 1


def _print_condition_done(condition: str) -> None:
    print(f"elicit doctor: {condition} done", file=sys.stderr, flush=True)


def _parse_task_yaml(text: str) -> dict[str, object]:
    """A task's name, or YAML with its parameters."""
    import yaml

    try:
        description = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ElicitError(f"--task {one_line(repr(text), 80)} cannot be read: {one_line(error, 120)}") from None
    if isinstance(description, str):
        return {"task": description}
    if isinstance(description, dict):
        return description
    raise ElicitError(
        f"--task is {one_line(repr(text), 80)}; expected a name or fields, such as '{{task: sums, terms: [2, 3]}}'."
    )


def _check_packages() -> bool:
    fine = sys.version_info >= (3, 11)
    print(f"{'ok ' if fine else 'BAD'} python {platform.python_version()}")
    for name in _NEEDED:
        try:
            print(f"ok  {name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            fine = False
            print(f"BAD {name} is missing. Type: pip install elicit-reasoning")
    for extra, purpose in _EXTRAS.items():
        there = importlib.util.find_spec(extra) is not None
        hint = "" if there else f": not installed. Type: pip install 'elicit-reasoning[{extra}]'"
        print(f"{'ok ' if there else '-- '} {purpose}{hint}")
    return fine


def _print_machine() -> None:
    import torch

    from elicit.loading import converted, memory

    print(f"ok  {memory.free_cpu() / 2**30:.0f} GiB of memory free")
    folders = [folder for folder in converted.cache_root().glob("gguf/*") if converted.is_complete_conversion(folder)]
    if folders:
        total_bytes = sum(path.stat().st_size for folder in folders for path in folder.iterdir())
        print(
            f"ok  {len(folders)} converted GGUF files in {converted.cache_root() / 'gguf'}, "
            f"{total_bytes / 2**30:.1f} GiB"
        )
    print(f"ok  {os.cpu_count()} cores, {shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB free here")
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        print(f"ok  cuda:{number} {name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free")
    if not torch.cuda.device_count():
        print("--  no GPU: organisms and small models run on the CPU")


def _check_shipped_models() -> bool:
    """Load the first shipped organism and let it answer once."""
    from elicit.loading import catalog
    from elicit.model import load
    from elicit.sampling import Decoding

    names = [entry.name for entry in catalog.list_organisms()]
    if not names:
        print("BAD no organisms are shipped with this installation")
        return False
    model = load(names[0])
    (completion,) = model.sample(["Q:47+38\nA:"], decoding=Decoding(max_new_tokens=8))[0]
    print(f"ok  {len(names)} organisms: {', '.join(names)}; {names[0]} answers {completion.text!r}")
    return True
