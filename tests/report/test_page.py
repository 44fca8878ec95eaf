"""report.html against the run directory it was made from."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from elicit.errors import ElicitError
from elicit.report import forest_html, write_forest_svg, write_report
from elicit.report.data.display_text import render_completion_html
from elicit.text import reveal_hidden
from tests.report.reading import parsed
from tests.report.support import arm, make_run, summary

HOSTILE = "<script>alert(1)</script>\"'&]]><!--</pre></details>\x00\x1b[31m\u202eevil\u2066\u200f"


def test_shown_numbers_are_those_values_rounded(tmp_path: Path) -> None:
    make_run(tmp_path)
    _, page = parsed(write_report(tmp_path))
    assert page.shown["mean_steering", "accuracy"].startswith("90.0[")
    assert page.shown["mean_steering", "gap_recovered"].startswith("1.00[")
    assert page.shown["mean_steering", "vs_sft"].startswith("+30.0[")
    assert page.shown["cue_prompt", "gap_recovered"] == "–"
    assert page.shown["self_consistency", "kl.task.base_arm"] == "–"


def test_a_withheld_gap_is_withheld_and_never_zero(tmp_path: Path) -> None:
    make_run(tmp_path, completion=lambda cell, problem, index: "#0")
    text, page = parsed(write_report(tmp_path))
    assert page.shown["mean_steering", "gap_recovered"] == "withheld"
    gaps = [one.value for one in page.figures if one.key == "gap_recovered"]
    assert gaps
    assert set(gaps) == {None}
    assert "does not exceed two standard errors" in text


def test_hostile_completions_stay_text(tmp_path: Path) -> None:
    make_run(tmp_path, test=3, completion=lambda cell, problem, index: HOSTILE + "A" * 5000)
    text, page = parsed(write_report(tmp_path))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", text)
    for name in ("U+202E", "U+2066", "U+200F", "U+0000", "U+001B"):
        assert f'<span class="hidden">{name}</span>' in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;]]&gt;" in text
    assert "more characters" in text
    assert "A" * 2000 not in text


def test_a_hidden_character_differs_from_text_that_spells_it() -> None:
    assert render_completion_html("a\u202eb") == 'a<span class="hidden">U+202E</span>b'
    assert render_completion_html("a<U+202E>b") == "a&lt;U+202E&gt;b"
    assert reveal_hidden("tab\tline\n") == "tab\tline\n"
    assert render_completion_html("\ud800") == '<span class="hidden">U+D800</span>'
    assert render_completion_html("") == '<span class="note">(empty)</span>'


def test_the_page_needs_nothing_from_outside_and_its_policy_names_its_script(tmp_path: Path) -> None:
    make_run(tmp_path)
    text, page = parsed(write_report(tmp_path))
    links = [value for _, given in page.tags for key, value in given.items() if key in ("src", "href", "action")]
    assert all(value is not None and value.startswith(("#", "data:")) for value in links)
    assert "url(" not in text
    assert "@import" not in text
    assert not any(key.startswith("on") for _, given in page.tags for key in given)
    policy = next(given["content"] or "" for tag, given in page.tags if "http-equiv" in given)
    script = text[text.index("<script>") + 8 : text.index("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    anchors = {given["id"] for _, given in page.tags if "id" in given}
    assert {value.removeprefix("#") for value in links if value and value.startswith("#")} <= anchors


def test_failed_and_missing_arms_and_a_limit_are_in_plain_sight(tmp_path: Path) -> None:
    make_run(tmp_path, limit=12, failed="sft")
    text, page = parsed(write_report(tmp_path))
    assert "LIMITED to 12 of 40 test problems" in text
    assert "sft, seed 0, failed: boom &lt;b&gt;." in text
    assert "<b>cued/<wbr>sft, seed 2</b>: boom &lt;b&gt;" in text
    assert "<b>3 cells failed</b>; the others went on, and the command ended with exit code 1" in text
    assert [one.value for one in page.figures if (one.arm, one.key) == ("sft", "accuracy")] == [None]
    assert "not known: SFT is failed" in text


def test_prompts_are_shown_and_their_absence_is_explained(tmp_path: Path) -> None:
    make_run(tmp_path / "a", test=3)
    text = write_report(tmp_path / "a").read_text()
    assert re.search(r"Q:\d+\+\d+", text)
    assert "asked with the cue" in text
    spec = (tmp_path / "a" / "spec.yaml").read_text()
    (tmp_path / "a" / "spec.yaml").write_text(spec.replace("cued: cued", "cued: ./gone"))
    assert "Prompts cannot be shown" in write_report(tmp_path / "a").read_text()


def test_dose_response_says_its_split_and_marks_the_chosen_point(tmp_path: Path) -> None:
    make_run(tmp_path)
    text = write_report(tmp_path).read_text()
    section = text[text.index('<section id="dose">') : text.index('<section id="side">')]
    assert "select split" in section
    assert "not from the test problems" in section
    assert section.count(">chosen</text>") == 1
    assert "accuracy, strength 1 (absolute 9.5): 50.0 % [0.0, 100.0], n = 8" in section
    assert "layer 2, strength 1.00 residual norms" in section


def test_the_standalone_figure_is_xml_with_the_summarys_numbers(tmp_path: Path) -> None:
    make_run(tmp_path)
    root = ElementTree.parse(write_forest_svg(tmp_path, tmp_path / "out" / "forest.svg")).getroot()
    words = "".join(root.itertext())
    figures = json.loads((tmp_path / "summary.json").read_text())["models"]["cued"]["tasks"]["addition"]["arms"]
    low, high = (100 * bound for bound in figures["mean_steering"]["vs_sft"]["ci"])
    assert f"+30.0 [+{low:.1f}, +{high:.1f}]" in words
    assert "/random_vector" in words


def test_without_sft_the_forest_says_that_differences_are_to_the_base() -> None:
    drawn = forest_html(summary(sft=None, mean_steering=arm(0.9, sft=None)))
    assert "0 = base" in drawn
    assert "Paired difference in accuracy to the base" in drawn
    assert "SFT" not in drawn


def test_a_folder_without_a_summary_is_bad_input_and_leaves_no_page(tmp_path: Path) -> None:
    with pytest.raises(ElicitError, match=r"spec\.yaml: not a run directory"):
        write_report(tmp_path)
    make_run(tmp_path)
    (tmp_path / "summary.json").unlink()
    with pytest.raises(ElicitError, match=r"summary\.json is missing"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_nothing_heavy_is_imported_even_when_a_report_is_written(tmp_path: Path) -> None:
    make_run(tmp_path, test=3)
    code = (
        "import sys, json; from pathlib import Path\n"
        "import elicit.report as report; light = 'numpy' not in sys.modules\n"
        f"run = Path({str(tmp_path)!r}); report.write_report(run)\n"
        "from elicit.report import terminal; terminal.show(json.loads((run / 'summary.json').read_text()))\n"
        "heavy = {'torch', 'transformers', 'plotly', 'pandas', 'trl', 'jinja2'} & set(sys.modules)\n"
        "assert light and not heavy, (light, heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_prompts_are_those_that_the_arms_were_given(tmp_path: Path) -> None:
    """A chat's markup is the model's: it is not in the spec, but the cells kept it."""
    make_run(tmp_path, test=3)
    for arm_name, said in (("base", "<|user|>brief"), ("cue_prompt", "<|user|>think")):
        folder = tmp_path / "cells" / "cued" / arm_name / "0"
        path, kept, lines = folder / "rows" / "addition.jsonl", {}, []
        for i, line in enumerate(path.read_text().splitlines()):
            prompt = f"{said} {i}"
            mark = hashlib.sha256(prompt.encode()).hexdigest()[:16]
            kept[mark] = [prompt, ""]
            lines.append(json.dumps({**json.loads(line), "prompt_hash": mark}))
        path.write_text("\n".join(lines) + "\n")
        (folder / "prompts.json").write_text(json.dumps(kept))
    text = write_report(tmp_path).read_text()
    assert "A problem: <code>&lt;|user|&gt;brief 0</code>" in text
    assert re.search(r"asked: <code>&lt;\|user\|&gt;think \d", text)
