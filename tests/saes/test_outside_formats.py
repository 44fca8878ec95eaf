"""An SAE format from outside: read by entry point, its algebra checked like that of our own."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import saes
from elicit.errors import ElicitError
from tests.support.outside import SAE_FORMAT, install_package

D, N = 8, 24


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (D, N), "b_enc": (N,), "W_dec": (N, D), "b_dec": (D,)}
    (tmp_path / "sae").mkdir()
    tensors = {name: torch.randn(*shape, generator=random) for name, shape in shapes.items()}
    save_file(tensors, tmp_path / "sae" / "ae.safetensors")
    return tmp_path / "sae"


def test_it_is_read_and_checked(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ElicitError, match="holds no SAE"):
        saes.load(folder)
    install_package(
        tmp_path / "site", "plain_saes", {"form": SAE_FORMAT}, {"saes.formats/plain": "plain_saes.form:Plain"}
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    sae = saes.load(folder)
    assert (sae.manifest.layer, sae.manifest.model, sae.d_sae) == (3, "somebody/model", N)
    assert sae.sha256 == hashlib.sha256((folder / "ae.safetensors").read_bytes()).hexdigest()
    x = torch.randn(5, D, generator=torch.Generator().manual_seed(1))
    f = sae.encode(x)
    torch.testing.assert_close(sae.decode(f), f @ sae.directions + sae.decode(torch.zeros(1, N)))
    with pytest.raises(ElicitError, match="holds an SAE of layer 3, but layer=1 was asked for"):
        saes.load(folder, layer=1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Squared", "decode does not add activation times decoder row"),
        ("Coder", "SAE format plain_saes.form:Coder cannot be made"),
        ("torch", "SAE format plain_saes.form:torch lacks name"),
    ],
)
def test_what_does_not_hold_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    points = {"saes.formats/plain": f"plain_saes.form:{name}"}
    install_package(tmp_path / "site", "plain_saes", {"form": SAE_FORMAT}, points)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(__import__("sys").modules, "plain_saes.form", raising=False)
    monkeypatch.delitem(__import__("sys").modules, "plain_saes", raising=False)
    with pytest.raises(ElicitError) as raised:
        saes.load(folder)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
