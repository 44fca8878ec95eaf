"""SAELens's releases, `RELEASE:ID`, and repositories on the hub, `ORG/NAME:FOLDER`.

Names are resolved without the network: SAELens's table of releases comes with it. What is not cached is fetched only
if asked for. SAELens asks the hub about every file and reads the shapes of Gemma Scope 2 by HTTP, even where all is
cached; `_files` puts the local cache in their place for the time of one load.

Some releases are PyTorch checkpoints. They are read with torch.load(weights_only=True), which runs no code from the
file; npz files are read without pickles. Where the environment switches that off, they are refused.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elicit.errors import ElicitError, one_line, unknown_name_error
from saes.loading import saelens, sparsify
from saes.loading.folder import load_from_folder, resolve_hook
from saes.loading.validation import build_manifest, build_validated_sae
from saes.sae import SAE

#: Converters of SAELens's whose files go through torch.load.
_PICKLED = ("connor_rob_hook_z", "goodfire", "deepseek_r1", "qwen_scope", "dictionary_learning_1")
#: torch's own switch that turns weights_only off.
_UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
#: What another place than the residual stream is called in converters, repositories, folders and ids. Only there to
#: refuse before fetching: what they miss is refused by its config.
_ELSEWHERE = {
    r"transcoder|[/_-]clt\b|clt[/_-]": "a transcoder",
    r"temporal": "a temporal SAE",
    r"attn[-_]out|hook_z|[-_]att\b|att-(?:sm|kk)|LXA|lxa": "an SAE of attention outputs",
    r"mlp[-_]out|[-_]mlp\b|mlp-(?:sm|tm)|LXM|lxm": "an SAE of MLP outputs",
    r"resid[-_]mid": "an SAE between attention and MLP",
    r"\bembedding\b": "an SAE of embeddings",
}
_REPO = re.compile(r"[\w.-]+/[\w.-]+")
_ONE_AT_A_TIME = threading.Lock()


def load_from_release(release: str, sae_id: str, *, device: str, download: bool, layer: int | None = None) -> SAE:
    """Load RELEASE:ID through SAELens's own converter, or a folder of a hub repository.

    Raises:
        ElicitError: an unknown release or id, one that does not fit, one that is not cached (without `download`), or
            that could not be fetched or read.
    """
    name = f"{release}:{sae_id}"
    if release not in _get_release_directory() and _REPO.fullmatch(release):
        return load_from_folder(_fetch_folder(release, sae_id, download), name, device=device, layer=layer)
    converter = find_converter(release, sae_id)
    if converter in _PICKLED and os.environ.get(_UNSAFE, "").lower() in ("1", "y", "yes", "true"):
        raise ElicitError(f"{name} is a PyTorch checkpoint, and {_UNSAFE} lets those run code. Unset it.")
    coder = _load_saelens_module(release, sae_id, device, download)
    loaded = saelens.read_module(coder, name)
    hook, hook_layer = resolve_hook(name, loaded.hook, layer, how=f"saes.load({name!r}, layer=L)")
    return build_validated_sae(loaded, build_manifest(loaded, hook_layer, hook), name, _hash_module(coder), where=name)


def check_release_name(name: str) -> None:
    """Check the name RELEASE:ID without the network; a hub repository's ORG/NAME:FOLDER cannot be.

    Raises:
        ElicitError: as `find`.
    """
    release, _, sae_id = name.partition(":")
    if release in _get_release_directory() or not _REPO.fullmatch(release):
        find_converter(release, sae_id)


def find_converter(release: str, sae_id: str) -> str:
    """The converter that reads RELEASE:ID. Needs no network.

    Raises:
        ElicitError: an unknown release or id, or what is no SAE of the residual stream by its very name.
    """
    directory = _get_release_directory()
    if release not in directory:
        near = difflib.get_close_matches(release, directory, n=8, cutoff=0.3) or sorted(directory)[:8]
        hint = f"(the nearest of {len(directory)}; a folder of a repository on the hub is ORG/NAME:FOLDER)"
        raise unknown_name_error("SAELens release", release, near, hint=hint)
    entry = directory[release]
    if sae_id not in entry.saes_map:
        near = difflib.get_close_matches(sae_id, entry.saes_map, n=12, cutoff=0.1) or list(entry.saes_map)[:12]
        raise unknown_name_error(f"SAE of {release}", sae_id, near, hint=f"(the nearest of {len(entry.saes_map)} ids)")
    converter = entry.conversion_func or "sae_lens"
    for words in (converter, entry.repo_id.partition("/")[2], entry.saes_map[sae_id], sae_id):
        for pattern, what in _ELSEWHERE.items():
            if re.search(pattern, words):
                raise ElicitError(
                    f"{release}:{sae_id} is {what} ({one_line(words, 60)}); the lab reads and steers the residual "
                    "stream after a decoder layer."
                )
    return converter


def _get_release_directory() -> dict[str, Any]:
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    directory: dict[str, Any] = get_pretrained_saes_directory()
    return directory


def _load_saelens_module(release: str, sae_id: str, device: str, download: bool) -> Any:
    from sae_lens import SAE as SAELensSAE

    try:
        with _use_local_cache(download), warnings.catch_warnings(action="ignore", category=UserWarning):
            coder = SAELensSAE.from_pretrained(release, sae_id, device=device, dtype="float32")
    except Exception as error:  # http, file system, hub and converters' errors of many kinds
        raise _make_read_error(f"{release}:{sae_id}", download, error) from error
    # How the model's weights were processed is in SAELens's table; it reaches the metadata of old files only.
    if processed := (_get_release_directory()[release].config_overrides or {}).get("model_from_pretrained_kwargs"):
        coder.cfg.metadata.model_from_pretrained_kwargs = processed
    return coder


@contextmanager
def _use_local_cache(download: bool) -> Iterator[None]:
    """Let SAELens's converters read the local cache alone, unless files may be downloaded."""
    from sae_lens.loading import pretrained_sae_loaders as loaders

    before = loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes
    fetch = functools.partial(loaders.hf_hub_download, local_files_only=not download)

    def read_shapes(repo_id: str, filename: str) -> dict[str, list[int]]:
        from safetensors import safe_open

        with safe_open(fetch(repo_id, filename), framework="pt") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118

    with _ONE_AT_A_TIME:
        loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes = fetch, read_shapes
        try:
            yield
        finally:
            loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes = before


