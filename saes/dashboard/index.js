"use strict";
// Search and sorting. Unknown values stay at the end, whichever way. The state is kept behind the # of the address,
// so that coming back from a feature's page shows what was left.
const table = document.getElementById("features"), body = table.tBodies[0], box = document.getElementById("q");
const heads = [...table.tHead.rows[0].cells], rows = [...body.rows];
const place = document.getElementById("in");
const entries = JSON.parse(document.getElementById("data").textContent)
  .map(([number, ...texts], i) => ({number: String(number), texts: [texts.join("\n"), ...texts], row: rows[i]}));
const state = {column: -1, up: false};
document.documentElement.classList.add("js");
document.getElementById("tools").hidden = false;

const value = (row, column) => {
  const v = row.cells[column].dataset.v;
  return v === undefined || v === "" || v === "–" ? null : v;
};
const numeric = heads.map((_, column) => rows.every(row => { const v = value(row, column); return v === null || !isNaN(v); }));

function sort(column, up) {
  Object.assign(state, {column, up});
  const keyed = rows.map((row, i) => { const v = value(row, column); return [v !== null && numeric[column] ? Number(v) : v, i, row]; });
  keyed.sort(([a, i], [b, j]) => a === null || b === null ? (a === null) - (b === null) || i - j
    : (up ? 1 : -1) * (a < b ? -1 : a > b ? 1 : 0) || i - j);
  heads.forEach((head, k) => k === column ? head.setAttribute("aria-sort", up ? "ascending" : "descending") : head.removeAttribute("aria-sort"));
  body.append(...keyed.map(([, , row]) => row));
}

function search(given) {
  const wanted = given.toLowerCase().replace(/\n/g, "⏎").replace(/␣/g, " ");
  const only = wanted.trim().startsWith("#"), number = place.selectedIndex > 0 ? "" : wanted.trim().replace(/^#/, "");
  let shown = 0;
  for (const entry of entries) {
    const found = wanted === "" || entry.number === number || (!only && entry.texts[place.selectedIndex].includes(wanted));
    entry.row.hidden = !found;
    shown += found;
    if (found && wanted !== "" && entry.number === number) body.prepend(entry.row);
  }
  document.getElementById("count").textContent = `${shown.toLocaleString("en")} of ${entries.length.toLocaleString("en")} features`;
}

function remember() {
  const parts = new URLSearchParams();
  if (box.value) parts.set("q", box.value);
  if (place.selectedIndex > 0) parts.set("in", place.value);
  if (state.column >= 0) parts.set("sort", `${state.column}${state.up ? "up" : "down"}`);
  history.replaceState(null, "", `#${parts}`);
}

heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
  const first = !head.hasAttribute("aria-sort");
  sort(column, first ? !numeric[column] || column === 0 : !state.up);
  search(box.value);
  remember();
}));
for (const [field, kind] of [[box, "input"], [place, "change"]]) field.addEventListener(kind, () => {
  if (state.column >= 0) sort(state.column, state.up); else body.append(...rows);
  search(box.value);
  remember();
});
addEventListener("keydown", event => {
  if (event.key === "/" && document.activeElement !== box) { event.preventDefault(); box.focus(); }
  if (event.key === "Escape" && document.activeElement === box) { box.value = ""; box.dispatchEvent(new Event("input")); }
});

const kept = new URLSearchParams(location.hash.slice(1));
const order = /^(\d+)(up|down)$/.exec(kept.get("sort") || "");
if (order && Number(order[1]) < heads.length) sort(Number(order[1]), order[2] === "up");
box.value = kept.get("q") || "";
place.selectedIndex = Math.max(0, [...place.options].findIndex(option => option.text === kept.get("in")));
search(box.value);
