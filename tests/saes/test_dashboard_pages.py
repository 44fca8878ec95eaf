"""Feature pages and their index: figures in both forms, hostile strings, structure, and what is written where."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from elicit.errors import ElicitError
from elicit.runs import TargetError
from elicit.seeds import make_generator
from elicit.statistics import wilson_interval
from elicit.text import reveal_hidden
from saes import dashboard
from saes.dashboard import Dose, Study, Vocabulary, index, page, write
from saes.dashboard.feature_page import PageLinks
from saes.dashboard.index_page import build_search_fields, order_features
from saes.dashboard.plain import collect_figures
from saes.dashboard.text import format_number, format_percent, format_token
from tests.saes.hostile import STRINGS, Reader, assert_closed_to_the_world
from tests.saes.tiny_sae import tiny_sae
from tests.support.tiny import tiny

CURVE = [
    {"layer": 1, "strength": s, "absolute": 3 * s, "accuracy": a, "ci": [a / 2, a / 2 + 0.5], "n": 40, "trace_rate": a}
    for s, a in ((1.0, 0.75), (0.5, 0.25), (2.0, 1.0))
]


@pytest.fixture(scope="module")
def study() -> Study:
    hf, tokenizer = tiny("llama")
    rng = make_generator("dashboard pages")
    sequences = [(1, *rng.integers(4, 60, int(rng.integers(5, 25))).tolist()) for _ in range(60)]
    cued = [(1, 40, *ids[1:]) for ids in sequences[:8]]
    return dashboard.study(
        hf,
        tokenizer,
        tiny_sae(),
        sequences,
        positive=cued,
        negative=sequences[:8],
        doses={5: [Dose("sae_steering, add", CURVE)]},
        used={5: "sae_steering, its/control"},
        text="random tokens",
        examples=4,
    )


@pytest.fixture(scope="module")
def hostile(study: Study) -> Study:
    """The same study with a vocabulary of bad strings, each of which appears."""
    texts = [STRINGS[i % len(STRINGS)] for i in range(200)]
    words = Vocabulary(lambda i: texts[i], frozenset({1, 9}))
    dose = Dose("</figcaption><script>x</script>\u202e", CURVE)
    return dataclasses.replace(
        study, vocabulary=words, doses={5: [dose]}, used={5: "<b>\x00"}, text="</footer><i>\ud800"
    )


def test_page_is_whole_and_closed_to_the_world(study: Study) -> None:
    place = PageLinks(lambda i: f"{i}.html" if i < 20 else None, "../index.html", list(range(20)))
    for feature, where in ((5, None), (5, place), (0, place), (23, None)):
        reader = Reader(page(study, feature, links=where).html)
        assert_closed_to_the_world(reader, scripts=0)
        assert ("nav" in reader.tags()) == (where is not None)
    linked = Reader(page(study, 5, links=place).html)
    assert {"../index.html#f5", "4.html", "6.html"} <= set(linked.attributes("href"))
    assert "20.html" not in linked.attributes("href")


def test_page_and_text_show_the_same_figures(study: Study) -> None:
    shown = page(study, 5)
    seen = " ".join(Reader(shown.html).text.split())
    assert repr(shown) == shown.text
    assert not re.search(r"</?(p|div|mark|code|span|td|li)\b", repr(shown))
    activity, contrast, effect = (
        study.collected.get_activity(5),
        study.contrast.get_difference(5),
        study.lens.get_effect(5),
    )  # type: ignore[union-attr]
    assert contrast is not None
    assert effect is not None
    wanted = [
        format_number(activity.maximum),
        f"{activity.tokens:,}",
        f"{activity.count:,}",
        format_percent(activity.density),
    ]
    wanted += [format_number(value) for _, value in (*effect.raised, *effect.lowered)]
    wanted += [format_number(e.value) for e in (contrast.positive, contrast.negative, contrast.paired)]
    wanted += [f"n = {contrast.paired.n}", *(str(near.feature) for near in study.find_nearest(5))]
    wanted += [format_number(example.value) for example in activity.top]
    wanted += [value for _, value, _ in collect_figures(study, 5)]
    for figure in wanted:
        assert figure in seen, figure
        assert figure in repr(shown), figure
    for point in CURVE:
        accuracy, traces = format_percent(point["accuracy"]), wilson_interval(round(40 * point["trace_rate"]), 40)  # type: ignore[arg-type, operator]
        assert f"accuracy {accuracy} %" in repr(shown)
        assert (
            f"accuracy at strength {point['strength']:g} (absolute {format_number(point['absolute'])}): {accuracy} %"
            in seen
        )  # type: ignore[arg-type]
        assert f"traces {format_percent(traces.value)} % [{format_number(100 * traces.ci[0])}" in repr(shown)  # type: ignore[index]
    assert "n = 40" in seen


def test_dose_response_only_where_given(study: Study) -> None:
    assert "Dose-response" in page(study, 5).html
    assert "Dose-response" not in page(study, 6).html
    bare = dataclasses.replace(study, lens=None, contrast=None, doses={})
    reader = Reader(page(bare, 5).html)
    assert "Logit lens" not in reader.text
    assert "against" not in reader.text
    Reader(index(bare, [5, 6]))


def test_recorded_intervals_of_traces_are_shown(study: Study) -> None:
    curve = [{**point, "trace_ci": [0.111, 0.999]} for point in CURVE]
    known = dataclasses.replace(study, doses={5: [Dose("arm", curve)]})
    assert "[11.1, 99.9]" in page(known, 5).text
    assert "[11.1, 99.9]" in page(known, 5).html


def test_neighbours_by_brute_force(study: Study) -> None:
    rows = study.sae.directions
    near = study.find_nearest(5)
    cosine = torch.nn.functional.cosine_similarity(rows, rows[5:6])
    order = [int(i) for i in cosine.argsort(descending=True) if i != 5][:8]
    assert [other for other, _ in near] == order
    assert [value for _, value in near] == pytest.approx(cosine[order].tolist(), abs=1e-5)
    r = study.collected.correlations
    assert r is not None
    together = study.find_correlated(5)
    assert [value for _, value in together] == sorted((v for v in np.delete(r[5], 5) if v > 0), reverse=True)[:8]
    assert all(r[5, other] == value for other, value in together)


def test_tokens_carry_their_exact_activations(study: Study) -> None:
    titles = Reader(page(study, 5).html).attributes("title")
    for example in study.collected.get_activity(5).top:
        for place, value in zip(example.ids, example.activations, strict=True):
            if value > 0:
                assert f"{value:.6g} · token {place}" in titles


def test_a_feature_that_never_fires(study: Study) -> None:
    shown = page(study, 23)
    assert "does not fire on this text" in shown.html
    assert "nan" not in shown.text.lower().replace("nan'", "")
    assert "largest activation: – (of 0 firings)" in shown.text
    assert 23 not in order_features(study)
    Reader(index(study, [23]))


@pytest.mark.parametrize("feature", [5, 11])
def test_hostile_strings_stay_text(hostile: Study, feature: int) -> None:
    reader = Reader(page(hostile, feature).html)
    assert_closed_to_the_world(reader, scripts=0)
    shown = repr(page(hostile, feature))
    assert "\u202e" not in shown
    assert "\x00" not in shown
    shown.encode("utf-8")
    table = Reader(index(hostile, order_features(hostile)))
    assert_closed_to_the_world(table, scripts=2)
    assert json.loads(table.scripts[0]) == [build_search_fields(hostile, i) for i in order_features(hostile)]
    for reader_of in (reader, table):
        for value in reader_of.attributes("title") + reader_of.attributes("data-v"):
            assert value == reveal_hidden(value)


def test_notebook_form_is_one_isolated_frame(hostile: Study) -> None:
    frame = page(hostile, 5)._repr_html_()
    reader = Reader(frame)
    assert [tag for tag, _ in reader.elements] == ["iframe"]
    attributes = reader.elements[0][1]
    assert attributes["sandbox"] == ""
    assert Reader(attributes["srcdoc"]).text == Reader(page(hostile, 5).html).text


def test_saving_a_page(study: Study, tmp_path: Path) -> None:
    shown = page(study, 5)
    assert shown.save(tmp_path / "new" / "page.html").read_text(encoding="utf-8") == shown.html
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetError, match="cannot write"):
        shown.save(tmp_path / "file" / "page.html")


def test_folder_is_complete(hostile: Study, tmp_path: Path) -> None:
    seen: list[int] = []
    path = write(hostile, tmp_path / "out", progress=seen.append)
    chosen = order_features(hostile)
    assert path == tmp_path / "out" / "index.html"
    assert seen == list(range(1, len(chosen) + 1))
    files = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert files == {"index.html", *(f"features/{i}.html" for i in chosen)}
    table = Reader(path.read_text(encoding="utf-8"))
    assert {h for h in table.attributes("href") if h != "data:,"} == {f"features/{i}.html" for i in chosen}
    assert chosen[0] == 5  # what an arm uses comes first
    for i in chosen:
        text = (tmp_path / "out" / "features" / f"{i}.html").read_text(encoding="utf-8")
        assert len(text.encode()) < 150_000
        for href in Reader(text).attributes("href"):
            target = (tmp_path / "out" / "features" / href.split("#")[0]).resolve()
            assert href == "data:," or target.is_file()


def test_index_rows_hold_the_values_they_are_sorted_by(study: Study) -> None:
    reader = Reader(index(study, order_features(study)))
    rows = reader.attributes("id")
    assert [row for row in rows if re.fullmatch(r"f\d+", row)] == [f"f{i}" for i in order_features(study)]
    values = reader.attributes("data-v")
    for i in order_features(study):
        assert repr(study.collected.get_activity(i).density) in values
        assert repr(study.contrast.get_difference(i).paired.value) in values  # type: ignore[union-attr]
    numbers, raised, *_ = zip(*json.loads(reader.scripts[0]), strict=True)
    assert list(numbers) == order_features(study)
    top = study.lens.get_effect(5).raised[0][0]  # type: ignore[union-attr]
    assert format_token(study.vocabulary.text(top)).lower() in raised[0].split("\n")


def test_an_earlier_dashboard_is_replaced_and_nothing_else(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(study, out, features=[5, 6])
    write(study, out, features=[7])
    assert sorted(p.name for p in (out / "features").iterdir()) == ["7.html"]
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ElicitError, match="holds other files; they would be replaced"):
        write(study, out, features=[5])
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "index.html").write_text("<p>my page</p>")
    with pytest.raises(ElicitError, match="holds other files"):
        write(study, foreign)
    assert (foreign / "index.html").read_text() == "<p>my page</p>"
    with pytest.raises(ElicitError, match="is not a folder"):
        write(study, out / "notes.txt")


def test_a_broken_off_write_leaves_nothing(study: Study, tmp_path: Path) -> None:
    before = write(study, tmp_path / "out", features=[5]).read_bytes()
    steps = itertools.count()

    def stop(done: int) -> None:
        if next(steps) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(study, tmp_path / "out", progress=stop)
    assert (tmp_path / "out" / "index.html").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
