"""`elicit lm-eval`: lm-eval's own command line with policies among its models; our tasks and steering as its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from elicit.cli.arguments import parse_arguments
from elicit.errors import ElicitError, unknown_name_error

if TYPE_CHECKING:
    from elicit.comparison.spec import Spec

USAGE = """\
usage: elicit lm-eval task SPEC_OR_TASK --out FOLDER     our task, the same problems, as a task file of lm-eval
       elicit lm-eval steering POLICY --out FOLDER       a policy's steering as files of lm-eval's model `steered`
       elicit lm-eval ...                                lm-eval's own command line, which then knows --model elicit

  elicit lm-eval --model elicit --model_args policy=runs/NAME/cells/MODEL/ARM/0/policy --tasks gsm8k
  elicit lm-eval --model elicit --model_args base=cued --tasks FOLDER/addition.yaml

--model_args: policy=FOLDER or base=MODEL; device, dtype, download, seed, sampling=policy, max_length, prefix_token_id.
elicit lm-eval run --help shows lm-eval's own options."""


@dataclass(frozen=True)
class WriteTaskOptions:
    """Write a task for lm-eval: the same problems, prompts and verifier."""

    task: Positional[str]
    """A spec file (its target and off-target tasks), or a task's name."""
    out: Path
    """Folder for the files."""
    model: str | None = None
    """Which model's prompts: a label of the spec, or what `elicit.load` takes. Default: the spec's only model."""
    n: int | None = None
    """Problems. Default: the spec's `test`, else 200."""
    seed: int = 0
    dtype: str = "auto"
    device: str = "auto"
    download: bool = False
    """Fetch a hub id that is not on this machine."""


@dataclass(frozen=True)
class WriteSteeringOptions:
    """Write a policy's steering for lm-eval's model `steered`, where it means the same there."""

    policy: Positional[Path]
    """A policy folder."""
    out: Path
    """Folder for the files."""
    device: str = "cpu"


def main(arguments: Sequence[str]) -> int:
    from elicit.interop import lm_eval

    if not arguments or list(arguments) in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    if arguments[0] == "task":
        return _write_task_files(parse_arguments(WriteTaskOptions, "lm-eval task", arguments[1:]))
    if arguments[0] == "steering":
        return _write_steering_files(parse_arguments(WriteSteeringOptions, "lm-eval steering", arguments[1:]))
    return lm_eval.run_command_line(arguments)


def _write_task_files(options: WriteTaskOptions) -> int:
    from elicit.interop.lm_eval.task import write_task

    tasks, name, n = _resolve_tasks(options)
    from elicit.model import load

    model = load(name, dtype=options.dtype, device=options.device, download=options.download)
    for label, description in tasks.items():
        print(write_task(description, options.out, model=model, model_name=name, label=label, n=n, seed=options.seed))
    return 0


def _resolve_tasks(options: WriteTaskOptions) -> tuple[dict[str, dict[str, Any]], str, int]:
    """(tasks by label, model to load, number of problems)."""
    if not options.task.endswith((".yaml", ".yml")):
        if options.model is None:
            raise ElicitError("lm-eval task: whose prompts? Type --model NAME, such as --model cued.")
        return {options.task: {"task": options.task}}, options.model, 200 if options.n is None else options.n
    from elicit.comparison.spec import read_spec

    spec = read_spec(Path(options.task))
    label = _resolve_model_label(spec, options)
    model_spec = spec.for_model(label)
    tasks = {model_spec.task_label: model_spec.task, **model_spec.off_target}
    return tasks, model_spec.models[label], spec.test if options.n is None else options.n


def _resolve_model_label(spec: Spec, options: WriteTaskOptions) -> str:
    if options.model is None:
        if len(spec.models) == 1:
            return next(iter(spec.models))
        raise ElicitError(f"lm-eval task: whose prompts? Type --model with one of: {', '.join(spec.models)}")
    if options.model not in spec.models:
        raise unknown_name_error("model", options.model, spec.models, where=options.task)
    return options.model


def _write_steering_files(options: WriteSteeringOptions) -> int:
    from elicit.interop.policies import load_policy
    from elicit.interop.steered_csv import write_steering

    for path in write_steering(load_policy(options.policy, device=options.device), options.out):
        print(path)
    return 0
