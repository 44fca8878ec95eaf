"""`elicit sae dashboard`: pages of an SAE's features and an index to search and sort them, as a folder of files."""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from elicit.cli.arguments import parse_arguments
from elicit.cli.sae_arms import DashboardJob, find_jobs, to_folder_name
from elicit.cli.task_option import parse_task_option
from elicit.errors import ElicitError, one_line

if TYPE_CHECKING:
    from elicit.fitting.contrast_pairs import ConditionTokens
    from elicit.model import BaseModel
    from elicit.tasks import Task
    from saes import SAE

#: Problems the two conditions are compared on, and the most features that are looked at without being chosen.
_PROBLEMS, _MOST = 64, 4096


@dataclass(frozen=True)
class DashboardOptions:
    """Write a page per feature and an index, and print the index's path. Open it in a browser; it needs no network."""

    target: Positional[str]
    """An SAE (a shipped one such as cued/L1, a folder, RELEASE:ID), or a run directory: then the SAEs that its arms
    use, with their features first."""
    model: str | None = None
    """Model to read with. Default: the one the SAE names, or the run's."""
    task: str | None = None
    """Task whose train problems are read: a name, or a .jsonl file. Default: those the organism was trained on, or the
    run's."""
    features: str | None = None
    """Only these features, such as 3,17."""
    top: int | None = None
    """Only so many features: those with the largest difference between the task's two conditions, or without conditions
    those that fire most."""
    out: Path | None = None
    """Folder to write, or to replace if it holds an earlier dashboard. Default: dashboards/SAE, or RUN/dashboard."""
    neuronpedia: Path | None = None
    """Also write these features into this new folder, as files that a Neuronpedia instance imports."""
    neuronpedia_model: str | None = None
    """The model's id on Neuronpedia, such as gpt2-small. Default: after the SAE's."""
    neuronpedia_set: str | None = None
    """Name of the source set on Neuronpedia, such as res-512. Default: after the SAE's."""
    tokens: int = 100_000
    """Tokens of text to read, about."""
    seed: int = 0
    """Seed of the sampled examples."""
    transfer: bool = False
    """Read with other weights than the SAE was trained on."""
    dtype: str = "auto"
    device: str = "auto"
    download: bool = False
    """Fetch a hub id that is not on this machine."""


def main(arguments: Sequence[str]) -> int:
    options = parse_arguments(DashboardOptions, "sae dashboard", arguments)
    features = check_dashboard_options(options)
    path = Path(options.target).expanduser()
    if (path / "spec.yaml").is_file():
        jobs = find_jobs(
            path, model=options.model, tasks=_describe_tasks(options), out=options.out or path / "dashboard"
        )
    elif path.is_dir() and not (path / "cfg.json").is_file():
        raise ElicitError(f"{path} is neither a run directory (no spec.yaml) nor an SAE (no cfg.json).")
    else:
        jobs = [build_sae_job(options, options.out or Path("dashboards") / to_folder_name(options.target))]
    if options.neuronpedia is not None and len(jobs) != 1:
        raise ElicitError(f"--neuronpedia is for one SAE, and this run uses {len(jobs)}. Name one of them instead.")
    for job in jobs:
        print(write_dashboard(job, options, features))
    if options.neuronpedia is not None:
        print(next(options.neuronpedia.glob("*/*")))
    return 0


def check_dashboard_options(options: DashboardOptions) -> list[int] | None:
    """The numbers in --features, None for all.

    Raises:
        ElicitError: options that exclude each other or are out of range.
    """
    features = _parse_feature_numbers(options.features)
    if features is not None and options.top is not None:
        raise ElicitError("--features and --top exclude each other: one names features, the other ranks them.")
    for name, value in (("top", options.top), ("tokens", options.tokens)):
        if value is not None and value < 1:
            raise ElicitError(f"--{name} is {value}; expected at least 1.")
    names = {"model_id": options.neuronpedia_model, "source_set": options.neuronpedia_set}
    if options.neuronpedia is not None:
        from elicit.interop.neuronpedia import check_export

        check_export(options.neuronpedia, **names)
    elif any(names.values()):
        raise ElicitError("--neuronpedia-model and --neuronpedia-set need --neuronpedia FOLDER.")
    return features


def build_sae_job(options: DashboardOptions, out: Path) -> DashboardJob:
    """The pages of an SAE that is named itself, without a run."""
    return DashboardJob(options.target, options.model, _describe_tasks(options), out)


def _describe_tasks(options: DashboardOptions) -> tuple[dict[str, Any], ...]:
    return () if options.task is None else (parse_task_option(options.task),)


