// Draws a comparison: prompts, the unsteered and the steered text side by side, what steering did to every token.
// Shared by the notebook panel (widget.js) and by static pages (static.js). Texts become text nodes, never markup.

/** An element: properties set as they are, children appended (strings become text nodes). */
function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") node.setAttribute(name, value);
    else if (value !== undefined) node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// Control, format and surrogate characters, separators and fillers: they cannot be seen, or reorder their neighbours.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\u034f\u115f\u1160]/u;
const hexOf = (character) => "U+" + character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");

/** Nodes of a text: unseen characters stand out as U+202E, a line break as ⏎ (and breaks the line where asked). */
function shown(text, { breaks = true } = {}) {
  const nodes = [];
  let plain = "";
  const flush = () => plain && nodes.push(plain) && (plain = "");
  for (const character of text) {
    if (character === "\t" || !UNSEEN.test(character)) { plain += character; continue; }
    flush();
    nodes.push(el("span", { className: "unseen" }, character === "\n" ? "⏎" : hexOf(character)));
    if (character === "\n" && breaks) nodes.push("\n");
  }
  flush();
  return nodes;
}

/** The same as a string on one line, for titles and lists. */
const plain = (text) => [...text].map((c) => (c === "\n" ? "⏎" : UNSEEN.test(c) ? `<${hexOf(c)}>` : c)).join("");
const quoted = (text) => `‘${plain(text)}’`;

/** Three significant digits, no trailing zeros. Unknown is a dash, never 0. */
function short(value) {
  if (value === null || value === undefined) return "–";
  return value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(0) : String(Number(value.toPrecision(3)));
}

/** Colour strength of a KL in nats: logarithmic, full at 8 nats. */
const heat = (kl) => Math.min(1, Math.log1p(kl) / Math.log1p(8));

/** One token as a span; what is known of it is in its title and, under the pointer or arrow keys, in the readout. */
function drawToken(token, number) {
  const span = el("span", { className: "token" });
  span.append(...(token.text === "" ? [el("span", { className: "unseen" }, "part")] : shown(token.text)));
  for (const mark of ["special", "changed", "beyond"]) if (token[mark]) span.classList.add(mark);
  if (token.kl !== undefined && token.kl !== null) span.style.setProperty("--heat", heat(token.kl).toFixed(3));
  span.title = describe(token, number);
  return span;
}

function describe(token, number) {
  const parts = [`token ${number} ${quoted(token.text)}`];
  if (token.special) parts[0] = `token ${number}, end mark ${quoted(token.text)}`;
  if (token.kl !== undefined) {
    parts.push(`KL ${short(token.kl)} nats`, `probability ${short(token.p_steered)} steered, ${short(token.p_base)} base`);
    parts.push(`base’s first choice ${quoted(token.rival)} (${short(token.p_rival)})`);
  }
  if (token.changed) parts.push("not on the other side");
  if (token.beyond) parts.push("after the stop string");
  return parts.join(" · ");
}

/** The tokens of one side. One stop for the keyboard; arrow keys move through the tokens. */
function drawTokens(side, name, say) {
  const spans = side.tokens.map((token, i) => drawToken(token, i + 1));
  const box = el("div", { className: "tokens", tabIndex: 0, role: "group",
    "aria-label": `${name} completion; arrow keys move through its tokens` }, ...spans);
  let at = -1;
  const go = (to) => {
    if (at >= 0) spans[at].classList.remove("at");
    at = Math.max(0, Math.min(spans.length - 1, to));
    spans[at].classList.add("at");
    say(`${name}, ${spans[at].title}`);
  };
  box.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    go(at + step);
  });
  box.addEventListener("blur", () => { if (at >= 0) spans[at].classList.remove("at"); at = -1; });
  box.addEventListener("mouseover", (event) => {
    const span = event.target.closest(".token");
    if (span) say(`${name}, ${span.title}`);
  });
  return box;
}

