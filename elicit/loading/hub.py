"""Hub ids to folders: from the local cache, and from the network only if requested.

`org/name`, or `org/name@revision` (a branch, a tag, a commit, or refs/pr/1). Cached files are used unchanged and never
compared with the hub, so that a run stays reproducible; `hf download org/name` brings a newer version.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from elicit import documents
from elicit.errors import ElicitError, one_line

#: Files of a model to fetch. Pickles, other frameworks' weights and repositories' code are never fetched.
_WANTED = ["*.json", "model*.safetensors", "*.model", "*.txt", "*.jinja"]
#: Subfolders, which hold other formats.
_UNWANTED = ["*/*"]


class HubId(NamedTuple):
    repo: str
    revision: str | None
    """Branch, tag or commit; None is the main branch."""

    @property
    def command(self) -> str:
        """Shell command that fetches the model without this package."""
        return f"hf download {self.repo}" + (f" --revision {self.revision}" if self.revision else "")


def parse_hub_id(name: str) -> HubId:
    """Parts of `org/name@revision`."""
    repo, _, revision = name.partition("@")
    return HubId(repo, revision or None)


def find_cached_model(name: str) -> Path | None:
    """Folder of the hub id `name` in the local cache, if it is complete. Never uses the network."""
    folder = _find_snapshot(name)
    return folder if folder is not None and not find_missing_file(folder) else None


def find_cached_config(name: str) -> Path | None:
    """Folder of the hub id `name` in the local cache, if it has the config; the weights may be missing."""
    folder = _find_snapshot(name)
    return folder if folder is not None and (folder / "config.json").is_file() else None


def get_model_folder(name: str, *, download: bool) -> Path:
    """Folder of the hub id `name` in the local cache; with `download`, it is fetched if it is missing.

    Raises:
        ElicitError: it is not cached and may not, or could not, be downloaded.
    """
    folder = find_cached_model(name)
    if folder is not None:
        return folder
    if not download:
        raise _missing_model_error(name)
    folder = _download_snapshot(name)
    missing = find_missing_file(folder)
    if missing == "*.safetensors":
        raise ElicitError(
            f"{name} has no weights as model*.safetensors on the hub, and pickles are never loaded. Look there for a "
            f"conversion (https://huggingface.co/{parse_hub_id(name).repo}/discussions) and type its revision: "
            f"{parse_hub_id(name).repo}@refs/pr/1"
        )
    if missing:
        raise ElicitError(f"{name}: the copy in {folder} lacks {missing}, also after fetching it.")
    return folder


def find_missing_file(folder: Path) -> str | None:
    """First file that a snapshot lacks to be a complete model (after an interrupted download), None if complete."""
    if not (folder / "config.json").is_file():
        return "config.json"
    if (folder / "model.safetensors").is_file():
        return None
    try:
        shards = documents.read_foreign_object(folder / "model.safetensors.index.json")["weight_map"]
        names = sorted({str(shard) for shard in shards.values()})
    except (ElicitError, KeyError, AttributeError):
        return "*.safetensors"
    return next((name for name in names if not (folder / name).is_file()), None)


def _find_snapshot(name: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, IncompleteSnapshotError, LocalEntryNotFoundError

    repo, revision = parse_hub_id(name)
    try:
        return Path(
            snapshot_download(
                repo, revision=revision, local_files_only=True, allow_patterns=_WANTED, ignore_patterns=_UNWANTED
            )
        )
    except IncompleteSnapshotError as error:
        return Path(error.snapshot_path)
    except (LocalEntryNotFoundError, OSError):
        return None
    except HFValidationError as error:
        raise ElicitError(f"{name} is not a hub id: {one_line(error, 200)}") from error


def _missing_model_error(name: str) -> ElicitError:
    folder = _find_snapshot(name)
    type_this = (
        f"elicit run|sample ... --download, or elicit.load({name!r}, download=True), or {parse_hub_id(name).command}"
    )
    if folder is not None:
        return ElicitError(
            f"{name}: the copy in {folder} is incomplete, it lacks {find_missing_file(folder)} (an interrupted "
            "download?). "
            f"Fetch the rest: {type_this}."
        )
    return ElicitError(
        f"{name} is not a built-in model or a folder here, and as a hub id it is not in the local cache (nothing is "
        f"downloaded unless asked for). Type {type_this}, or the path of a folder that holds the model."
    )


def _download_snapshot(name: str) -> Path:
    from huggingface_hub import errors, get_token, is_offline_mode, snapshot_download

    repo, revision = parse_hub_id(name)
    page = f"https://huggingface.co/{repo}"
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=_WANTED, ignore_patterns=_UNWANTED))
    except errors.GatedRepoError as error:
        how = (
            f"Your token has no access to it: ask for it at {page}, with the account that `hf auth whoami` names."
            if get_token()
            else f"Ask for access at {page}, then type: hf auth login"
        )
        raise ElicitError(f"{name} is gated: its owners decide who may download it. {how}") from error
    except errors.RevisionNotFoundError as error:
        raise ElicitError(
            f"{repo} has no revision {revision!r}. Its branches and tags are listed at {page}/tree/main."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ElicitError(
            f"{name} could not be downloaded: the hub lacks a model {repo}, or it is private. Check the "
            "spelling; for a private one type: hf auth login"
        ) from error
    except Exception as error:  # http, file system and hub errors of many types; all mean that there is no folder
        if is_offline_mode():
            raise ElicitError(
                f"{name} cannot be downloaded, because HF_HUB_OFFLINE is set. Set HF_HUB_OFFLINE=0, or type the path "
                "of a folder that holds the model."
            ) from error
        raise ElicitError(
            f"{name} could not be downloaded: {_describe_root_cause(error)}. Check the network (a mirror is named with "
            "HF_ENDPOINT), or type the path of a folder that holds the model. What was fetched is kept: the same "
            "command goes on from there."
        ) from error


def _describe_root_cause(error: BaseException) -> str:
    """Description of the root cause: the hub's client wraps `no route to host` in advice of its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(f"{type(error).__name__}: {error}", 200).rstrip(".")