def write_dashboard(job: DashboardJob, options: DashboardOptions, features: list[int] | None) -> Path:
    """Do one SAE; returns the path of its index."""
    from saes import dashboard

    sae = _load_job_sae(job)
    for feature in features or job.used:
        sae.feature(feature)
    if features is None and options.top is None and sae.d_sae > _MOST:
        raise ElicitError(f"SAE {sae.name!r} has {sae.d_sae:,} features. Name some with --features, or type --top 200.")
    dashboard.check_target(job.out)
    from elicit.fitting.sae_lookup import check_sae_match
    from elicit.model import load

    base = load(job.model or sae.manifest.model, dtype=options.dtype, device=options.device, download=options.download)
    tasks = _load_tasks(base, job.tasks)
    probe = [problem.prompt + (tasks[0].worked(problem) or "") for problem in tasks[0].problems("train", 32)]
    check_sae_match(base, sae, probe, transfer=options.transfer)
    _check_writable(job.out)
    names, (positive, negative) = _load_conditions(base, tasks[0])
    if options.top is not None:
        with _report_progress(f"{sae.name}: ranking {sae.d_sae:,} features"):
            ranked = _rank_features(base, sae, tasks[0], positive, negative)
        features = [*job.used, *(i for i in ranked if i not in job.used)][: max(options.top, len(job.used))]
    with _report_progress(f"{sae.name}: reading", "{:,} of about " + f"{options.tokens:,} tokens") as show:
        study = dashboard.study(
            base.hf,
            base.tokenizer,
            sae,
            itertools.chain.from_iterable(
                _load_task_sequences(base, task, options.tokens // len(tasks)) for task in tasks
            ),
            features=features,
            positive=positive,
            negative=negative,
            names=names,
            doses=job.doses,
            used={i: ", ".join(arms) for i, arms in job.used.items() if features is None or i in features},
            text=f"{', '.join(task.name for task in tasks)} (train problems of {base.name})",
            seed=options.seed,
            progress=show,
        )
    with _report_progress(f"{sae.name}: writing", "{:,} pages") as show:
        index = dashboard.write(study, job.out, features=features, progress=show)
    if options.neuronpedia is not None:
        from elicit.interop.neuronpedia import write_neuronpedia_export

        write_neuronpedia_export(
            study, options.neuronpedia, features=features, model_id=options.neuronpedia_model,
            source_set=options.neuronpedia_set, layers=base.n_layers,
        )  # fmt: skip
    return index


def _load_job_sae(job: DashboardJob) -> SAE:
    import saes

    sae = saes.load(job.sae)
    if job.sha256 not in (None, sae.sha256):
        raise ElicitError(f"SAE {job.sae!r} is not the one the run used any more (its files have another sha256).")
    return sae


def _load_tasks(base: BaseModel, descriptions: Sequence[Mapping[str, Any]]) -> list[Task]:
    """The tasks described, or those of the organism's card, in the organism's dialect."""
    from elicit.comparison.spec import build_model_task

    families = [{"task": name} for name in base.card.get("families") or ()]
    if not descriptions and not families:
        raise ElicitError(
            f"{base.name} is not an organism with known text. Name a task with --task. See: elicit ls tasks"
        )
    return [build_model_task(base, description, where="--task") for description in descriptions or families]


def _load_task_sequences(base: BaseModel, task: Task, tokens: int) -> Iterator[tuple[int, ...]]:
    """Train problems under both conditions until there are `tokens` tokens, or no more problems."""
    from elicit.fitting.sae_lookup import encode_train_sequences

    first_sequences = encode_train_sequences(base, task, 32)
    problem_count = max(1, round(32 * tokens / sum(map(len, first_sequences))))
    while problem_count > 32:
        try:
            return iter(encode_train_sequences(base, task, problem_count))
        except ElicitError:  # there are fewer problems than that
            problem_count //= 2
    return iter(first_sequences)


def _load_conditions(base: BaseModel, task: Task) -> tuple[tuple[str, str], ConditionTokens]:
    """The two conditions that the model has, and their names; no token ids for a task without them."""
    from elicit.fitting.contrast_pairs import ConditionTokens, encode_conditions, resolve_contrast

    contrast = resolve_contrast("auto", base)
    names = ("cued", "uncued") if contrast == "cue" else ("worked", "direct")
    try:
        return names, encode_conditions("auto", base, task, task.problems("train", _PROBLEMS), None, "{prompt}")
    except ElicitError as reason:
        print(f"the pages do not compare conditions: {reason}", file=sys.stderr)
        return names, ConditionTokens([], [])


def _rank_features(
    base: BaseModel, sae: SAE, task: Task, positive: Sequence[tuple[int, ...]], negative: Sequence[tuple[int, ...]]
) -> list[int]:
    """All features: largest difference of conditions first, or without conditions the densest."""
    from elicit.fitting.sae_lookup import measure_firing_densities
    from saes import dashboard

    if positive:
        contrast = dashboard.contrast(base.hf, sae, positive, negative, features=range(sae.d_sae), show=0)
        values = [difference.paired.value for difference in contrast.differences]
    else:
        values = measure_firing_densities(base, sae, task, 256).tolist()
    return sorted(range(sae.d_sae), key=lambda i: (-values[i], i))


def _parse_feature_numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ElicitError(f"--features is {one_line(repr(text), 60)}; expected numbers with commas, such as 3,17.")
    return list(dict.fromkeys(int(part) for part in parts))


def _check_writable(out: Path) -> None:
    """Raises TargetError now rather than after minutes of reading."""
    from elicit.runs import writing_to

    with writing_to(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out.parent).close()


@contextmanager
def _report_progress(what: str, form: str = "") -> Iterator[Any]:
    """A line on stderr; on a terminal it shows how far the work is."""
    moving = sys.stderr.isatty()
    print(what, end="" if moving else "\n", file=sys.stderr, flush=True)

    def show_count(count: int) -> None:
        if moving:
            sys.stderr.write(f"\r\x1b[K{what} {form.format(count)}")
            sys.stderr.flush()

    try:
        yield show_count
    finally:
        if moving:
            sys.stderr.write("\n")
