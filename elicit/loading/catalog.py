"""Resolution of model names to the location of their weights. Imports no torch, so the command line can list models.

A name is, in this order: a built-in organism, a folder, a .gguf file, a hub id `org/name`. To load a folder with an
organism's name, type `./serial`. A hub id may name a revision: `org/name@main`.
"""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from elicit import documents
from elicit.errors import ElicitError, did_you_mean, one_line, unknown_name_error
from elicit.format_versions import check_format_version

#: Shipped weights, one folder per organism. A path, because `elicit.organisms` is a layer above this one.
WEIGHTS = Path(__file__).resolve().parent.parent / "organisms" / "weights"

#: Recipes of organisms that are not shipped: `elicit organism train NAME` makes them.
UNTRAINED = (
    "ladder-0.1M",
    "ladder-0.3M",
    "ladder-0.9M",
    "ladder-4M",
    "letters",
    "points",
    "refusing",
    "refusing-s1",
    "refusing-s2",
)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w.-]+(/[\w.-]+)*)?")
_LIST = "See: elicit ls models. Or type a folder, a .gguf file or a hub id such as org/name."


@dataclass(frozen=True)
class ModelSource:
    """Origin of a model's weights."""

    kind: Literal["organism", "folder", "gguf", "hub", "memory"]
    """An organism is built in, or a folder with a card, as `elicit organism train` writes it. A model in memory was
    passed by the caller (`elicit.wrap`): it cannot be found by its name."""
    name: str
    """Name as typed: the organism's name, the path, or the hub id."""
    path: Path | None
    """The folder or file; None for a hub id and for a model in memory."""


class OrganismEntry(NamedTuple):
    """A built-in organism and its card (None if its folder has none)."""

    name: str
    card: dict[str, Any] | None


def list_organisms() -> list[OrganismEntry]:
    """The built-in organisms, by name."""
    return [OrganismEntry(folder.name, read_card(folder)) for folder in _list_organism_folders()]


def resolve_model(name: str | os.PathLike[str]) -> ModelSource:
    """Find a model by its name as typed. Uses the disk and never the network.

    Raises:
        ElicitError: there is no such organism, folder or file, and the text is not a hub id either.
    """
    text = os.fspath(name)
    for folder in _list_organism_folders():
        if folder.name == text:
            return ModelSource("organism", text, folder)
    path = _parse_model_path(text)
    if text and path.is_dir():
        _check_folder(path, text)
        return ModelSource("organism" if (path / "card.json").is_file() else "folder", text, path)
    if text and path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ElicitError(
                f"{one_line(text)} is a file, but not a .gguf file. Type the folder that holds config.json and "
                "*.safetensors, or a .gguf file."
            )
        return ModelSource("gguf", text, path)
    _check_trained(text)
    if _looks_like_path(text.partition("@")[0]):
        raise ElicitError(f"{one_line(text)} does not exist.{_suggest_siblings(path)}")
    if _HUB_ID.fullmatch(text):
        return ModelSource("hub", text, None)
    raise unknown_name_error("model", text, [folder.name for folder in _list_organism_folders()], hint=_LIST)


def _parse_model_path(text: str) -> Path:
    """Path as typed, with `~` expanded. Raises ElicitError for one that no file system accepts."""
    try:
        path = Path(text).expanduser()
        path.is_dir()
    except (OSError, RuntimeError) as error:  # too long; ~nobody
        why = getattr(error, "strerror", None) or error
        raise ElicitError(f"{one_line(text, 100)} cannot be a model: {one_line(why)}.") from None
    return path


