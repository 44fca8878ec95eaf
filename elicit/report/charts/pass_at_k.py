"""pass@k of the arms that were sampled, in one figure with the base; and what was sharpened against what is new.

Sharpening is the gain at the first sample. Expansion is what is solved that the base never solved in all its samples,
with a valid trace where traces can be checked. An arm that sharpens and does not expand selects what was there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from elicit.report.charts import scatter, svg
from elicit.report.charts.exact_traces import KEY as EXACT_TRACE
from elicit.report.charts.exact_traces import (
    build_draws_cell,
    build_exact_curve,
    render_draws_list,
    render_exact_tables,
)
from elicit.report.charts.scatter import Dot, Plane, PlaneCurve
from elicit.report.data.number_format import DASH, format_interval, format_percent, format_sample_size
from elicit.report.data.summary_view import (
    Arm,
    ModelPanel,
    OptionalEstimate,
    get_nested,
    parse_estimate,
    read_finite_number,
)
from elicit.report.html import tables
from elicit.report.html.tables import TableCell, TableColumn
from elicit.text import escape_html

#: How many arms the figure holds beside the base.
MAX_LINES = 6
_DASHES = ("", "7 3", "2 2", "7 2 2 2")


def render_pass_at_k(panel: ModelPanel) -> str:
    """One model's curves, any right answer and valid traces only; empty where nothing was sampled."""
    sampled_arms = [arm for arm in panel.arms if _read_pass_curve(arm, "pass_at_k")]
    if not sampled_arms:
        return ""
    plotted_arms = _select_arms(sampled_arms)
    planes = [_build_pass_plane("right answer", panel, plotted_arms, "pass_at_k")]
    if any(_read_pass_curve(arm, "pass_at_k_valid_trace") for arm in plotted_arms):
        planes.append(
            _build_pass_plane("right answer with a valid trace", panel, plotted_arms, "pass_at_k_valid_trace")
        )
    picture = scatter.render_planes(
        planes, label=f"pass@k on {panel.model}: {', '.join(arm.name for arm in plotted_arms)}", minimum_height=260
    )
    n, m = (
        read_finite_number(get_nested(panel.data, "samples", "n")),
        read_finite_number(get_nested(panel.data, "samples", "problems")),
    )
    size_note = f" {n:.0f} samples each on {m:.0f} problems." if n is not None and m is not None else ""
    omitted_note = (
        f" {len(sampled_arms) - len(plotted_arms)} more arms are in the table below."
        if len(sampled_arms) > len(plotted_arms)
        else ""
    )
    exact_note = (
        " Finely dotted: an exact lower bound, the probability that the base writes the worked solution."
        if any(arm.role == "base" and arm.data.get(EXACT_TRACE) for arm in plotted_arms)
        else ""
    )
    caption = (
        "Share of problems (%) with at least one right answer among k samples at temperature 1: unbiased, averaged "
        f"over an arm's seeds, 95 % intervals.{size_note} Ringed: where the base overtakes. Dotted: a uniform "
        f"guesser, who also gets better with k.{exact_note}{omitted_note}"
    )
    return (
        f"<figure>{picture}<figcaption>{escape_html(caption)}</figcaption></figure>"
        f"{_describe_crossovers(plotted_arms)}{render_pass_table(sampled_arms)}{render_exact_tables(panel)}"
    )


def _select_arms(sampled_arms: Sequence[Arm]) -> list[Arm]:
    """The base, the first arm of every family, then others; controls only where there is room for every arm."""
    base = [arm for arm in sampled_arms if arm.role == "base"]
    rest = [arm for arm in sampled_arms if arm.role not in ("base", "ceiling")]
    first = list({arm.family.key: arm for arm in reversed(rest) if arm.role != "control"}.values())[::-1]
    others = [arm for arm in rest if arm not in first and (arm.role != "control" or len(rest) <= MAX_LINES)]
    return base + (first + others)[:MAX_LINES]


def _read_pass_curve(arm: Arm, key: str) -> dict[int, OptionalEstimate]:
    entries = arm.data.get(key)
    curve = {int(k): parse_estimate(entry) for k, entry in entries.items()} if isinstance(entries, Mapping) else {}
    return {k: curve[k] for k in sorted(curve) if curve[k].value is not None}