def _fetch_folder(repo: str, folder: str, download: bool) -> Path:
    """A folder of a hub repository in the local cache: our, SAELens's or Sparsify's files and no others."""
    from huggingface_hub import snapshot_download

    parts = ("cfg.json", "manifest.json", saelens.WEIGHTS, sparsify.WEIGHTS)
    patterns = [f"{folder}/{part}" for part in parts] + ["config.json"]
    try:
        root = snapshot_download(repo, local_files_only=not download, allow_patterns=patterns)
    except Exception as error:  # http, file system and hub errors of many kinds; all mean that there is no folder
        raise _make_read_error(f"{repo}:{folder}", download, error) from error
    local_folder = Path(root) / folder
    if not local_folder.is_dir():
        raise _make_read_error(
            f"{repo}:{folder}", download, FileNotFoundError(f"the repository has no folder {folder}")
        )
    return local_folder


def _make_read_error(name: str, download: bool, error: Exception) -> ElicitError:
    from huggingface_hub import is_offline_mode
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    absent = isinstance(error, LocalEntryNotFoundError | FileNotFoundError)
    if not download and (absent or isinstance(error, EntryNotFoundError)):
        return ElicitError(
            f"{name} is not in the local cache (nothing is downloaded unless asked for). Type --download, or "
            f"saes.load({name!r}, download=True)."
        )
    if download and is_offline_mode():
        return ElicitError(
            f"{name} cannot be downloaded, because HF_HUB_OFFLINE is set. Set HF_HUB_OFFLINE=0, or type the path of a "
            "folder that holds the SAE."
        )
    if download and (absent or isinstance(error, OSError | EntryNotFoundError)):
        return ElicitError(f"{name} could not be downloaded: {one_line(error, 200)} Check the name and the network.")
    return ElicitError(f"{name}: SAELens cannot read this SAE: {one_line(error, 200)}")


def _hash_module(coder: Any) -> str:
    """Hash of a loaded module's tensors and of the settings that decide what it computes."""
    settings = {key: value for key, value in coder.cfg.to_dict().items() if key not in ("metadata", "device")}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for part, tensor in sorted(coder.state_dict().items()):
        digest.update(part.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