def _check_trained(text: str) -> None:
    """Raise ElicitError, with the command, for a recipe that is not yet trained or the folder where it will be written.

    A path or `organisms/NAME`, where `organism train` writes; any other `org/NAME` is a hub id.
    """
    folder, _, name = text.replace("\\", "/").rstrip("/").rpartition("/")
    recipe = name if name in UNTRAINED else re.sub(r"-s\d+$", "", name)
    if recipe not in UNTRAINED or (folder not in ("", "organisms") and not _looks_like_path(text)):
        return
    seed = name.removeprefix(recipe).replace("-s", " --seed ")
    trained = Path("organisms") / name
    if not folder and (trained / "config.json").is_file():
        raise ElicitError(f"{name!r} is a recipe that is not shipped; it is trained already. Type: ./{trained}")
    out = text if folder else str(trained)
    after = "" if folder else f" and load ./{trained}"
    raise ElicitError(
        f"{one_line(text)} has not been trained yet: its recipe is not shipped trained. "
        f"Type: elicit organism train {recipe}{seed} --out {one_line(out)}{after}"
    )


def default_label(name: str) -> str:
    """Default label of a model: the last part of its name, without the revision of a hub id."""
    bare = name.partition("@")[0] if _HUB_ID.fullmatch(name) else name
    return bare.rstrip("/").rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Card:
    """Fields of an organism's card that the package uses."""

    name: str | None = None
    seed: int | None = None
    families: list[str] | None = None
    has_cue: bool = True
    capable: bool | None = None
    dialect: dict[str, str | int | bool | None] | None = None


def read_card(folder: Path) -> dict[str, Any] | None:
    """Card of an organism's folder, None if it has none.

    Raises:
        ElicitError: the card is not a JSON object.
    """
    path = folder / "card.json"
    if not path.is_file():
        return None
    try:
        card = documents.read_object(path)
        check_format_version(card, "card", path)
        known = {field.name for field in dataclasses.fields(Card)}
        documents.as_record({name: value for name, value in card.items() if name in known}, Card, path)
    except ElicitError as error:
        raise ElicitError(f"{error} Repair or remove it.") from None
    return card


def read_dialect(name: str) -> dict[str, Any] | None:
    """Prompt format of an organism, by its name as typed; None for other models, and for those that are not here."""
    try:
        source = resolve_model(name)
    except ElicitError:
        return None
    card = read_card(source.path) if source.kind == "organism" and source.path is not None else None
    return None if card is None else card.get("dialect")


def _list_organism_folders() -> list[Path]:
    return sorted(path.parent for path in WEIGHTS.glob("*/config.json"))


def _check_folder(path: Path, text: str) -> None:
    """Refuse a folder that is not a model, and say what it seems to be instead."""
    if (path / "config.json").is_file():
        return
    if (path / "adapter_config.json").is_file():
        raise ElicitError(
            f"{one_line(text)} holds an adapter, not a model (no config.json). Load the model it was trained on; a "
            "finished arm is loaded as a policy."
        )
    ggufs = sorted(path.glob("*.gguf"))
    advice = f" Type the file itself: {ggufs[0]}" if ggufs else " Type a folder that holds config.json."
    raise ElicitError(f"{one_line(text)} is not a model folder: it has no config.json.{advice}")


def _looks_like_path(text: str) -> bool:
    """Return True for a path: a hub id has exactly one slash and no leading dot."""
    return (
        text.startswith((".", "/", "~", "\\"))
        or text.endswith(("/", "\\"))
        or text.count("/") > 1
        or "\\" in text
        or text.lower().endswith((".gguf", ".safetensors", ".bin", ".pt", ".json"))
    )


def _suggest_siblings(path: Path) -> str:
    """Hint with the contents of the folder where the path would be."""
    parent = path.parent
    if not parent.is_dir():
        return f" Neither does its folder, {parent}."
    try:
        siblings = [entry.name for entry in parent.iterdir() if entry.is_dir() or entry.suffix.lower() == ".gguf"]
    except OSError:
        return ""
    near = did_you_mean(path.name, siblings)
    return near or f" {parent} holds: {', '.join(sorted(siblings)[:20]) or '(no folders and no .gguf files)'}."