def _build_pass_plane(title: str, panel: ModelPanel, plotted_arms: Sequence[Arm], key: str) -> Plane:
    ks = sorted({k for arm in plotted_arms for k in _read_pass_curve(arm, key)})
    curves, colour_counts = [], dict[str, int]()
    guess_rates = panel.data.get("guesser")
    if key == "pass_at_k" and isinstance(guess_rates, Mapping):
        dots = [
            Dot(int(k), OptionalEstimate(read_finite_number(v)), svg.GREY, None)
            for k, v in sorted(guess_rates.items(), key=lambda g: int(g[0]))
        ]
        curves.append(
            PlaneCurve([dot for dot in dots if dot.x <= max(ks, default=0)], svg.GREY, "uniform guesser", "1 3")
        )
    for arm in plotted_arms:
        index = colour_counts[arm.family.colour] = colour_counts.get(arm.family.colour, -1) + 1
        curves.append(PlaneCurve(_build_curve_dots(arm, key), arm.family.colour, arm.name, _DASHES[min(index, 3)]))
    if not (key == "pass_at_k" and panel.checks_traces):
        bounds = [build_exact_curve(arm, max(ks, default=0)) for arm in plotted_arms if arm.role == "base"]
        curves += [curve for curve in bounds if curve is not None]
    rings = (
        [] if key != "pass_at_k" else [ring for arm in plotted_arms if (ring := _build_crossover_dot(arm)) is not None]
    )
    top = max(ks, default=1)
    high = scatter.choose_axis_maximum([dot.y_estimate for curve in curves for dot in curve.dots])
    return Plane(title, "k (samples)", (0.9, max(2, top) * 1.1), (0, high), curves, rings, x_ticks=ks or [1])


def _build_curve_dots(arm: Arm, key: str) -> list[Dot]:
    return [
        Dot(
            k,
            level,
            arm.family.colour,
            "circle" if arm.role == "base" else arm.family.shape,
            f"{arm.name}, {key.replace('pass_at_k', 'pass@k').replace('_', ' ')}, k = {k}: "
            f"{format_percent(level.value)} % "
            f"{format_interval(level)}, {format_sample_size(level)}",
            hollow=arm.role == "control",
            size=3.4,
            data={"arm": arm.name, "key": f"{key}.{k}", "value": repr(level.value)},
        )
        for k, level in _read_pass_curve(arm, key).items()
    ]


def _build_crossover_dot(arm: Arm) -> Dot | None:
    """The k from which on the base overtakes this arm."""
    k = read_finite_number(arm.data.get("crossover_k"))
    accuracy = None if k is None else _read_pass_curve(arm, "pass_at_k").get(int(k))
    if k is None or accuracy is None:
        return None
    data = {"arm": arm.name, "key": "crossover_k", "value": repr(k)}
    return Dot(
        k,
        OptionalEstimate(accuracy.value),
        "currentColor",
        "hollow",
        f"the base overtakes {arm.name} at k = {k:.0f}",
        size=9,
        data=data,
    )


def _describe_crossovers(plotted_arms: Sequence[Arm]) -> str:
    crossovers = [
        f"{arm.name} at k = {k:.0f}"
        for arm in plotted_arms
        if (k := read_finite_number(arm.data.get("crossover_k"))) is not None
    ]
    return f"<p class=note>The base overtakes {escape_html(', '.join(crossovers))}.</p>" if crossovers else ""


def render_pass_table(sampled_arms: Sequence[Arm]) -> str:
    """Every curve in figures."""
    ks = sorted({k for arm in sampled_arms for k in _read_pass_curve(arm, "pass_at_k")})
    rows = []
    for arm in sampled_arms:
        curve = _read_pass_curve(arm, "pass_at_k")
        rows.append(
            (arm, [tables.build_percent_cell(curve.get(k, OptionalEstimate(None)), f"pass_at_k.{k}") for k in ks])
        )
    columns = [TableColumn(f"pass@{k}", f"right within {k} samples, %") for k in ks]
    inner = tables.render_arm_table(columns, rows, caption=f"pass@k in percent; {DASH} where an arm has fewer samples.")
    return f"<details><summary>pass@k of all {len(sampled_arms)} sampled arms</summary>{inner}</details>"


