"""From a hub id to a folder: the local cache, and the network only if it was asked for."""

from __future__ import annotations

from pathlib import Path

from elicit.errors import ElicitError, one_line

#: What a model needs. Pickles, other frameworks' weights and repositories' code are not even fetched.
_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
#: Subfolders hold other formats; consolidated.* is a second copy of the weights.
_UNWANTED = ["*/*", "consolidated*"]


def cached_folder(name: str, *, download: bool) -> Path:
    """The folder of the hub id `name` in the local cache, downloaded first if `download`.

    Raises:
        ElicitError: if it is not cached and may not, or could not, be downloaded.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(name, local_files_only=not download, allow_patterns=_WANTED, ignore_patterns=_UNWANTED)
        )
    except Exception as error:  # http, file system and hub errors of many kinds; all mean that there is no folder
        raise _not_there(name, download, error) from error
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise ElicitError(
            f"{name}: the copy in {folder} is incomplete (it needs config.json and *.safetensors). "
            + ("Has the repository weights as safetensors?" if download else _how(name))
        )
    return folder


def _not_there(name: str, download: bool, error: Exception) -> ElicitError:
    from huggingface_hub import is_offline_mode

    if not download:
        return ElicitError(
            f"{name} is no built-in model and no folder here, and as a hub id it is not in the local cache "
            f"(nothing is downloaded unless asked for). {_how(name)}"
        )
    if is_offline_mode():
        return ElicitError(
            f"{name} cannot be downloaded, because HF_HUB_OFFLINE is set. Set HF_HUB_OFFLINE=0, or type the path "
            "of a folder that holds the model."
        )
    return ElicitError(
        f"{name} could not be downloaded: {one_line(error, 200)} Check the id and the network, or type the path of "
        "a folder that holds the model."
    )


def _how(name: str) -> str:
    return (
        f"Type elicit.load({name!r}, download=True), or hf download {name}, or the path of a folder that holds the "
        "model."
    )
