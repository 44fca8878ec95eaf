"""`elicit publish`: reports of runs and pages of SAE features as one static site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from elicit.cli.arguments import parse_arguments
from elicit.cli.sae_arms import to_folder_name
from elicit.cli.sae_dashboard import DashboardOptions, build_sae_job, check_dashboard_options, write_dashboard
from elicit.errors import ElicitError
from elicit.publishing import (
    Entry,
    Publication,
    check_site_target,
    copy_feature_pages,
    describe_feature_pages,
    is_feature_pages,
    write_run_pages,
    write_site,
)


@dataclass(frozen=True)
class PublishOptions:
    """Write a static site and print the path of its index. It needs no network, and every link in it is relative."""

    targets: Positional[tuple[str, ...]]
    """Any number of: run directories or archives (their reports, and the feature pages in RUN/dashboard), folders of
    feature pages that elicit sae dashboard wrote, and SAEs (a shipped one such as cued/L1, a folder, RELEASE:ID), whose
    pages are made now."""
    out: Path
    """New folder, or one that elicit publish wrote, which is replaced."""
    title: str = "elicit"
    """Heading of the index."""
    model: str | None = None
    """For SAEs: model to read with. Default: the one the SAE names."""
    task: str | None = None
    """For SAEs: task whose train problems are read. Default: those the organism was trained on."""
    features: str | None = None
    """For one SAE: only these features, such as 3,17."""
    top: int | None = None
    """For SAEs: only so many features."""
    tokens: int = 100_000
    """For SAEs: tokens of text to read, about."""
    seed: int = 0
    """For SAEs: seed of the sampled examples."""
    transfer: bool = False
    """For SAEs: read with other weights than the SAE was trained on."""
    dtype: str = "auto"
    device: str = "auto"
    download: bool = False
    """Fetch a hub id that is not on this machine."""


def main(arguments: Sequence[str]) -> int:
    options = parse_arguments(PublishOptions, "publish", arguments)
    if not options.targets:
        raise ElicitError("nothing to publish. Name runs or SAEs, such as: elicit publish runs/quickstart --out site")
    check_site_target(options.out)
    # Reports and copies come first: they fail in seconds, where an SAE's pages take minutes.
    publications, sae_names = _find_folders(options.targets)
    if options.features is not None and len(sae_names) != 1:
        raise ElicitError(f"--features is for one SAE, and {len(sae_names)} are to be read here.")
    publications += [_plan_sae_pages(name, options) for name in sae_names]
    print(write_site(options.out, options.title, publications))
    return 0


def _find_folders(targets: Sequence[str]) -> tuple[list[Publication], list[str]]:
    """Publications of what lies in folders, and the targets that are SAEs.

    Raises:
        ElicitError: a target that is none of the things that can be published.
    """
    runs: list[Publication] = []
    pages: list[Publication] = []
    sae_names: list[str] = []
    for target in dict.fromkeys(targets):
        path = Path(target).expanduser()
        if (path / "spec.yaml").is_file():
            runs.append(_plan_run(path))
            pages += [_plan_copy(folder) for folder in sorted(path.glob("dashboard/*")) if is_feature_pages(folder)]
        elif is_feature_pages(path):
            pages.append(_plan_copy(path))
        elif path.exists() and not (path / "cfg.json").is_file():
            raise ElicitError(
                f"{target} is neither a run directory or an archive (no spec.yaml), nor feature pages of elicit sae "
                "dashboard (no index.html of its), nor an SAE (no cfg.json)."
            )
        else:
            _check_sae(target)
            sae_names.append(target)
    return [*runs, *pages], sae_names


def _check_sae(target: str) -> None:
    import saes

    try:
        saes.load(target)
    except ElicitError as error:
        if Path(target).expanduser().exists() or ":" in target:
            raise
        raise ElicitError(
            f"{target} is neither a folder nor the name of an SAE. See: elicit ls runs, elicit ls saes"
        ) from error


def _plan_run(run: Path) -> Publication:
    name = run.resolve().name
    return Publication("runs", to_folder_name(name), lambda folder: write_run_pages(run, folder, name))


def _plan_copy(source: Path) -> Publication:
    return Publication("saes", to_folder_name(source.resolve().name), lambda folder: copy_feature_pages(source, folder))


def _plan_sae_pages(name: str, options: PublishOptions) -> Publication:
    dashboard_options = DashboardOptions(
        name, model=options.model, task=options.task, features=options.features, top=options.top,
        tokens=options.tokens, seed=options.seed, transfer=options.transfer, dtype=options.dtype,
        device=options.device, download=options.download,
    )  # fmt: skip
    features = check_dashboard_options(dashboard_options)

    def write_pages(folder: Path) -> Entry:
        write_dashboard(build_sae_job(dashboard_options, folder), dashboard_options, features)
        return describe_feature_pages(folder)

    return Publication("saes", to_folder_name(name), write_pages)
