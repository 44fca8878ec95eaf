"""References to code of outside: loaded, hashed, and refused in one line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from elicit.errors import ElicitError
from elicit.plugins import MissingCodeError, list_entry_points, load_reference, parse_reference, source_sha256

SOURCE = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass(frozen=True)
class Box:
    size: int = 3

class Outer:
    class Inner:
        pass
"""


def test_a_class_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "box.py").write_text(SOURCE)
    box = load_reference("box.py:Box", base=tmp_path)
    assert box(size=4).size == 4
    assert load_reference(f"{tmp_path}/box.py:Box") is box, "the same bytes are imported once"
    assert load_reference("box.py:Outer.Inner", base=tmp_path).__name__ == "Inner"
    assert source_sha256("box.py:Box", base=tmp_path) == hashlib.sha256(SOURCE.encode()).hexdigest()
    (tmp_path / "box.py").write_text(SOURCE.replace("3", "5"))
    assert load_reference("box.py:Box", base=tmp_path)().size == 5, "an edit is seen"


def test_a_class_of_a_package() -> None:
    assert load_reference("fractions:Fraction").__name__ == "Fraction"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("absent.py:Box", "absent.py does not exist"),
        ("no_such_package.tasks:Box", "'no_such_package.tasks' is not installed here"),
        ("box.py", "does not name code. Type my_file.py:Name"),
        ("box.py:Bix", "unknown name in box.py 'Bix'. Did you mean 'Box'?"),
        ("broken.py:Box", "cannot be imported: line 3: ZeroDivisionError: division by zero"),
        ("torn.py:Box", "cannot be imported: line 1: SyntaxError"),
        ("math:sin", "does not come from a Python file"),
    ],
)
def test_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "box.py").write_text(SOURCE)
    (tmp_path / "broken.py").write_text("x = 1\n\ny = x / 0\n")
    (tmp_path / "torn.py").write_text("class Box(:\n")
    with pytest.raises(ElicitError) as raised:
        load_reference(text, base=tmp_path)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value, MissingCodeError) == (text.startswith(("absent", "no_such")))


@pytest.mark.parametrize("text", ["addition", "a b.c:D", "x:", ":x", "box.txt:", "box.py:3", "org/name:x y"])
def test_other_text_is_not_a_reference(text: str) -> None:
    assert parse_reference(text) is None


def test_entry_points_of_installed_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def install(package: str, reference: str) -> None:
        folder = tmp_path / f"{package}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[elicit.tasks]\nbox = {reference}\n")

    monkeypatch.syspath_prepend(tmp_path)
    assert "box" not in list_entry_points("elicit.tasks")
    install("first", "first.tasks:Box")
    assert list_entry_points("elicit.tasks") == {"box": "first.tasks:Box"}
    install("second", "second:Box")
    with pytest.raises(ElicitError, match=r"two installed packages offer 'box' in elicit\.tasks"):
        list_entry_points("elicit.tasks")
