// The panel in a notebook (anywidget): controls, and a comparison that is computed as they move.

const WAIT = 150; // milliseconds without a change before the newest setting is sent

/** One per panel, whatever the number of its views: what is wanted, what was asked, what came back. */
function startChannel(model) {
  const answer = JSON.parse(model.get("_shown"));
  const channel = { wanted: answer.setting, answer, waiting: false, views: new Set() };
  let asked = null, request = "", timer = 0, counter = 0;
  const tell = () => channel.views.forEach((draw) => draw());
  const send = () => {
    if (asked !== null) return; // the newest setting goes out when the answer is in
    asked = channel.wanted;
    request = `${Date.now()}-${counter++}`;
    model.set("_asked", JSON.stringify({ ...asked, request }));
    model.save_changes();
  };
  channel.change = (fields) => {
    channel.wanted = { ...channel.wanted, ...fields };
    channel.waiting = true;
    clearTimeout(timer);
    timer = setTimeout(send, WAIT);
    tell();
  };
  model.on("change:_shown", () => {
    channel.answer = JSON.parse(model.get("_shown"));
    const mine = channel.answer.request === request;
    const newer = mine && asked !== channel.wanted;
    if (mine) asked = null;
    if (channel.answer.request === null && asked === null) channel.wanted = channel.answer.setting; // moved from Python
    channel.waiting = newer || asked !== null;
    if (newer) send();
    tell();
  });
  return channel;
}

const field = (name, ...children) => el("label", { className: "field" }, el("span", {}, name), ...children);

/** A number box that says so when what stands in it is no number. */
function numberBox(name, attributes, changed) {
  const box = el("input", { type: "number", ...attributes, "aria-label": name });
  box.addEventListener("input", () => {
    const fine = box.value !== "" && box.checkValidity();
    box.classList.toggle("bad", !fine);
    if (fine) changed(Number(box.value));
  });
  return box;
}

/** Write a control's value, but not under the fingers of somebody who is typing in it. */
function put(control, value) {
  const root = control.getRootNode();
  if (root.activeElement !== control || control.type === "range") control.value = value;
}

/** The table of features: words to search, a score to sort by, rows to choose with mouse or arrow keys. */
function drawFeatures(channel, saeOf) {
  const search = el("input", { type: "search", placeholder: "words, token or number", "aria-label": "search features" });
  const sort = el("select", { "aria-label": "sort features by" });
  const rows = el("tbody"), head = el("thead"), note = el("p", { className: "legend" });
  const box = el("div", { className: "features", tabIndex: 0, role: "group", "aria-label": "features; arrow keys and Enter choose one" },
    el("table", {}, head, rows));
  let table = null, found = [], at = -1;

  const choose = (i) => found[i] && channel.change({ feature: found[i][0] });
  const fill = () => {
    const words = search.value.trim().toLowerCase();
    const column = table.scores.indexOf(sort.value) + 2;
    found = table.rows.filter(([feature, text]) => words === "" || String(feature) === words || text.toLowerCase().includes(words));
    if (column >= 2) found.sort((a, b) => (b[column] ?? -Infinity) - (a[column] ?? -Infinity));
    const most = 200;
    rows.replaceChildren(...found.slice(0, most).map(([feature, text, ...scores], i) => {
      const row = el("tr", {}, el("td", {}, String(feature)), el("td", { className: "words" }, plain(text)), ...scores.map((score) => el("td", {}, short(score))));
      row.addEventListener("click", () => choose(i));
      return row;
    }));
    const cut = found.length > most ? `; the first ${most} are listed` : "";
    const out = table.total > table.rows.length ? ` The ${table.rows.length} largest of ${table.total} are here; any number can be typed.` : "";
    note.textContent = `${found.length} feature${found.length === 1 ? "" : "s"}${cut}.${out}`;
    at = -1;
    mark();
  };
  const mark = () => [...rows.rows].forEach((row, i) => {
    row.classList.toggle("at", i === at);
    row.toggleAttribute("data-chosen", found[i][0] === channel.wanted.feature);
  });
  const keys = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined && event.key !== "Enter") return;
    event.preventDefault();
    if (event.key === "Enter") return choose(at >= 0 ? at : 0);
    at = Math.max(0, Math.min(rows.rows.length - 1, at + step));
    rows.rows[at]?.scrollIntoView({ block: "nearest" });
    mark();
  };
  for (const part of [search, box]) part.addEventListener("keydown", keys);
  search.addEventListener("input", fill);
  sort.addEventListener("change", fill);

  const bar = el("div", { className: "row" }, field("search features", search), field("sorted by", sort), note);
  const root = el("div", { className: "finder" }, bar, box);
  const draw = () => {
    const now = saeOf().table;
    root.hidden = !now;
    if (!now || now === table) return now && mark();
    table = now;
    sort.replaceChildren(...table.scores.map((name) => el("option", { value: name }, plain(name))));
    sort.value = table.sort;
    head.replaceChildren(el("tr", {}, ...["feature", "words", ...table.scores].map((name) => el("th", {}, plain(name)))));
    return fill();
  };
  return { root, draw };
}

