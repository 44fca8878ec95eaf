// Sorting tables, opening what a link leads to, saving figures, and printing. Unknown values stay at the end of a sort.
document.documentElement.classList.add("js");
const value = cell => { const v = cell.dataset.value; return v === undefined ? null : isNaN(v) ? v : Number(v); };
for (const table of document.querySelectorAll("table.figures")) {
  const heads = [...table.querySelectorAll("thead th")];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") === "descending" || (column === 0 && !head.hasAttribute("aria-sort"));
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    table.classList.add("sorted");
    const body = table.tBodies[0], rows = [...body.rows].filter(row => row.cells.length > column && row.dataset.arm)
      .map(row => [value(row.cells[column]), row]);
    rows.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null)
      : (up ? 1 : -1) * (a < b ? -1 : a > b ? 1 : 0));
    body.append(...rows.map(([, row]) => row));
  }));
}

// A link into a folded part opens it, and every part around it.
const unfold = () => {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (!target) return;
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  const part = target.querySelector(":scope > details.part");
  if (part) part.open = true;
  target.scrollIntoView();
};
addEventListener("hashchange", unfold);
document.querySelectorAll('a[href^="#"]').forEach(link => link.addEventListener("click", () => {
  if (link.hash === location.hash) unfold();
}));
unfold();
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => { d.open = true; }));

// A figure as a file of its own: the pictures that are seen now, placed as they are on the page, in its colours.
const SVG = "http://www.w3.org/2000/svg";
const draw = figure => {
  const seen = [...figure.querySelectorAll("svg")].filter(svg => svg.getClientRects().length);
  const boxes = seen.map(svg => svg.getBoundingClientRect());
  const left = Math.min(...boxes.map(box => box.left)), top = Math.min(...boxes.map(box => box.top));
  const width = Math.max(...boxes.map(box => box.right)) - left, height = Math.max(...boxes.map(box => box.bottom)) - top;
  const page = getComputedStyle(document.body), margin = 16, picture = document.createElementNS(SVG, "svg");
  const set = (element, values) => Object.entries(values).forEach(([name, text]) => element.setAttribute(name, text));
  set(picture, { viewBox: `${-margin} ${-margin} ${width + 2 * margin} ${height + 2 * margin}`,
    width: width + 2 * margin, height: height + 2 * margin, color: page.color, "font-family": page.fontFamily });
  const paper = document.createElementNS(SVG, "rect");
  set(paper, { x: -margin, y: -margin, width: width + 2 * margin, height: height + 2 * margin, fill: page.backgroundColor });
  picture.append(paper);
  seen.forEach((svg, i) => {
    const copy = svg.cloneNode(true);
    set(copy, { x: boxes[i].left - left, y: boxes[i].top - top, width: boxes[i].width, height: boxes[i].height });
    picture.append(copy);
  });
  return { text: new XMLSerializer().serializeToString(picture), width: width + 2 * margin, height: height + 2 * margin };
};
const save = (url, name) => { const link = document.createElement("a"); link.href = url; link.download = name; link.click(); };
const nameOf = figure => [document.title, figure.closest("section")?.id, figure.closest("[data-model]")?.dataset.model]
  .filter(Boolean).join("-").replace(/[^\w.-]+/g, "-");
const asUrl = text => "data:image/svg+xml;charset=utf-8," + encodeURIComponent(text);
const saveSvg = figure => save(asUrl('<?xml version="1.0" encoding="UTF-8"?>\n' + draw(figure).text), `${nameOf(figure)}.svg`);
const savePng = figure => {
  const { text, width, height } = draw(figure), image = new Image(), scale = 2;
  image.onload = () => {
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(scale * width);
    canvas.height = Math.round(scale * height);
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    save(canvas.toDataURL("image/png"), `${nameOf(figure)}.png`);
  };
  image.src = asUrl(text);
};
for (const figure of document.querySelectorAll("figure, div.charts")) {
  if (!figure.querySelector("svg") || figure.parentElement.closest("figure, div.charts")) continue;
  const row = document.createElement("p");
  row.className = "save";
  for (const [label, action] of [["Save as SVG", saveSvg], ["Save as PNG", savePng]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", () => action(figure));
    row.append(button, " ");
  }
  figure.after(row);
}
