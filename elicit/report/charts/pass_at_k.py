"""pass@k of the arms that were sampled, in one figure with the base; and what was sharpened against what is new.

Sharpening is the gain at the first sample. Expansion is what is solved that the base never solved in all its samples,
with a valid trace where traces can be checked. An arm that sharpens and does not expand selects what was there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from elicit.report.charts import scatter, svg
from elicit.report.charts.scatter import Curve, Dot, Plane
from elicit.report.data.number_format import DASH, counted, interval, percent
from elicit.report.data.summary_view import Arm, Figure, Panel, dig, estimate, number
from elicit.report.html import tables
from elicit.report.html.tables import Cell, Column
from elicit.text import escape

#: How many arms the figure holds beside the base.
LINES = 6
_DASHES = ("", "7 3", "2 2", "7 2 2 2")


def figure(panel: Panel) -> str:
    """One model's curves, any right answer and valid traces only; empty where nothing was sampled."""
    sampled = [arm for arm in panel.arms if _curve(arm, "pass_at_k")]
    if not sampled:
        return ""
    shown = _chosen(sampled)
    planes = [_plane("right answer", panel, shown, "pass_at_k")]
    if any(_curve(arm, "pass_at_k_valid_trace") for arm in shown):
        planes.append(_plane("right answer with a valid trace", panel, shown, "pass_at_k_valid_trace"))
    drawn = scatter.picture(planes, label=f"pass@k on {panel.model}: {', '.join(arm.name for arm in shown)}", least=260)
    n, m = number(dig(panel.data, "samples", "n")), number(dig(panel.data, "samples", "problems"))
    size = f" {n:.0f} samples each on {m:.0f} problems." if n is not None and m is not None else ""
    left = f" {len(sampled) - len(shown)} more arms are in the table below." if len(sampled) > len(shown) else ""
    caption = (
        "Share of problems (%) with at least one right answer among k samples at temperature 1: unbiased, averaged "
        f"over an arm's seeds, 95 % intervals.{size} Ringed: where the base overtakes. Dotted: a uniform "
        f"guesser, who also gets better with k.{left}"
    )
    return f"<figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>{_crossings(shown)}{table(sampled)}"


def _chosen(sampled: Sequence[Arm]) -> list[Arm]:
    """The base, the first arm of every family, then others; controls only where there is room for every arm."""
    base = [arm for arm in sampled if arm.role == "base"]
    rest = [arm for arm in sampled if arm.role not in ("base", "ceiling")]
    first = list({arm.family.key: arm for arm in reversed(rest) if arm.role != "control"}.values())[::-1]
    others = [arm for arm in rest if arm not in first and (arm.role != "control" or len(rest) <= LINES)]
    return base + (first + others)[:LINES]


def _curve(arm: Arm, key: str) -> dict[int, Figure]:
    found = arm.data.get(key)
    curve = {int(k): estimate(entry) for k, entry in found.items()} if isinstance(found, Mapping) else {}
    return {k: curve[k] for k in sorted(curve) if curve[k].value is not None}


def _plane(title: str, panel: Panel, shown: Sequence[Arm], key: str) -> Plane:
    ks = sorted({k for arm in shown for k in _curve(arm, key)})
    curves, seen = [], dict[str, int]()
    guesses = panel.data.get("guesser")
    if key == "pass_at_k" and isinstance(guesses, Mapping):
        dots = [
            Dot(int(k), Figure(number(v)), svg.GREY, None) for k, v in sorted(guesses.items(), key=lambda g: int(g[0]))
        ]
        curves.append(Curve([dot for dot in dots if dot.x <= max(ks, default=0)], svg.GREY, "uniform guesser", "1 3"))
    for arm in shown:
        before = seen[arm.family.colour] = seen.get(arm.family.colour, -1) + 1
        curves.append(Curve(_dots(arm, key), arm.family.colour, arm.name, _DASHES[min(before, 3)]))
    rings = [] if key != "pass_at_k" else [ring for arm in shown if (ring := _ring(arm)) is not None]
    top = max(ks, default=1)
    high = scatter.top([dot.figure for curve in curves for dot in curve.dots])
    return Plane(title, "k (samples)", (0.9, max(2, top) * 1.1), (0, high), curves, rings, x_ticks=ks or [1])


def _dots(arm: Arm, key: str) -> list[Dot]:
    return [
        Dot(
            k,
            level,
            arm.family.colour,
            "circle" if arm.role == "base" else arm.family.shape,
            f"{arm.name}, {key.replace('pass_at_k', 'pass@k').replace('_', ' ')}, k = {k}: {percent(level.value)} % "
            f"{interval(level)}, {counted(level)}",
            hollow=arm.role == "control",
            size=3.4,
            data={"arm": arm.name, "key": f"{key}.{k}", "value": repr(level.value)},
        )
        for k, level in _curve(arm, key).items()
    ]


def _ring(arm: Arm) -> Dot | None:
    """Where the base overtakes this arm."""
    k = number(arm.data.get("crossover_k"))
    at = None if k is None else _curve(arm, "pass_at_k").get(int(k))
    if k is None or at is None:
        return None
    data = {"arm": arm.name, "key": "crossover_k", "value": repr(k)}
    return Dot(
        k,
        Figure(at.value),
        "currentColor",
        "hollow",
        f"the base overtakes {arm.name} at k = {k:.0f}",
        size=9,
        data=data,
    )