def render_expansion(panel: ModelPanel) -> str:
    """Sharpening against expansion: a figure and a table; empty where nothing was sampled beside the base."""
    arms = [
        arm for arm in panel.arms if _get_sharpening(arm).value is not None or _get_expansion(arm).value is not None
    ]
    if not arms:
        return ""
    dots = [dot for arm in arms if (dot := _build_expansion_dot(arm)) is not None]
    picture = ""
    if dots:
        xs = [0.0, *(bound for dot in dots if dot.x_estimate for bound in dot.x_estimate[:3] if bound is not None)]
        ys = [0.0, *(bound for dot in dots for bound in dot.y_estimate[:3] if bound is not None)]
        room = 0.05 * (max(xs) - min(xs)) + 0.01
        expansion_plane = Plane(
            "problems that only the arm solves, %",
            "sharpening: points gained at pass@1",
            (min(xs) - room, max(xs) + room),
            (min(0.0, min(ys)) - 0.02, max(0.2, max(ys) + 0.03)),
            dots=dots,
            logarithmic=False,
            signed=True,
        )
        picture = scatter.render_planes(
            [expansion_plane], label=f"Sharpening against expansion on {panel.model}", minimum_height=200
        )
    return f"<figure>{picture}</figure>{_render_expansion_table(arms)}{render_draws_list(arms)}"


def _get_sharpening(arm: Arm) -> OptionalEstimate:
    return arm.read_difference("sharpening").estimate


def _get_expansion(arm: Arm) -> OptionalEstimate:
    return arm.read_estimate("expansion", "solved_only_by_arm")


def _build_expansion_dot(arm: Arm) -> Dot | None:
    sharpening, new = _get_sharpening(arm), _get_expansion(arm)
    if sharpening.value is None or new.value is None:
        return None
    control = arm.role == "control"
    return Dot(
        sharpening.value,
        new,
        svg.GREY if control else arm.family.colour,
        arm.family.shape,
        f"{arm.name}: {format_percent(sharpening.value, signed=True)} points at pass@1, {format_percent(new.value)} "
        "% only by the arm",
        arm.name,
        hollow=control,
        data={"arm": arm.name, "key": "expansion.solved_only_by_arm", "value": repr(new.value)},
        x_estimate=sharpening,
    )


def _render_expansion_table(arms: Sequence[Arm]) -> str:
    columns = [
        TableColumn("sharpening, points", "pass@1 of the arm minus the base's, paired over the sampled problems"),
        TableColumn("base samples K", "how often the base tried"),
        TableColumn("only the arm %", "solved by the arm, never by the base in K samples"),
        TableColumn(
            "draws the base needs", "on average, at most: from its exact probability of the worked solution of these"
        ),
        TableColumn("only the base %", "solved by the base in K samples, never by the arm"),
        TableColumn("base overtakes at k", "where the base's pass@k exceeds the arm's"),
        TableColumn("traces", "whether a solution counts only with a valid trace"),
    ]
    rows = []
    for arm in arms:
        sharpening = arm.read_difference("sharpening")
        k, crossover = (
            read_finite_number(get_nested(arm.data, "expansion", "k")),
            read_finite_number(arm.data.get("crossover_k")),
        )
        traces_checked = get_nested(arm.data, "expansion", "valid_trace")
        title = (
            f"{format_sample_size(sharpening.estimate)}; {sharpening.test}; seeds "
            f"{' against '.join(map(str, sharpening.seeds))}"
        )
        cells = [
            TableCell(
                format_percent(sharpening.estimate.value, signed=True),
                format_interval(sharpening.estimate, signed=True),
                "sharpening",
                sharpening.estimate.value,
                title,
            ),
            TableCell(DASH if k is None else f"{k:.0f}", "", "expansion.k", k),
            tables.build_percent_cell(_get_expansion(arm), "expansion.solved_only_by_arm"),
            build_draws_cell(arm),
            tables.build_percent_cell(
                arm.read_estimate("expansion", "solved_only_by_base"), "expansion.solved_only_by_base"
            ),
            TableCell(
                "never" if crossover is None and k is not None else DASH if crossover is None else f"{crossover:.0f}",
                "",
                "crossover_k",
                crossover,
            ),
            TableCell(
                {True: "valid only", False: "not checked"}.get(traces_checked, DASH)
                if isinstance(traces_checked, bool)
                else DASH
            ),
        ]
        rows.append((arm, cells))
    caption = (
        "Sharpening: what the arm gains at the first sample. Expansion: problems it solves that the base never solved "
        "in K samples, K being the same for both; beside it the converse, for two draws of one model differ too. 95 % "
        "intervals; n is the number of sampled problems."
    )
    return tables.render_arm_table(columns, rows, caption=caption)