/** Everything above the comparison. */
function drawControls(setup, channel) {
  const { change } = channel;
  const saeOf = () => setup.saes[channel.wanted.sae];
  const [low, high] = setup.strengths;
  const sae = el("select", { "aria-label": "SAE" }, ...setup.saes.map((one, i) => el("option", { value: i }, `${plain(one.name)} (layer ${one.layer})`)));
  sae.addEventListener("change", () => change({ sae: Number(sae.value), feature: Math.min(channel.wanted.feature, setup.saes[sae.value].features - 1) }));
  const feature = numberBox("feature", { min: 0, step: 1 }, (value) => change({ feature: value }));
  const mode = el("select", { "aria-label": "mode" }, ...["add", "clamp", "scale", "ablate"].map((name) => el("option", {}, name)));
  mode.addEventListener("change", () => change({ mode: mode.value }));

  const slider = el("input", { type: "range", min: low, max: high, step: 0.05, "aria-label": "strength" });
  slider.addEventListener("input", () => change({ strength: Number(slider.value) }));
  const strength = numberBox("strength, exact", { step: "any" }, (value) => change({ strength: value }));
  const amount = el("output", { className: "amount" });

  const form = el("select", { "aria-label": "positions" }, ...["first", "first:k", "decay:k", "generated", "prompt", "all"].map((name) => el("option", {}, name)));
  const k = numberBox("k", { min: 1, max: 999999, step: 1, value: 8 }, () => place());
  const place = () => change({ positions: form.value.replace(/k$/, k.value) });
  form.addEventListener("change", place);

  const seed = numberBox("seed", { min: 0, step: 1 }, (value) => change({ seed: value }));
  const temperature = numberBox("temperature", { min: 0, step: 0.1 }, (value) => change({ temperature: value }));
  const given = el("select", { "aria-label": "prompts" }, el("option", { value: "given" }, plain(setup.given)), el("option", { value: "own" }, "your own"));
  const prompt = el("textarea", { rows: 2, spellcheck: false, "aria-label": "your own prompt" });
  prompt.value = setup.prompts[0];
  given.addEventListener("change", () => change({ prompt: given.value === "own" ? prompt.value : null }));
  prompt.addEventListener("input", () => change({ prompt: prompt.value }));

  const features = drawFeatures(channel, saeOf);
  const kField = field("k", k), promptField = field("your own prompt", prompt);
  promptField.classList.add("wide");
  const strengthField = el("div", { className: "field full" }, el("span", {}, "strength"), el("div", { className: "row tight" }, slider, strength, amount));
  const root = el("div", { className: "controls" },
    setup.saes.length > 1 ? field("SAE", sae) : null, field("feature", feature), field("mode", mode), field("positions", form), kField,
    field("seed", seed), field("temperature", temperature), field("prompts", given), promptField, strengthField, features.root);

  const draw = () => {
    const now = channel.wanted, one = saeOf();
    put(sae, now.sae);
    put(feature, now.feature);
    feature.max = one.features - 1;
    feature.title = `0 to ${one.features - 1}`;
    put(mode, now.mode);
    for (const option of mode.options) option.disabled = option.value !== "add" && !one.linear;
    mode.title = one.linear ? "" : "this SAE normalises every token by itself: its features can be added, not set";
    put(slider, now.strength);
    put(strength, now.strength);
    slider.disabled = strength.disabled = now.mode === "ablate";
    const { setting: told, unit = null } = channel.answer;
    const known = unit && told.mode === now.mode && told.sae === now.sae && (now.mode !== "clamp" || told.feature === now.feature);
    const absolute = known ? short(now.strength * unit.size) : "…";
    amount.textContent = {
      add: `residual norms (adds ${absolute})`,
      clamp: `${known ? unit.words : "units"} (sets to ${absolute})`,
      scale: "× its own value",
      ablate: "taken out whole",
    }[now.mode];
    const [, name, count] = /^(first|decay):(\d+)$/.exec(now.positions) ?? [];
    put(form, name ? `${name}:k` : now.positions);
    if (count) put(k, count);
    kField.hidden = !name;
    put(seed, now.seed);
    put(temperature, now.temperature);
    put(given, now.prompt === null ? "given" : "own");
    promptField.hidden = now.prompt === null;
    if (now.prompt !== null) put(prompt, now.prompt);
    features.draw();
  };
  return { root, draw };
}

const channels = new WeakMap();

function render({ model, el: host }) {
  if (!channels.has(model)) channels.set(model, startChannel(model));
  const channel = channels.get(model);
  const setup = JSON.parse(model.get("_setup"));
  const controls = drawControls(setup, channel);
  const state = el("p", { className: "state", role: "status" });
  const trouble = el("p", { className: "trouble", role: "alert" });
  const edits = el("p", { className: "edits" });
  const view = el("div", { className: "view" });
  const only = setup.saes.length === 1 ? `, SAE ${plain(setup.saes[0].name)} after layer ${setup.saes[0].layer}` : "";
  const title = el("div", { className: "title" }, el("span", {}, el("b", {}, `Steering ${plain(setup.model)}`), only), state);
  const root = el("div", { className: "elicit-panel framed" }, title, controls.root, trouble, edits, view);
  keepKeys(root);
  let drawn = null;
  const draw = () => {
    const { answer, waiting } = channel;
    controls.draw();
    state.textContent = waiting ? "computing…" : "";
    trouble.textContent = !waiting && answer.error ? plain(answer.error) : "";
    trouble.hidden = trouble.textContent === "";
    root.classList.toggle("stale", waiting || Boolean(answer.error));
    root.setAttribute("aria-busy", String(waiting));
    if (answer.view && answer !== drawn) {
      drawn = answer;
      edits.replaceChildren(...answer.view.edits.map((edit) => plain(edit)));
      drawComparison(view, answer.view);
    }
  };
  host.append(root);
  const stopTheme = followTheme(root);
  channel.views.add(draw);
  draw();
  return () => { channel.views.delete(draw); stopTheme(); };
}

export default { render };
