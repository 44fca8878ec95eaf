"""Datasets read by Hugging Face's `datasets`: folders (of `save_to_disk`, or of data files) and hub ids.

The network is used only with `download: true`; without it a hub id is looked up in the local cache.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from elicit.errors import ElicitError, did_you_mean, one_line
from elicit.tasks.datasets.tables import KIND, Table, read_table
from elicit.tasks.jsonl_fields import Row

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_CONFIGS = re.compile(r"\[([^\]]*)\]")


def looks_like_hub_id(path: str) -> bool:
    """Return True for `org/name` if there is no local path of that name."""
    return _HUB_ID.fullmatch(path) is not None and not Path(path).exists()


def load_tables(
    path: str | Path, *, config: str | None = None, revision: str | None = None, download: bool = False
) -> dict[str, Table]:
    """Split -> table. A single file is one table, called `all`.

    Raises:
        ElicitError: a missing path, a folder without data, an unknown config, or a hub id that is not cached, cannot be
            reached or is closed to the user.
    """
    text = str(path)
    if not text or "\0" in text:
        raise ElicitError(
            f"{KIND}: path is {one_line(repr(text), 60)}; expected a file, a folder or a hub id (org/name)."
        )
    try:
        local_path = Path(text).expanduser()
    except RuntimeError as error:  # ~nobody
        raise ElicitError(f"{KIND} {one_line(repr(text), 200)} does not exist: {one_line(error)}") from None
    with _report_os_errors(text):
        if local_path.is_file():
            _only_for_hub(text, config, revision)
            return {"all": read_table(local_path)}
        if local_path.is_dir():
            return _load_folder(local_path, config)
    if looks_like_hub_id(text):
        return _download_tables(text, config, revision) if download else _load_cached_tables(text, config, revision)
    near = [other.name for other in local_path.parent.iterdir()] if local_path.parent.is_dir() else []
    raise ElicitError(
        f"{KIND} {one_line(repr(text), 200)} does not exist.{did_you_mean(local_path.name, near)} Type a file, a "
        "folder, or "
        "a hub id (org/name)."
    )


@contextlib.contextmanager
def _report_os_errors(text: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ElicitError(f"{KIND} {one_line(repr(text), 200)} cannot be read: {error.strerror or error}.") from None


def _only_for_hub(text: str, config: str | None, revision: str | None) -> None:
    for option, value in (("config", config), ("revision", revision)):
        if value is not None:
            raise ElicitError(f"{KIND} {one_line(repr(text), 200)} is a file; {option} is for hub ids. Leave it out.")


def _load_folder(folder: Path, config: str | None) -> dict[str, Table]:
    """Tables of a folder: `save_to_disk`, a dataset's cache, or data files in which `datasets` finds splits."""
    import datasets

    where = f"{KIND} {one_line(repr(str(folder)), 200)}"
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        if config is not None:
            raise ElicitError(f"{where} was stored by save_to_disk and has no configs. Leave out config.")
        return _build_split_tables(where, _load_quietly(where, lambda: datasets.load_from_disk(str(folder))))
    if not any(file.is_file() and not file.name.startswith(".") for file in folder.rglob("*")):
        raise ElicitError(f"{where} is empty; expected data files such as train.parquet, or a folder of save_to_disk.")
    return _build_split_tables(
        where, _load_quietly(where, lambda: datasets.load_dataset(str(folder.resolve()), config))
    )


def _download_tables(name: str, config: str | None, revision: str | None) -> dict[str, Table]:
    import datasets

    where = f"{KIND} {name!r}"
    return _build_split_tables(
        where, _load_quietly(where, lambda: datasets.load_dataset(name, config, revision=revision), hub=name)
    )


def _load_cached_tables(name: str, config: str | None, revision: str | None) -> dict[str, Table]:
    """Tables that an earlier download left in the cache of huggingface_hub."""
    import huggingface_hub

    try:
        folder = huggingface_hub.snapshot_download(name, repo_type="dataset", revision=revision, local_files_only=True)
    except Exception:  # many exception types, all of which mean that it is not cached
        at = f" at revision {revision!r}" if revision else ""
        raise ElicitError(
            f"{KIND} {name!r} is not a file or folder here, and the hub's {name}{at} is not in the local cache. "
            "Type download: true to fetch it."
        ) from None
    return _load_folder(Path(folder), config)


def _load_quietly(where: str, load: Callable[[], Any], hub: str | None = None) -> Any:
    """Result of `load`, with the many errors of `datasets` as one line each."""
    import datasets

    bars_disabled, level = datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # it logs the same error as the line below
    try:
        return load()
    except Exception as error:
        raise ElicitError(f"{where}{_explain_load_error(error, hub)}") from None
    finally:
        datasets.logging.set_verbosity(level)
        if not bars_disabled:
            datasets.enable_progress_bars()


def _explain_load_error(error: Exception, hub: str | None) -> str:
    message = one_line(error, 300)
    kinds = {kind.__name__ for cause in _iter_causes(error) for kind in type(cause).__mro__}
    if "gated" in message.lower() or "GatedRepoError" in kinds:
        return f" is gated: ask for access at https://huggingface.co/datasets/{hub}, then type: hf auth login"
    if "Config name is missing" in message or "BuilderConfig" in message:
        configs = [name.strip(" '\"") for name in (_CONFIGS.findall(message) or [""])[-1].split(",")]
        wrong = re.search(r"BuilderConfig '([^']*)' not found", message)
        first = f" has no config {wrong[1]!r}.{did_you_mean(wrong[1], configs)}" if wrong else " has several configs."
        return f":{first} Configs: {', '.join(configs)}. Type: config: {configs[0]}"
    if "RepositoryNotFoundError" in kinds or "doesn't exist on the Hub" in message or "DatasetNotFoundError" in kinds:
        return (
            " does not exist on the hub, or is closed to you. Look at its name; for a private one type: hf auth login"
        )
    if hub and ("RevisionNotFoundError" in kinds or "ConnectionError" in kinds or "Couldn't reach" in message):
        return f" cannot be reached: {one_line(error, 120)}. Check the network, or give a folder: path: FOLDER"
    if type(error).__name__ == "DatasetGenerationError" and error.__cause__ is not None:
        message = one_line(error.__cause__, 300)  # the error itself only says that there was one
    return f" cannot be read: {message}"


def _iter_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _build_split_tables(where: str, dataset: Any) -> dict[str, Table]:
    splits: Mapping[str, Any] = dataset if isinstance(dataset, Mapping) else {"all": dataset}

    def make_table(name: str, rows: Any) -> Table:
        location = where if name == "all" else f"{where}, split {name!r}"
        return Table(location, list(rows.column_names), lambda columns: _stream_rows(location, rows, columns))

    return {str(name): make_table(str(name), rows) for name, rows in splits.items()}


def _stream_rows(where: str, rows: Any, columns: Sequence[str]) -> Iterator[Row]:
    from elicit.tasks.datasets.arrow_cells import iter_arrow_rows

    chosen = rows.select_columns(list(columns)).with_format("arrow")
    first = 1
    for batch in _stream_batches(where, chosen):
        yield from iter_arrow_rows(batch, first)
        first += batch.num_rows


def _stream_batches(where: str, rows: Any) -> Iterator[Any]:
    import pyarrow

    try:
        yield from rows.iter(batch_size=1_000)
    except (OSError, pyarrow.ArrowException) as error:
        raise ElicitError(f"{where} cannot be read: {one_line(error, 160)}") from None
