"""`elicit export`: a run, or an archive of one, as the files of other tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from elicit.cli.arguments import parse_arguments
from elicit.errors import ElicitError

Target = Literal[
    "inspect", "inspect-json", "lm-eval", "csv", "parquet", "vectors", "peft", "tensorboard", "trackio", "wandb"
]


@dataclass(frozen=True)
class ExportOptions:
    """Write a run directory, or an archive, for other tools: into a new folder, which is there whole or not at all."""

    run: Positional[Path]
    """Run directory, or an archive of one."""
    to: Target
    """inspect: .eval logs (inspect-json: .json); lm-eval: its results and samples files; csv, parquet: tidy tables;
    vectors, peft: steering vectors and LoRA adapters of a run directory; or a tracker."""
    out: Path | None = None
    """New folder (default: exports/RUN-TO)."""
    arms: str | None = None
    """Only these arms (comma-separated)."""
    samples: bool = False
    """For Inspect: also the samples at temperature 1, as logs of their own."""


def main(arguments: Sequence[str]) -> int:
    options = parse_arguments(ExportOptions, "export", arguments)
    from elicit.runs import fresh_folder

    arms = None if options.arms is None else [arm.strip() for arm in options.arms.split(",") if arm.strip()]
    if options.samples and not options.to.startswith("inspect"):
        raise ElicitError("--samples is for --to inspect; tables hold every sample, lm-eval's files none.")
    target = options.out or Path("exports") / f"{options.run.resolve().name}-{options.to}"
    if target.exists():
        raise ElicitError(f"{target} exists already. Remove it, or name another folder with --out.")
    write = _select_writer(options, arms)
    with fresh_folder(target) as scratch:
        count = write(scratch)
        if not count:
            raise ElicitError(f"{options.run} has nothing to export: no cell of it is finished.")
    print(f"{target}: {count}")
    return 0


def _select_writer(options: ExportOptions, arms: list[str] | None) -> Callable[[Path], str]:
    """Select the function that fills the folder and returns a description of the result, "" for nothing."""
    run, to = options.run, options.to
    if to in ("inspect", "inspect-json"):
        from elicit.interop import inspect_logs

        form: Literal["eval", "json"] = "eval" if to == "inspect" else "json"

        def write_logs(folder: Path) -> str:
            return _format_count(
                inspect_logs.write_logs(run, folder, arms=arms, samples=options.samples, form=form), "log"
            )

        return write_logs
    if to == "lm-eval":
        from elicit.interop.lm_eval import results

        return lambda folder: _format_count(results.write_result_files(run, folder, arms=arms), "results file")
    if to in ("csv", "parquet"):
        from elicit.interop import frames

        table: Literal["csv", "parquet"] = "csv" if to == "csv" else "parquet"
        return lambda folder: _format_count(frames.write_frames(run, folder, form=table, arms=arms), "table")
    if to in ("vectors", "peft"):
        from elicit.interop import parts

        if to == "peft":
            return lambda folder: _format_count(parts.write_adapters(run, folder, arms=arms), "adapter")
        return lambda folder: _format_count(
            parts.write_vectors(run, folder, arms=arms), "file of vectors", "files of vectors"
        )
    from elicit.interop import trackers

    return lambda folder: _format_count(range(trackers.replay_run(run, folder, to, arms=arms)), "cell")


def _format_count(items: Sequence[object], singular: str, plural: str | None = None) -> str:
    return f"{len(items)} {singular if len(items) == 1 else plural or singular + 's'}" if items else ""
