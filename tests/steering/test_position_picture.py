"""Position forms shown on a text's own tokens."""

from __future__ import annotations

import pytest

from elicit.errors import ElicitError
from tests.support.models import tiny_model
from tests.zoo.models import model_of


@pytest.mark.parametrize("load", [lambda: tiny_model("llama"), lambda: model_of("llama3"), lambda: model_of("gemma")])
def test_picture_and_frame_mark_the_same_tokens(load, tmp_path):
    model = load()
    picture = model.show_positions('after:"at" + ramp:2', "the cat sat", " at a mat")
    frame = picture.frame()
    ids = (*(pair := model.encode_pair("the cat sat", " at a mat")).prompt, *pair.completion)
    assert tuple(frame["id"]) == ids
    assert picture.prompt_length == len(pair.prompt)
    assert picture.touched == frame.index[frame["weight"] != 0].tolist()
    before = "".join(picture.tokens[: picture.touched[0] + 1])
    assert before.strip().endswith("at")
    assert frame.loc[frame["offset"] == 1, "weight"].item() == 1.0
    page = picture._repr_html_()
    assert page.count("background:") == len(picture.touched)
    assert f"{len(picture.touched)} of {len(ids)}" in repr(picture)
    picture.save(tmp_path / "p.html")
    assert page in (tmp_path / "p.html").read_text()


def test_special_tokens_and_markup_are_shown_as_text():
    model = model_of("llama3")  # puts BOS in front
    picture = model.show_positions("at:0", "<b>3 + 4</b>")
    assert picture.touched == [0]
    assert "<b>" not in picture._repr_html_()
    with pytest.raises(ElicitError, match="is not a position form"):
        model.show_positions("nowhere", "a")
