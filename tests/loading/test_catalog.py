"""What a typed name means, and what is said when it means nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from elicit.errors import ElicitError
from elicit.loading import catalog
from elicit.loading.catalog import ModelSource, list_organisms, resolve_model


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two organisms (one with a card), an unfinished one, and an empty working directory."""
    weights = tmp_path / "weights"
    for name in ("cued", "serial", ".half-written"):
        (weights / name).mkdir(parents=True)
    for name in ("cued", "serial"):
        (weights / name / "config.json").write_text("{}")
    (weights / "serial" / "card.json").write_text('{"name": "serial", "has_cue": false}')
    monkeypatch.setattr(catalog, "WEIGHTS", weights)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def test_the_organisms_are_listed_with_their_cards(shelf: Path) -> None:
    assert list_organisms() == [("cued", None), ("serial", {"name": "serial", "has_cue": False})]


def test_the_order_of_meanings(shelf: Path) -> None:
    for folder in ("serial", "org/name"):
        (shelf / folder).mkdir(parents=True)
    assert resolve_model("org/other") == ModelSource("hub", "org/other", None)
    (shelf / "serial" / "config.json").write_text("{}")
    (shelf / "org" / "name" / "config.json").write_text("{}")
    (shelf / "a.GGUF").touch()
    assert resolve_model("serial") == ModelSource("organism", "serial", catalog.WEIGHTS / "serial")
    assert resolve_model("./serial").kind == "folder"
    assert resolve_model("org/name") == ModelSource("folder", "org/name", Path("org/name"))
    assert resolve_model(Path("a.GGUF")) == ModelSource("gguf", "a.GGUF", Path("a.GGUF"))
    assert resolve_model("Qwen/Qwen2.5-0.5B").kind == "hub"
    (shelf / "org" / "name" / "card.json").write_text("{}")  # as `elicit organism train` leaves it
    assert resolve_model("org/name") == ModelSource("organism", "org/name", Path("org/name"))


def refusal(name: str) -> str:
    with pytest.raises(ElicitError) as caught:
        resolve_model(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_refusals(shelf: Path) -> None:
    assert refusal("serail") == (
        "unknown model 'serail'. Did you mean 'serial'? Known: cued, serial. "
        "See: elicit ls models. Or type a folder, a .gguf file or a hub id such as org/name."
    )
    assert refusal("").startswith("unknown model ''.")
    assert refusal("two words/x").startswith("unknown model 'two words/x'.")
    assert refusal("a/b/c") == "a/b/c does not exist. Neither does its folder, a/b."
    (shelf / "mine").mkdir()
    assert refusal("./mina") == "./mina does not exist. Did you mean 'mine'?"
    assert refusal("./xyz") == "./xyz does not exist. . holds: mine."
    assert refusal("model.gguf").startswith("model.gguf does not exist.")
    assert refusal("mine") == "mine is not a model folder: it has no config.json. Type a folder that holds config.json."
    (shelf / "mine" / "q4.gguf").touch()
    assert refusal("mine").endswith("it has no config.json. Type the file itself: mine/q4.gguf")
    (shelf / "mine" / "adapter_config.json").touch()
    assert "mine holds an adapter, not a model" in refusal("mine")
    (shelf / "notes.txt").touch()
    assert refusal("notes.txt").startswith("notes.txt is a file, but not a .gguf file. Type the folder")


@pytest.mark.parametrize("text", ["{", "[]", b"\xff"])
def test_a_broken_card_is_not_passed_over(shelf: Path, text: str | bytes) -> None:
    card = catalog.WEIGHTS / "cued" / "card.json"
    card.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ElicitError, match=r"card\.json.*Repair or remove it\."):
        list_organisms()


def test_listing_models_imports_no_torch() -> None:
    probe = (
        "import json, sys; import elicit.loading as l; l.list_organisms(); light = sorted(sys.modules); "
        "import torch; print(json.dumps(['torch' in light, 'transformers' in light, 'torch' in sys.modules]))"
    )
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    # The last one shows that the probe can tell.
    assert json.loads(found) == [False, False, True]


@pytest.mark.parametrize("name", ["x" * 5000, "./" + "y" * 300, "~nobody_of_this_name/model"])
def test_a_name_that_is_no_path_of_any_file_system_is_one_line(name: str) -> None:
    with pytest.raises(ElicitError, match="cannot be a model") as caught:
        resolve_model(name)
    assert len(str(caught.value)) < 250