def _crossings(shown: Sequence[Arm]) -> str:
    said = [f"{arm.name} at k = {k:.0f}" for arm in shown if (k := number(arm.data.get("crossover_k"))) is not None]
    return f"<p class=note>The base overtakes {escape(', '.join(said))}.</p>" if said else ""


def table(sampled: Sequence[Arm]) -> str:
    """Every curve in figures."""
    ks = sorted({k for arm in sampled for k in _curve(arm, "pass_at_k")})
    rows = []
    for arm in sampled:
        curve = _curve(arm, "pass_at_k")
        rows.append((arm, [tables.share(curve.get(k, Figure(None)), f"pass_at_k.{k}") for k in ks]))
    columns = [Column(f"pass@{k}", f"right within {k} samples, %") for k in ks]
    inner = tables.table(columns, rows, caption=f"pass@k in percent; {DASH} where an arm has fewer samples.")
    return f"<details><summary>pass@k of all {len(sampled)} sampled arms</summary>{inner}</details>"


def expansion(panel: Panel) -> str:
    """Sharpening against expansion: a figure and a table; empty where nothing was sampled beside the base."""
    found = [arm for arm in panel.arms if _sharpened(arm).value is not None or _new(arm).value is not None]
    if not found:
        return ""
    dots = [dot for arm in found if (dot := _place(arm)) is not None]
    drawn = ""
    if dots:
        xs = [0.0, *(bound for dot in dots if dot.across for bound in dot.across[:3] if bound is not None)]
        ys = [0.0, *(bound for dot in dots for bound in dot.figure[:3] if bound is not None)]
        room = 0.05 * (max(xs) - min(xs)) + 0.01
        made = Plane(
            "problems that only the arm solves, %",
            "sharpening: points gained at pass@1",
            (min(xs) - room, max(xs) + room),
            (min(0.0, min(ys)) - 0.02, max(0.2, max(ys) + 0.03)),
            dots=dots,
            logarithmic=False,
            signed=True,
        )
        drawn = scatter.picture([made], label=f"Sharpening against expansion on {panel.model}", least=200)
    return f"<figure>{drawn}</figure>{_expansion_table(found)}"


def _sharpened(arm: Arm) -> Figure:
    return arm.versus("sharpening").figure


def _new(arm: Arm) -> Figure:
    return arm.estimate("expansion", "solved_only_by_arm")


def _place(arm: Arm) -> Dot | None:
    across, new = _sharpened(arm), _new(arm)
    if across.value is None or new.value is None:
        return None
    control = arm.role == "control"
    return Dot(
        across.value,
        new,
        svg.GREY if control else arm.family.colour,
        arm.family.shape,
        f"{arm.name}: {percent(across.value, signed=True)} points at pass@1, {percent(new.value)} % only by the arm",
        arm.name,
        hollow=control,
        data={"arm": arm.name, "key": "expansion.solved_only_by_arm", "value": repr(new.value)},
        across=across,
    )


def _expansion_table(found: Sequence[Arm]) -> str:
    columns = [
        Column("sharpening, points", "pass@1 of the arm minus the base's, paired over the sampled problems"),
        Column("base samples K", "how often the base tried"),
        Column("only the arm %", "solved by the arm, never by the base in K samples"),
        Column("only the base %", "solved by the base in K samples, never by the arm"),
        Column("base overtakes at k", "where the base's pass@k exceeds the arm's"),
        Column("traces", "whether a solution counts only with a valid trace"),
    ]
    rows = []
    for arm in found:
        sharp = arm.versus("sharpening")
        k, cross = number(dig(arm.data, "expansion", "k")), number(arm.data.get("crossover_k"))
        checked = dig(arm.data, "expansion", "valid_trace")
        title = f"{counted(sharp.figure)}; {sharp.test}; seeds {' against '.join(map(str, sharp.seeds))}"
        cells = [
            Cell(
                percent(sharp.figure.value, signed=True),
                interval(sharp.figure, signed=True),
                "sharpening",
                sharp.figure.value,
                title,
            ),
            Cell(DASH if k is None else f"{k:.0f}", "", "expansion.k", k),
            tables.share(_new(arm), "expansion.solved_only_by_arm"),
            tables.share(arm.estimate("expansion", "solved_only_by_base"), "expansion.solved_only_by_base"),
            Cell(
                "never" if cross is None and k is not None else DASH if cross is None else f"{cross:.0f}",
                "",
                "crossover_k",
                cross,
            ),
            Cell({True: "valid only", False: "not checked"}.get(checked, DASH) if isinstance(checked, bool) else DASH),
        ]
        rows.append((arm, cells))
    caption = (
        "Sharpening: what the arm gains at the first sample. Expansion: problems it solves that the base never solved "
        "in K samples, K being the same for both; beside it the converse, for two draws of one model differ too. 95 % "
        "intervals; n is the number of sampled problems."
    )
    return tables.table(columns, rows, caption=caption)
