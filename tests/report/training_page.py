"""The words of the sections on training, on one page: every other test of those sections checks facts.

`python -m tests.report.training_page` writes it anew: `tests/report/training_page.txt`.
"""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from elicit.report.charts import ladder, safety_tax
from elicit.report.charts.tradeoff import OUTCOMES, judge_path, read_path
from elicit.report.data.summary_view import read_panels
from elicit.report.trajectories import section
from elicit.report.trajectories.curve_facts import judge_cautions, judge_curve, judge_early_stopping
from elicit.report.trajectories.curves import MAX_LINES
from elicit.report.trajectories.data import read_trajectories
from elicit.report.trajectories.early_warning import read_watched_tasks
from elicit.report.trajectories.text import SHAPE_NAMES
from elicit.report.trajectories.warning_facts import judge_warning
from tests.report import over_training as made
from tests.report.over_training import arms_of, by_hand, followed_at
from tests.report.support import arm, estimate, summary, versus
from tests.report.test_ladder import summary as ladder_summary

PAGE = Path(__file__).with_name("training_page.txt")


def list_summaries() -> dict[str, dict[str, Any]]:
    """Summaries of one model each, by what they are about."""
    shapes = {f"{shape}, sure": by_hand(shape, 0.93) for shape in SHAPE_NAMES}
    return {
        **shapes,
        "a shape with a rival": by_hand("dip-recover", 0.52),
        "a shape that fits badly": by_hand("peak-decline", 0.93, misfit_p=0.0004),
        "too few checkpoints": by_hand("", 0.5),
        "a turn without a way back": by_hand("dip-recover", 0.93, turn=None),
        "a note of one seed": by_hand("dip-recover", 0.93, note="One training seed: the spread is not covered."),
        "many arms": _many_arms(),
        "answers cut off": _form_loss("finished_rate"),
        "answers that cannot be read": _form_loss("answered_rate"),
        "stopping at the base loses nothing": _stopping(0, estimate(0.0, None), versus(0.03, 0.05)),
        "stopping at the end": _stopping(640, estimate(0.004, (-0.02, 0.03)), versus(0.0, 0.05)),
        "an alarm in time": _watched(),
        "a false alarm of one seed": _watched(shape="flat", seeds=1),
        "an alarm before a decline": _watched(shape="peak-decline"),
        "no turn and no alarm": _watched(crossing={"steps": [None, None]}, signals=_signals([None, None])),
        "nothing to foretell": _watched(explained={}, crossing={}, signals={}),
        "foretold badly": _watched(explained={"integral": -0.5}),
        **{f"refusals: {outcome}": _tradeoff(outcome) for outcome in OUTCOMES},
    }


def write_page() -> str:
    """The words of every summary's sections, and of a ladder of bases; each line where it stands first."""
    markups = {"introductions": section.INTRO + safety_tax.INTRO + ladder.INTRO}
    markups |= {name: _render(data) for name, data in list_summaries().items()}
    markups |= {"a ladder of bases": ladder.render_ladders(read_panels(ladder_summary()))}
    lines, seen = [], set()
    for name, markup in markups.items():
        new = [line for line in dict.fromkeys(_iter_words(markup)) if line not in seen]
        seen.update(new)
        lines += [f"=== {name}", *new, ""]
    return "\n".join(lines)


def iter_facts(data: dict[str, Any]) -> Iterator[Any]:
    """All facts that the sections of a summary say."""
    (panel,) = read_panels(data)
    trajectories = read_trajectories(panel)
    yield tuple(judge_cautions(trajectories))
    for trajectory in trajectories:
        for curve in trajectory.curves.values():
            yield judge_curve(curve)
            yield judge_early_stopping(curve)
    for entry in panel.arms:
        yield tuple(map(judge_warning, read_watched_tasks(entry)))
        path = read_path(entry, "refusal")
        yield None if path is None else judge_path(path)


def _render(data: dict[str, Any]) -> str:
    (panel,) = read_panels(data)
    return section.render_trajectories(panel) + safety_tax.render_safety_tax(panel)


def _many_arms() -> dict[str, Any]:
    trajectory = arms_of(by_hand("dip-recover", 0.93, danger={"steps": [10]}))["sft"]["trajectory"]
    return made.over_training(**{f"a{i}": trajectory for i in range(MAX_LINES + 2)})


def _form_loss(measure: str) -> dict[str, Any]:
    data = by_hand("dip-recover", 0.93)
    task = followed_at(data)["other"]
    task["accuracy"][3] = estimate(0.1, (0.05, 0.2), 200)
    for name in ("finished_rate", "answered_rate"):
        task[name] = [estimate(1.0, None, 200) for _ in made.STEPS]
    task[measure][3] = estimate(0.25, None, 200)
    return data


def _stopping(step: int, to_best: dict[str, Any], to_end: dict[str, Any]) -> dict[str, Any]:
    data = by_hand("dip-recover", 0.93)
    followed_at(data)["other"]["stopping"] = {"step": step, "to_best": to_best, "to_end": to_end}
    return data


def _watched(**changes: Any) -> dict[str, Any]:
    data = by_hand("dip-recover", 0.93)
    arms_of(data)["sft"]["warning"] = made.watched(**changes)
    data["models"]["m"]["tasks"]["addition"]["warning"] = made.pooled()
    return data


def _signals(alarms: list[int | None]) -> dict[str, Any]:
    return {"gradient": {"threshold": 0.02, "unit": "nats/token", "alarm": alarms, "lead": None}}


def _tradeoff(outcome: str) -> dict[str, Any]:
    """SFT at two checkpoints with this verdict at the end, beside a control at its end only."""
    gain, loss, over = (
        [{"difference": value, "ci": [value - 0.05, value + 0.05], "n": 200} for value in values]
        for values in ((0.5, 0.65), (0.0, 0.4), (0.0, 0.1))
    )
    entry = {
        "steps": [40, 160],
        "gain": gain,
        "loss": loss,
        "over": over,
        "verdicts": ["kept", outcome],
        "price": [None, estimate(0.62, (0.5, 0.7), 200)],
        "free": [40],
        "base_refuses": estimate(0.99, (0.97, 1.0), 200),
        "margin": 0.05,
    }
    last = {name: value[-1:] if isinstance(value, list) else value for name, value in entry.items()}
    data = summary()
    arms = data["models"]["m"]["tasks"]["addition"]["arms"]
    arms["sft"] = arm(0.6, method="sft", asymmetry={"refusal": entry})
    arms["sft/shuffled"] = arm(0.6, method="sft", asymmetry={"refusal": {**last, "free": [], "over": None}})
    return data


class _WordParser(HTMLParser):
    """Collects what is read or spoken: lists, notes, captions, headings, and labels of figures. Not their drawing."""

    _WORDS = frozenset("li p figcaption caption summary h3 h4 th".split())

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._open = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        label = dict(attrs).get("aria-label")
        if tag == "svg" and label:
            self.lines.append(f"[{label}]")
        if tag in self._WORDS:
            self._open += 1
            self.lines.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open -= tag in self._WORDS

    def handle_data(self, data: str) -> None:
        if self._open:
            self.lines[-1] += data


def _iter_words(markup: str) -> Iterator[str]:
    parser = _WordParser()
    parser.feed(markup)
    return (line for text in parser.lines if (line := " ".join(text.split())))


if __name__ == "__main__":
    PAGE.write_text(write_page(), encoding="utf-8")
