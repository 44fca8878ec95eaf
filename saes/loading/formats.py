"""The formats of SAE folders. One of your own is a class in a package that offers it by an entry point:

    # my_package/format.py
    import torch
    from safetensors.torch import load_file
    from saes.loading.validation import LoadedWeights

    class Coder:
        '''f = relu(h @ W_enc + b_enc),  h ~ f @ W_dec + b_dec'''
        def __init__(self, tensors): self.t = tensors
        def encode(self, x): return torch.relu(x @ self.t["W_enc"] + self.t["b_enc"])
        def decode(self, f): return f @ self.t["W_dec"] + self.t["b_dec"]
        def to(self, *args, **kwargs): return Coder({k: v.to(*args, **kwargs) for k, v in self.t.items()})

    class MyFormat:
        name = "mine"
        files = ("ae.safetensors",)

        def recognises(self, folder):
            return (folder / "ae.safetensors").is_file()

        def read(self, folder, device):
            tensors = {name: t.float() for name, t in load_file(folder / "ae.safetensors", device=device).items()}
            return LoadedWeights(
                coder=Coder(tensors), rows=tensors["W_dec"], linear=True, model="gpt2",
                hook="blocks.6.hook_resid_post", tensors=tensors, kinds=("standard",),
            )

    [project.entry-points."saes.formats"]
    mine = "my_package.format:MyFormat"

Whatever the format, the algebra that steering rests on is checked on what was read (`validation`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from elicit.errors import ElicitError, one_line
from elicit.plugins import list_entry_points, load_reference
from saes.loading import saelens, sparsify
from saes.loading.validation import LoadedWeights

if TYPE_CHECKING:
    from typing import Any

CFG = "cfg.json"
GROUP = "saes.formats"


class SAEFormat(Protocol):
    """One format of folders."""

    @property
    def name(self) -> str: ...
    @property
    def files(self) -> tuple[str, ...]:
        """The files that make the SAE: their bytes are its hash."""
        ...

    def recognises(self, folder: Path) -> bool:
        """True if a folder is of this format. Reads no tensor."""
        ...

    def read(self, folder: Path, device: str) -> LoadedWeights:
        """The SAE in float32, and what its files say of it. Never runs a pickle.

        Raises:
            ElicitError: damaged files, or a kind that is not an SAE of the residual stream.
        """
        ...


@dataclass(frozen=True)
class KnownFormat:
    """A format of ours, known by its files."""

    name: str
    files: tuple[str, ...]
    reader: Callable[[Path, str], LoadedWeights]

    def recognises(self, folder: Path) -> bool:
        return all((folder / file).is_file() for file in self.files)

    def read(self, folder: Path, device: str) -> LoadedWeights:
        return self.reader(folder, device)


@dataclass(frozen=True)
class OutsideFormat:
    """A format of an installed package, with its faults in one line."""

    inner: SAEFormat
    reference: str

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def files(self) -> tuple[str, ...]:
        return self.inner.files

    def recognises(self, folder: Path) -> bool:
        return bool(self.inner.recognises(folder))

    def read(self, folder: Path, device: str) -> LoadedWeights:
        try:
            loaded: Any = self.inner.read(folder, device)
        except ElicitError:
            raise
        except Exception as error:
            fault = f"{type(error).__name__}: {one_line(error, 200)}"
            raise ElicitError(f"{one_line(folder)}: {self.reference} cannot read this SAE: {fault}") from error
        if not isinstance(loaded, LoadedWeights):
            raise ElicitError(f"{self.reference}: read gives {type(loaded).__name__}; expected LoadedWeights.")
        return loaded


#: The first that recognises a folder reads it.
READERS: list[SAEFormat] = [
    KnownFormat("Sparsify", (CFG, sparsify.WEIGHTS), sparsify.read_sparsify_folder),
    KnownFormat("SAELens", (CFG, saelens.WEIGHTS), saelens.read_saelens_folder),
]


def list_readers() -> list[SAEFormat]:
    """Our own formats, then those of installed packages.

    Raises:
        ElicitError: an installed package offers one that cannot be loaded.
    """
    return [*READERS, *map(_load_format, list_entry_points(GROUP).values())]


def _load_format(reference: str) -> SAEFormat:
    kind = load_reference(reference)
    members = [name for name in vars(SAEFormat) if not name.startswith("_")]
    try:
        value = kind() if isinstance(kind, type) else kind
        missing = [name for name in members if name not in dir(value)]
    except Exception as error:
        raise ElicitError(f"SAE format {reference} cannot be made: {one_line(error, 200)}") from error
    if missing:
        raise ElicitError(f"SAE format {reference} lacks {', '.join(missing)}; see saes.loading.formats.")
    return OutsideFormat(value, reference)
