// Static pages: the slider chooses among comparisons that were computed beforehand.

function startGrid(root) {
  const grid = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const view = el("div", { className: "view" });
  const label = el("output", { className: "amount" });
  const slider = el("input", { type: "range", min: 0, step: 1, "aria-label": "strength" });
  const choice = el("select", { "aria-label": "edit" }, ...grid.series.map((series) => el("option", {}, plain(series.label))));
  const ticks = el("div", { className: "ticks", "aria-hidden": "true" });
  const points = () => grid.series[choice.selectedIndex].points;

  const show = () => {
    const { strength, absolute, view: result } = points()[slider.value];
    const unit = grid.series[choice.selectedIndex].unit;
    label.textContent = `${short(strength)} ${unit}${unit === "×" ? "" : ` (absolute ${short(absolute)})`}`;
    slider.setAttribute("aria-valuetext", label.textContent);
    drawComparison(view, result);
  };
  const tick = ({ strength, view: { right, pairs } }) => el("span", {}, short(strength),
    right.steered === null ? null : el("small", {}, `${right.steered}/${pairs.length}`));
  let wanted = grid.start;
  const choose = () => {
    slider.max = points().length - 1;
    slider.disabled = points().length === 1;
    ticks.replaceChildren(...points().map(tick));
    const same = points().findIndex((point) => point.strength === wanted);
    slider.value = same >= 0 ? same : points().length - 1;
    show();
  };
  slider.addEventListener("input", () => { wanted = points()[slider.value].strength; show(); });
  choice.addEventListener("change", choose);
  const field = (name, ...children) => el("label", { className: "field" }, el("span", {}, name), ...children);
  root.replaceChildren(
    el("div", { className: "controls" },
      grid.series.length > 1 ? field("edit", choice) : el("div", { className: "field" }, el("span", {}, "edit"), el("b", {}, plain(grid.series[0].label))),
      el("label", { className: "field wide" }, el("span", {}, "strength"), el("div", { className: "stack" }, slider, ticks)),
      label),
    view);
  followTheme(root);
  keepKeys(root);
  choose();
}

for (const root of document.querySelectorAll("[data-elicit-grid]:not([data-drawn])")) {
  root.dataset.drawn = "";
  startGrid(root);
}