function drawSide(side, name, say) {
  const facts = [];
  if (side.verdict) {
    const right = side.verdict.correct;
    facts.push(el("span", { className: right ? "right" : "wrong" }, right ? "✓ right" : "✗ wrong"));
    const trace = side.verdict.trace_valid === false ? "trace with an error" : side.verdict.trace_valid ? "valid trace" : "trace";
    facts.push(side.verdict.has_trace ? trace : "no trace");
  }
  const count = side.tokens.length;
  facts.push(`${count} token${count === 1 ? "" : "s"}${side.finish === "length" ? ", cut at the limit" : ""}`);
  if (name === "steered") {
    const known = side.tokens.map((token) => token.kl).filter((kl) => kl !== null && kl !== undefined);
    if (known.length) facts.push(`mean KL ${short(known.reduce((a, b) => a + b, 0) / known.length)}`);
    facts.push(`${side.firings} firing${side.firings === 1 ? "" : "s"}`);
  }
  const line = el("div", { className: "facts" });
  facts.forEach((fact, i) => line.append(...(i ? [" · "] : []), fact));
  return el("div", { className: "side" }, el("div", { className: "which" }, name), drawTokens(side, name, say), line);
}

function tally(view) {
  const n = view.pairs.length;
  const parts = [];
  if (view.right.base !== null) {
    const traces = (side) => view.pairs.filter((pair) => pair[side].verdict.has_trace).length;
    parts.push(el("b", {}, `right: base ${view.right.base}, steered ${view.right.steered} of ${n}`));
    parts.push(`traces: ${traces("base")}, ${traces("steered")}`);
  }
  parts.push(`KL(steered‖base) ${short(view.mean_kl)} nats a token`, `${view.firings} firings`);
  parts.push(view.temperature === 0 ? "greedy" : `T ${short(view.temperature)}, seed ${view.seed}`);
  const line = el("p", { className: "tally" });
  parts.forEach((part, i) => line.append(...(i ? [" · "] : []), part));
  return line;
}

function drawLegend() {
  const swatch = (kl) => {
    const box = el("span", { className: "token" }, kl === 0 ? "0" : String(kl));
    box.style.setProperty("--heat", heat(kl).toFixed(3));
    return box;
  };
  return el("p", { className: "legend" }, "KL at a token, nats: ", ...[0, 0.3, 1, 3, 8].map(swatch),
    el("span", { className: "token changed" }, "underlined"), " not on the other side");
}

/** The whole comparison, into `host`. */
function drawComparison(host, view) {
  const readout = el("p", { className: "readout", role: "status" }, "Point at a token, or move to one with the arrow keys.");
  const say = (words) => { readout.textContent = words; };
  const rows = view.pairs.map((pair) => el("div", { className: "pair" },
    el("div", { className: "prompt" }, ...shown(pair.prompt)), drawSide(pair.base, "base", say), drawSide(pair.steered, "steered", say)));
  const heads = el("div", { className: "pair heads", "aria-hidden": "true" }, el("div", {}, "prompt"), el("div", {}, "base"), el("div", {}, "steered"));
  host.replaceChildren(tally(view), heads, ...rows, readout, drawLegend());
}

/** Light or dark, by the colour that text has where the panel stands: hosts name their themes in many ways. */
function followTheme(root) {
  const look = () => {
    const [r, g, b] = (getComputedStyle(root.parentElement ?? root).color.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
    root.dataset.theme = 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "dark" : "light";
  };
  const observer = new MutationObserver(() => requestAnimationFrame(look));
  for (const node of [document.documentElement, document.body]) observer.observe(node, { attributes: true });
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", look);
  look();
  requestAnimationFrame(look);
  return () => { observer.disconnect(); media.removeEventListener("change", look); };
}

/** Plain keys belong to the panel while it has the focus, not to a notebook's command mode, which would take arrows for
 * moves between cells and letters for orders. Chords (Ctrl+S) go through. */
function keepKeys(root) {
  root.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
  });
}
