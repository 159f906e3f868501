"use strict";
// Draws the swimlanes. The data (see html_data.py for its shape) says what there is; this file only places it.
// Every text is set as a text node: nothing in the data can become markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const S = data.strings;
  const NARROW = 600; // px; below it the page is on a phone
  let GUTTER = 128; // of the names, smaller on a phone
  const RIGHT = 14, BAND = 30, HALF = 23, STRIP = 18, ROW = 19, LINE = 12, THIN = 20, AXIS = 40;
  // Locks drawn as bands of their own: with more, the lanes would begin below the first screen.
  const MAX_BANDS = 8;
  // Moments with a mark of their own per lane: more of them lie on top of each other on any screen; the rest are ticks.
  const MAX_FLAGS = 150;
  const MAX_ARROWS = 150; // more arrows make a grey area; zooming in brings them back
  const MAX_CAUSES = 8; // dashed lines from failed waits to the owner; with more of them only their tips are strong
  const OWNER = ["#e69f00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#f0e442", "#6e4a00"]; // by a lane's colour
  const OWNER_INK = ["#000", "#fff", "#000", "#000", "#000", "#000", "#fff"];
  const $ = (id) => document.getElementById(id);
  const NS = "http" + "://www.w3.org/2000/svg"; // a name, not an address
  const el = (name, attributes, parent, text) => {
    const node = document.createElementNS(NS, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.appendChild(node);
    return node;
  };
  const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
  const seconds = (t, digits) => `${t.toFixed(digits).replace(/^-(0\.?0*)$/, "$1")} s`;
  const length = (s) => s >= 120 ? `${(s / 60).toFixed(1)} min` : s >= 10 ? `${s.toFixed(0)} s`
    : s >= 1 ? `${s.toFixed(1)} s` : s >= 1e-3 ? `${(s * 1e3).toFixed(s < 0.01 ? 1 : 0)} ms` : `${(s * 1e6).toFixed(0)} µs`;
  const lower = (sorted, value) => { // first index whose value is not below
    let low = 0, high = sorted.length;
    while (low < high) { const mid = (low + high) >> 1; if (sorted[mid] < value) low = mid + 1; else high = mid; }
    return low;
  };

  // ------------------------------------------------------------------ data
  const runs = data.runs.map((run, number) => {
    const flat = run.records, offset = [], times = [];
    for (let at = 0, t = 0; at < flat.length; at += 4 + data.shapes[flat[at + 2]][2].length) {
      t += flat[at];
      offset.push(at);
      times.push(t / 1e6);
    }
    const inBar = new Uint8Array(offset.length), witness = new Uint8Array(offset.length);
    for (const bar of run.bars) { inBar[bar[3]] = 1; if (bar[4] >= 0) inBar[bar[4]] = 1; }
    for (const check of run.checks) if (check[1] === "VIOLATED") for (const at of check[3]) witness[at] = 1;
    return { ...run, number, offset, times: Float64Array.from(times), inBar, witness, count: offset.length,
      lane: (at) => flat[offset[at] + 1], shape: (at) => data.shapes[flat[offset[at] + 2]],
      text: (at) => S[flat[offset[at] + 3]],
      value: (at, n) => S[flat[offset[at] + 4 + n]] };
  });
  const lastTime = (run) => run.count ? run.times[run.count - 1] : 0;

  // ------------------------------------------------------------------ time axis
  // Folded: each step gets a floor, each stretch the square root of its length on top (AXIS_FLOOR in html_data.py).
  const moments = Float64Array.from(new Set(runs.flatMap((run) => Array.from(run.times)))).sort();
  const places = new Float64Array(moments.length);
  for (let n = 1; n < moments.length; n++) places[n] = places[n - 1] + data.floor + Math.sqrt(moments[n] - moments[n - 1]);
  let folded = true;
  const between = (from, to, value) => {
    if (from.length < 2) return from.length ? to[0] + value - from[0] : value;
    const n = clamp(lower(from, value), 1, from.length - 1);
    return to[n - 1] + (value - from[n - 1]) / (from[n] - from[n - 1]) * (to[n] - to[n - 1]);
  };
  const placeOf = (t) => folded ? between(moments, places, t) : t;
  const timeOf = (x) => folded ? between(places, moments, x) : x;
  const first = moments.length ? moments[0] : 0, last = moments.length ? moments[moments.length - 1] : 1;
  const told = runs.filter((run) => run.count);
  const story = told.length ? [Math.min(...told.map((run) => run.times[run.span[0]])),
    Math.max(...told.map((run) => run.times[run.span[1]]))] : [0, 1];

  let view = [0, 1], whole = false, width = 800;
  const px = (t) => GUTTER + (placeOf(t) - view[0]) / (view[1] - view[0]) * (width - GUTTER - RIGHT);
  const timeAt = (x) => timeOf(view[0] + (x - GUTTER) / (width - GUTTER - RIGHT) * (view[1] - view[0]));
  const show = (from, to, margin = 0.02) => {
    const a = placeOf(from), b = Math.max(placeOf(to), placeOf(from) + 1e-9), more = (b - a) * margin + (folded ? 0.05 : 1e-5);
    view = [a - more, b + more];
    draw();
  };
  // As wide as on a screen of READABLE px: on a phone that is a part of the story, the one with the first proof.
  const READABLE = 720;
  function begin() {
    showAll();
    if (width >= NARROW) return;
    const span = (view[1] - view[0]) * (width - GUTTER) / (READABLE - 128);
    const proofs = runs.flatMap((run) => Array.from(run.times).filter((_, at) => run.witness[at]));
    const end = clamp(placeOf(proofs.length ? Math.min(...proofs) : story[0]) + span / 3, view[0] + span, view[1]);
    view = [end - span, end];
  }
  const showAll = () => { whole = false; show(...story, 0.025); };

  // ------------------------------------------------------------------ choice
  let chosen = null; // {run, check, hits: Set} or {run, at}
  let matches = null; // per run: Uint8Array
  const hits = (run, at) => chosen && chosen.check !== undefined && chosen.run === run.number && chosen.hits.has(at);

  function choose(run, check) {
    const positions = runs[run].checks[check][3];
    chosen = { run, check, hits: new Set(positions) };
    document.querySelectorAll(".findings li").forEach((item) => item.classList.remove("chosen"));
    const name = encodeURIComponent(runs[run].checks[check][0]);
    for (const link of document.querySelectorAll("a.finding"))
      if (link.getAttribute("href") === hashOf(run, "finding", name)) link.parentElement.classList.add("chosen");
    say(`${runs[run].checks[check][0]}: ${runs[run].checks[check][2]} (${positions.length} steps prove it)`);
    const times = positions.map((at) => runs[run].times[at]);
    if (times.length) {
      // What led to the first witness belongs to the proof: where its bar began, else a little before.
      const began = runs[run].bars.filter((bar) => positions.includes(bar[4])).map((bar) => runs[run].times[bar[3]]);
      show(Math.min(...times, ...began), Math.max(...times), 0.06);
    } else draw();
    reveal(run);
  }
  function chooseRecord(run, at, move = true) {
    chosen = { run, at };
    say(`${seconds(runs[run].times[at], 3)} ${runs[run].text(at)}`);
    const x = px(runs[run].times[at]);
    if (move && (x < GUTTER + 20 || x > width - 40)) {
      const half = (view[1] - view[0]) / 2, middle = placeOf(runs[run].times[at]);
      view = [middle - half, middle + half];
    }
    draw();
    const svg = charts[run].svg.getBoundingClientRect();
    card(run, at, svg.left + px(runs[run].times[at]) + 12, svg.top + 40);
  }
  const reveal = (run) => {
    const box = document.querySelectorAll(".run")[run].getBoundingClientRect();
    if (box.top < 0 || box.bottom > window.innerHeight) $("picture").scrollIntoView({ block: "start" });
    const again = document.querySelectorAll(".run")[run].getBoundingClientRect();
    if (again.bottom > window.innerHeight) document.querySelectorAll(".run")[run].scrollIntoView({ block: "start" });
  };
  const say = (text) => { $("live").textContent = text; };
  const hashOf = (run, kind, name) => `#run${run}/${kind}/${name}`;

  function follow() {
    const found = /^#run(\d+)\/(finding|record)\/(.+)$/.exec(location.hash);
    if (!found || !runs[found[1]]) return;
    const run = Number(found[1]);
    if (found[2] === "record") {
      const at = /^\d+$/.test(found[3]) ? Number(found[3]) : -1;
      if (at >= 0 && at < runs[run].count) { reveal(run); chooseRecord(run, at); }
      return;
    }
    let name = found[3];
    try { name = decodeURIComponent(name); } catch { return; }
    const check = runs[run].checks.findIndex((c) => c[0] === name);
    if (check >= 0) choose(run, check);
  }
  const go = (hash) => { if (location.hash === hash) follow(); else location.hash = hash; };

  const findings = runs.flatMap((run) => run.checks.map((check, n) => [run.number, n, check])
    .filter(([, , check]) => check[3].length && check[1] !== "HELD"));
  function step(by) {
    if (!findings.length) return say("no finding points at a step");
    const now = findings.findIndex(([run, n]) => chosen && chosen.run === run && chosen.check === n);
    const [run, , check] = findings[(now < 0 ? (by > 0 ? 0 : findings.length - 1) : now + by + findings.length) % findings.length];
    go(hashOf(run, "finding", encodeURIComponent(check[0])));
  }
  function stepRecord(by) {
    const run = chosen ? chosen.run : 0, count = runs[run].count;
    if (!count) return;
    const from = chosen && chosen.at !== undefined ? chosen.at + by : lower(runs[run].times, timeAt(GUTTER));
    chooseRecord(run, clamp(from, 0, count - 1));
  }
  function letGo() {
    chosen = null; matches = null; $("search").value = ""; $("found").textContent = "";
    $("card").hidden = true;
    document.querySelectorAll(".chosen").forEach((item) => item.classList.remove("chosen"));
    if (location.hash) history.replaceState(null, "", location.pathname + location.search);
    draw();
  }

  // ------------------------------------------------------------------ search
  function search(words) {
    const query = words.trim().toLowerCase();
    if (!query) { matches = null; $("found").textContent = ""; return draw(); }
    const known = S.map((text) => text.toLowerCase().includes(query) ? 1 : 0);
    let total = 0;
    matches = runs.map((run) => {
      const found = new Uint8Array(run.count);
      for (let at = 0; at < run.count; at++) {
        const from = run.offset[at], end = at + 1 < run.count ? run.offset[at + 1] : run.records.length;
        const shape = data.shapes[run.records[from + 2]];
        let hit = known[shape[0]] || run.lanes[run.lane(at)][0].toLowerCase().includes(query);
        for (let n = from + 3; n < end && !hit; n++) hit = known[run.records[n]];
        if (hit) { found[at] = 1; total++; }
      }
      return found;
    });
    $("found").textContent = `${total.toLocaleString("en")} step${total === 1 ? "" : "s"}`;
    draw();
  }
  function nextMatch() {
    if (!matches) return;
    const flatAll = runs.flatMap((run) => Array.from(matches[run.number].keys()).filter((at) => matches[run.number][at])
      .map((at) => [run.number, at]));
    if (!flatAll.length) return;
    const now = chosen && chosen.at !== undefined ? flatAll.findIndex(([run, at]) => run === chosen.run && at === chosen.at) : -1;
    const [run, at] = flatAll[(now + 1) % flatAll.length];
    chooseRecord(run, at);
  }

  // ------------------------------------------------------------------ drawing
  const room = (x) => Math.floor((GUTTER - x - 2) / 6.6); // characters of a name beside the picture
  const short = (text, x) => text.length > room(x) ? `${text.slice(0, room(x) - 1)}…` : text;
  const tail = (text, x) => text.length > room(x) ? `…${text.slice(1 - room(x))}` : text;
  const fits = (text, room) => text.length * 6.7 <= room;
  const longest = (labels, room) => labels.split("\n").find((label) => fits(label, room));
  const colourOf = (run, lane) => run.lanes[lane] ? run.lanes[lane][3] : -1;
  const colour = (run, lane) => OWNER[colourOf(run, lane)] || "var(--soft)";
  const inkOn = (run, lane) => OWNER_INK[colourOf(run, lane)] || "var(--ground)";
  const pattern = (kind, run, lane) => colourOf(run, lane) < 0 ? "none" : `url(#${kind}${run.number}-${colourOf(run, lane)})`;

  const charts = runs.map((run) => {
    const host = document.querySelectorAll(".chart")[run.number];
    const svg = el("svg", { role: "img", "aria-label": `${run.title}: ${run.story}` });
    host.replaceChildren(svg);
    const bands = Math.min(run.locks.length, MAX_BANDS);
    // A lock that two owners have at once is drawn in two rows, one under the other.
    const two = new Set(run.doubled.map(([lock]) => lock)); // by lock
    const slots = new Map(), until = new Map();
    run.holds.forEach(([lock, , start, end], n) => {
      if (!two.has(lock)) return;
      const busy = (until.get(lock) ?? -1) > start;
      slots.set(n, busy ? 1 : 0);
      if (!busy) until.set(lock, end < 0 ? Infinity : end);
    });
    const strip = run.faults.length || run.doubled.length ? STRIP : 0; // what is said about the whole run's width
    const bandTops = [], bandRows = [];
    let y = 4 + strip;
    for (let n = 0; n < bands; n++) {
      bandTops.push(y);
      bandRows.push(two.has(n) ? HALF : BAND);
      y += (two.has(n) ? 2 * HALF : BAND) + 4;
    }
    y += 8;
    const busy = new Set([...run.bars.map((bar) => bar[1]), ...run.flags.map(([at]) => run.lane(at)),
      ...run.holds.map((hold) => hold[1]), ...Array.from(run.witness.keys()).filter((at) => run.witness[at]).map(run.lane)]);
    const numbers = new Map(run.lanes.map((lane, n) => [lane, n]));
    const quiet = (lane) => lane[0] === "harness" || lane[0] === "others" || !busy.has(numbers.get(lane));
    const labelled = new Map(); // lane -> lines of words: two, and a third where much is said
    for (const [at, , level] of run.flags) labelled.set(run.lane(at), (labelled.get(run.lane(at)) || 0) + (level > 1));
    const lines = (n) => !labelled.has(n) ? 0 : labelled.get(n) > 2 ? 3 : 2;
    const tops = run.lanes.map((lane, n) => {
      const top = y;
      y += (quiet(lane) ? THIN : lane[2] * ROW + (lines(n) ? 18 + lines(n) * LINE : 16) + 6) + 3;
      return top;
    });
    const thin = run.lanes.map(quiet);
    return { run, host, svg, bands, tops, thin, lines, slots, strip, bandTops, bandRows, height: y + 2,
      bandEnd: (n) => bandTops[n] + (two.has(n) ? 2 * HALF : BAND), locksEnd: bands ? bandTops[bands - 1] : 4 };
  });

  function patterns(svg, run, number) {
    const defs = el("defs", {}, svg);
    for (const lane of new Set(run.lanes.map((lane) => lane[3]).filter((n) => n >= 0))) {
      // waiting: stripes in the colour of who has the lock; dead: crosses
      const wait = el("pattern", { id: `w${number}-${lane}`, width: 8, height: 8, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, defs);
      el("rect", { width: 8, height: 8, class: "ground" }, wait);
      el("rect", { width: 3, height: 8, fill: OWNER[lane], opacity: 0.75 }, wait);
      const dead = el("pattern", { id: `d${number}-${lane}`, width: 8, height: 8, patternUnits: "userSpaceOnUse" }, defs);
      el("rect", { width: 8, height: 8, fill: OWNER[lane], opacity: 0.28 }, dead);
      el("path", { d: "M0 0L8 8M8 0L0 8", stroke: OWNER[lane], "stroke-width": 1.6 }, dead);
    }
    const frozen = el("pattern", { id: `f${number}`, width: 6, height: 6, patternUnits: "userSpaceOnUse" }, defs);
    el("rect", { width: 6, height: 6, class: "ground" }, frozen);
    el("path", { d: "M1 0V6M4 0V6", stroke: "#56b4e9", "stroke-width": 1.2 }, frozen);
    const clip = el("clipPath", { id: `c${number}` }, defs);
    el("rect", { x: GUTTER, y: 0, width: Math.max(1, width - GUTTER - RIGHT + 8), height: 100000 }, clip);
  }

  let due = false;
  function draw() {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; paint(); });
  }
  function measure() {
    width = Math.max(280, $("runs").clientWidth);
    GUTTER = width < NARROW ? 84 : 128;
  }
  function paint() {
    const started = performance.now();
    measure();
    document.body.classList.toggle("picked", Boolean(chosen && chosen.check !== undefined));
    $("fold").setAttribute("aria-pressed", String(folded));
    $("fold").textContent = folded ? "folded time" : "linear time";
    paintAxis();
    for (const chart of charts) paintRun(chart);
    paintWhere();
    document.documentElement.dataset.painted = (performance.now() - started).toFixed(1);
  }

  // Which part of the story is in view: a picture that can be moved must look like one.
  function paintWhere() {
    const from = placeOf(story[0]), all = placeOf(story[1]) - from || 1;
    const a = clamp((view[0] - from) / all, 0, 1), b = clamp((view[1] - from) / all, 0, 1), part = b - a < 0.97;
    $("where").hidden = $("hint").hidden = !part;
    $("where").style.marginLeft = `${GUTTER}px`;
    Object.assign($("where").firstElementChild.style, { width: `${100 * (b - a)}%`, marginLeft: `${100 * a}%` });
  }
  function stretches() { // visible stretches without a step, folded
    if (!folded) return [];
    const found = [];
    const from = clamp(lower(places, view[0]), 1, moments.length), to = lower(places, view[1]);
    for (let n = from; n <= Math.min(to, moments.length - 1); n++)
      if (moments[n] - moments[n - 1] >= data.fold_s) {
        const a = Math.max(GUTTER, px(moments[n - 1])), b = Math.min(width - RIGHT, px(moments[n]));
        if (b - a > 5) found.push([a, b, moments[n] - moments[n - 1]]);
      }
    return found;
  }
  function paintAxis() {
    const svg = el("svg", { width, height: AXIS, "aria-hidden": "true" });
    const about = GUTTER < 128 ? ["time from", "client start"] : ["nominal time from", "the client's start"];
    about.forEach((words, n) => el("text", { x: 2, y: 15 + 14 * n, class: "soft small" }, svg, words));
    el("path", { d: `M${GUTTER} 24H${width - RIGHT}`, class: "rule" }, svg);
    let free = GUTTER - 1;
    for (let middle = GUTTER + 26; middle < width - RIGHT - 12; middle += 12) {
      if (middle - 26 < free) continue;
      const t = timeAt(middle);
      for (const round of [100, 50, 20, 10, 5, 2, 1, .5, .2, .1, .05, .02, .01, .005, .002, .001, .0005, .0002, .0001, .00001, .000001]) {
        const nice = Math.round(t / round) * round, x = px(nice);
        if (Math.abs(x - middle) > 24 || x < Math.max(GUTTER - 1, free + 4)) continue;
        const label = seconds(nice, round >= 1 ? 0 : Math.ceil(-Math.log10(round) - 1e-9));
        if (x + label.length * 3.4 > width) break;
        el("path", { d: `M${x} 19V29`, class: "tick" }, svg);
        el("text", { x, y: 15, "text-anchor": "middle" }, svg, label);
        free = x + Math.max(56, label.length * 7.5);
        break;
      }
    }
    for (const [a, b, s] of stretches()) {
      const middle = (a + b) / 2;
      el("rect", { x: middle - 7, y: 20, width: 14, height: 8, fill: "var(--ground)" }, svg);
      el("path", { d: `M${middle - 8} 24l3 0 2-5 4 10 3-5 4 0`, class: "zigzag" }, svg);
      if (b - a > 34) el("text", { x: middle, y: 38, "text-anchor": "middle", class: "soft small" }, svg, length(s));
    }
    $("axis").replaceChildren(svg);
  }

  function paintRun(chart) {
    const { run, tops, thin } = chart;
    const svg = el("svg", { width, height: chart.height, role: "img", "aria-label": `${run.title}: ${run.story}` });
    patterns(svg, run, run.number);
    const bottom = chart.height;
    const names = el("g", {}, svg);
    const under = el("g", { "clip-path": `url(#c${run.number})` }, svg); // lines across a run must not cover its words
    const body = el("g", { "clip-path": `url(#c${run.number})` }, svg);
    const over = el("g", { "clip-path": `url(#c${run.number})` }, svg);
    for (const [a, b] of stretches()) el("rect", { x: a, y: 0, width: b - a, height: bottom, class: "folded" }, under);
    const from = lower(run.times, timeAt(GUTTER) - 1e-9), to = lower(run.times, timeAt(width - RIGHT) + 1e-9);
    const X = (at) => at < 0 ? width + 50 : px(run.times[at]);
    const mark = (node, at, more) => {
      node.dataset.at = at; node.dataset.run = run.number;
      if (more) node.dataset.more = more;
      node.classList.add("hit-able");
      if (hits(run, at)) node.classList.add("hit");
      return node;
    };

    // lanes and their names
    run.lanes.forEach((lane, n) => {
      const height = (n + 1 < tops.length ? tops[n + 1] : bottom) - tops[n] - 3;
      el("rect", { x: GUTTER, y: tops[n], width: width - GUTTER - RIGHT, height, class: "ground" }, names);
      if (!thin[n]) el("rect", { x: 0, y: tops[n] + 2, width: 6, height: height - 4, fill: colour(run, n) }, names);
      const label = el("text", { x: 12, y: tops[n] + (thin[n] ? 14 : 17), class: thin[n] ? "soft small" : "name" }, names, short(lane[0], 12));
      el("title", {}, label, lane[0]);
      if (lane[1] && !thin[n]) el("text", { x: 12, y: tops[n] + 31, class: "soft small" }, names, `pid ${lane[1]}`);
    });

    // lock-owner band
    for (let n = 0; n < chart.bands; n++) {
      const y = chart.bandTops[n];
      el("text", { x: 2, y: y + 13, class: "band-name" }, names, run.locks[n].endsWith("sessions.json") ? "LIST locked by" : "LOCKED BY");
      const label = el("text", { x: 2, y: y + 26, class: "soft small" }, names, tail(run.locks[n], 2));
      el("title", {}, label, run.locks[n]);
      el("rect", { x: GUTTER, y: y + 0.5, width: width - GUTTER - RIGHT, height: chart.bandEnd(n) - y - 1, class: "free" }, names);
    }
    if (run.locks.length > MAX_BANDS)
      el("title", {}, el("text", { x: 2, y: chart.bandEnd(chart.bands - 1) + 10, class: "soft small" }, names,
        `+ ${run.locks.length - MAX_BANDS} more locks`), "Only the first locks have a band, so that the lanes stay on the first screen.");
    const small = new Map(); // narrow pieces, joined until there is room
    const flush = (key) => {
      const block = small.get(key);
      if (!block) return;
      small.delete(key);
      block.finish(block);
    };
    const join = (key, at, a, b, finish) => {
      const block = small.get(key);
      if (block && a - block.b < 1.5) { block.b = Math.max(block.b, b); block.count++; return; }
      flush(key);
      small.set(key, { a, b, count: 1, at, finish });
    };
    const before = new Map(), handed = new Map();
    for (const [lock, start, end, text] of run.ownerless) {
      if (lock >= MAX_BANDS) continue;
      const left = Math.max(X(start), GUTTER - 2), right = Math.min(X(end), width - RIGHT + 4), y = chart.bandTops[lock];
      if (right - left < 2.5) continue;
      mark(el("rect", { x: left, y: y + 2, width: right - left, height: chart.bandRows[lock] - 4, class: "ownerless" }, body), start);
      const label = longest(`${S[text]}\n${S[text].replace("lock file names ", "")}`, right - left - 10);
      if (label) el("text", { x: left + 6, y: y + 20, class: "name on" }, body, label);
    }
    for (const [n, [lock, lane, start, end, dead, how, owner]] of run.holds.entries()) {
      if (lock >= MAX_BANDS) continue;
      const high = chart.bandRows[lock], a = X(start), b = X(end), y = chart.bandTops[lock] + (chart.slots.get(n) || 0) * high;
      const previous = before.get(lock);
      before.set(lock, [lane, dead]);
      if (b < GUTTER || a > width - RIGHT) continue;
      const left = Math.max(a, GUTTER - 2), right = Math.min(b, width - RIGHT + 4);
      if (right - left < 2.5) {
        join(`lock${lock}-${chart.slots.get(n) || 0}`, start, left, Math.max(right, left + 1), (block) => {
          mark(el("rect", { x: block.a, y: y + 3, width: Math.max(1.5, block.b - block.a), height: high - 6, class: block.count > 1 ? "dense" : "", fill: colour(run, lane) }, body), block.at, block.count > 1 ? `${block.count} owners in a row` : "");
          const words = `${block.count.toLocaleString("en")} owners in a row: zoom in`;
          if (block.count > 1 && fits(words, block.b - block.a)) el("text", { x: block.a + 6, y: y + 20, class: "name on" }, over, words);
        });
      } else {
        flush(`lock${lock}-${chart.slots.get(n) || 0}`);
        mark(el("rect", { x: left, y: y + 1, width: right - left, height: high - 2, rx: 2, fill: dead ? pattern("d", run, lane) : colour(run, lane), class: "bar held" }, body), start);
        // stripe in the owner's lane, so that band and lane are seen as one
        if (!dead && lane < tops.length && !thin[lane]) el("rect", { x: left, y: tops[lane], width: right - left, height: 4, fill: colour(run, lane) }, body);
        const text = S[owner] + (dead ? " (dead)" : "");
        const pid = run.lanes[lane] && run.lanes[lane][1] && run.lanes[lane][0] === S[owner] ? ` · pid ${run.lanes[lane][1]}` : "";
        const label = longest(`locked by ${text}${pid}\nlocked by ${text}\n${text}`, right - left - 10);
        if (label) {
          const node = el("text", { x: left + 6, y: y + (high + 10) / 2, class: dead ? "on name" : "name" }, body, label);
          if (!dead) node.setAttribute("style", `fill:${inkOn(run, lane)}`);
        }
      }
      if (previous && previous[0] !== lane && !chart.slots.has(n) && a >= GUTTER && !(a - (handed.get(lock) ?? -99) < 9)) {
        handed.set(lock, a);
        const word = how === "takes" ? "handoff" : how === "reclaims" ? "reclaimed" : "fenced";
        el("path", { d: `M${a - 5} ${y - 3}h10l-5 7z`, fill: "var(--ink)" }, over);
        el("title", {}, over.lastChild, word);
      }
    }
    for (const key of [...small.keys()]) flush(key);

    // what is said about the whole width: two owners at once, and what the nemesis does
    let spoken = GUTTER - 99;
    const speak = (x, words, kind) => {
      const room = words.length * 6.9 + 8;
      const left = clamp(x, GUTTER, Math.max(GUTTER, width - RIGHT - room));
      if (left < spoken) return false;
      spoken = left + room;
      el("text", { x: left + 2, y: 13, class: `${kind} on` }, over, words);
      return true;
    };
    for (const [lock, start, end, text] of run.doubled) {
      const left = Math.max(X(start), GUTTER - 2), right = Math.min(X(end), width - RIGHT + 4);
      if (lock >= MAX_BANDS || right < GUTTER || left > width - RIGHT || right - left < 0.5) continue;
      const node = mark(el("rect", { x: left, y: chart.bandTops[lock] - 1, width: Math.max(2, right - left), height: 2 * HALF + 2, class: "doubled" }, over), start);
      el("title", {}, node, `two owners at once: ${S[text]}`);
      speak(left, `✗ TWO OWNERS AT ONCE: ${S[text]}`, "bad");
    }

    // bars
    for (const [kind, lane, row, start, end, failed, labels, , holder] of run.bars) {
      const a = X(start), b = X(end);
      if (b < GUTTER || a > width - RIGHT || thin[lane]) continue;
      const y = tops[lane] + 6 + row * ROW, left = Math.max(a, GUTTER - 3), right = Math.min(b, width - RIGHT + 6), w = right - left;
      if (w < 2.5 && !(failed && kind === "wait")) {
        join(`bar${lane}-${row}`, start, left, Math.max(right, left + 1.2), (block) => mark(el("rect", { x: block.a, y, width: Math.max(1.5, block.b - block.a), height: ROW - 4, class: block.count > 1 ? "dense" : "plain" }, body), block.at, block.count > 1 ? `${block.count} short operations` : ""));
        continue;
      }
      flush(`bar${lane}-${row}`);
      const node = mark(el("rect", { x: left, y, width: Math.max(1.5, w), height: ROW - 3, rx: 2, class: "bar" }, body), start);
      if (hits(run, end)) node.classList.add("hit");
      let ink = "";
      if (kind === "wait") {
        node.setAttribute("fill", holder < 0 ? "none" : pattern("w", run, holder));
        node.classList.add("wait");
      } else if (kind === "paused") node.setAttribute("fill", `url(#f${run.number})`);
      else if (kind === "turn" || kind === "tool") { node.setAttribute("fill", colour(run, lane)); node.setAttribute("fill-opacity", kind === "turn" ? 0.35 : 0.8); }
      else { node.setAttribute("class", `plain ${node.classList.contains("hit") ? "hit" : ""} hit-able`); }
      if (end < 0) node.classList.add("open");
      const label = longest(S[labels], w - (failed ? 20 : 8));
      if (label) el("text", { x: left + 5, y: y + 12.5, class: `small ${kind === "wait" ? "on name" : ""} ${ink}`, "pointer-events": "none" }, body, label);
      if (failed && b <= width - RIGHT + 2) {
        const x = Math.max(right - 7, left + 4);
        if (w > 14 || kind === "wait") el("path", { d: `M${x - 4} ${y + 4}l8 8m0 -8l-8 8`, stroke: "var(--bad)", "stroke-width": 2.4, fill: "none", "pointer-events": "none" }, body);
      }
    }
    for (const key of [...small.keys()]) flush(key);

    // why a wait failed: from its end up to the owner in the band
    let shownCauses = 0;
    const failedWaits = run.bars.filter(([kind, , , , end, failed]) => kind === "wait" && failed && end >= from && end < to).length;
    for (const [kind, lane, row, , end, failed, , lock] of run.bars) {
      if (kind !== "wait" || !failed || end < 0 || thin[lane] || lock < 0 || lock >= chart.bands) continue;
      const x = X(end);
      if (x < GUTTER || x > width - RIGHT || ++shownCauses > MAX_FLAGS) continue;
      const y = tops[lane] + 6 + row * ROW, band = chart.bandEnd(lock);
      el("path", { d: `M${x} ${y}V${band}`, class: failedWaits > MAX_CAUSES ? "cause many" : "cause" }, over);
      el("path", { d: `M${x - 5} ${band + 7}l5 -8 5 8z`, class: "failed" }, over);
    }

    // messages
    let drawn = 0;
    for (const [start, end, label] of run.arrows) {
      const a = X(start), b = X(end), la = run.lane(start), lb = run.lane(end);
      if ((b < GUTTER || a > width - RIGHT) || thin[la] || thin[lb] || la === lb || ++drawn > MAX_ARROWS) continue;
      const down = lb > la;
      const y0 = down ? middle(chart, la) : tops[la] + 8, y1 = down ? tops[lb] + 6 : middle(chart, lb);
      el("path", { d: `M${a} ${y0}L${b} ${y1}`, class: "arrow" }, over);
      const turn = Math.atan2(y1 - y0, b - a), h = (d) => `${(b - 8 * Math.cos(turn + d)).toFixed(1)} ${(y1 - 8 * Math.sin(turn + d)).toFixed(1)}`;
      el("title", {}, mark(el("path", { d: `M${b} ${y1}L${h(0.4)}L${h(-0.4)}z`, class: "arrow-head" }, over), end), S[label]);
    }

    // moments
    const flags = new Map(run.flags.map(([at, text, level]) => [at, [text, level]]));
    const taken = new Map(), ringed = new Map(), counted = new Map(), ticks = new Map(), labels = [];
    for (let at = from; at < to; at++) {
      const lane = run.lane(at), x = px(run.times[at]), flag = flags.get(at);
      const y = thin[lane] ? tops[lane] + 10 : tops[lane] + 6 + run.lanes[lane][2] * ROW + 9;
      const important = run.witness[at] || (flag && flag[1] > 1) || (matches && matches[run.number][at]);
      if (important && (counted.get(lane) || 0) < MAX_FLAGS || hits(run, at)) {
        counted.set(lane, (counted.get(lane) || 0) + 1);
        const outcome = flag && flag[1] > 1;
        mark(el("path", { d: `M${x} ${y - 6}V${y + 6}`, class: "tick", "stroke-width": 2.4 }, body), at);
        const ring = run.witness[at] || hits(run, at);
        if (ring && !(x - (ringed.get(lane) ?? -99) < 7)) {
          ringed.set(lane, x); // a ring for every step of one instant would be a blot
          mark(el("circle", { cx: x, cy: y, r: 6.5, class: "witness" }, over), at);
        }
        if (matches && matches[run.number][at]) el("circle", { cx: x, cy: y, r: 9, class: "match" }, over);
        if (outcome && !thin[lane]) labels.push([lane, x, y, flag, at]);
      } else {
        const slot = `${lane}:${Math.floor(x / 4)}`, seen = ticks.get(slot);
        if (seen) seen.count++;
        else ticks.set(slot, { lane, x, y, at, count: 1 });
        if (flag && !thin[lane] && to - from < 2000) labels.push([lane, x, y, flag, at]);
      }
    }
    for (const { x, y, at, count } of ticks.values()) {
      if (count === 1) mark(el("path", { d: `M${x} ${y - 3}V${y + 3}`, class: "tick" }, body), at);
      else mark(el("rect", { x: x - 1.5, y: y - Math.min(7, 3 + Math.log2(count)), width: 3, height: 2 * Math.min(7, 3 + Math.log2(count)), class: "dense" }, body), at, `${count} steps`);
    }
    labels.sort((one, two) => two[3][1] - one[3][1] || one[1] - two[1]);
    for (const [lane, x, y, [text], at] of labels) { // the weighty ones first; a label that would cover another is left out
      const kind = /^(NO ANSWER|locked out|waited for ITSELF|timeout|connection lost|gateway refuses|write refused|lost its|next turn fails|RESULT LOST|SEES NOTHING|REMOVES)/.test(S[text]) ? "bad"
        : /^ANSWER/.test(S[text]) ? "good" : "";
      const says = S[text], room = says.length * (kind ? 6.7 : 6.1) + 6, spans = taken.get(lane) || [];
      const dy = Array.from({ length: chart.lines(lane) }, (_, n) => 22 + n * LINE);
      const right = dy.map((d) => [x - 2, "start", d]), left = dy.map((d) => [x + 2 - room, "end", d]);
      const sides = /^locked out/.test(says) ? [...left, ...right] // below the wait that it ends
        : dy.flatMap((d, n) => [right[n], left[n]]);
      const place = sides.find(([left, , dy]) => left > GUTTER && left + room < width + 6 && !spans.some(([a, b, d]) => d === dy && left < b && left + room > a));
      if (!place) continue;
      spans.push([place[0], place[0] + room, place[2]]);
      taken.set(lane, spans);
      el("text", { x: place[1] === "start" ? x - 1 : x + 1, y: y - 3 + place[2], "text-anchor": place[1], class: `small on ${kind}` }, over, says);
    }

    // faults, differences, choice
    for (const [at, lane, text, heals] of run.faults) {
      const x = X(at);
      if (x < GUTTER || x > width - RIGHT) continue;
      el("path", { d: `M${x} 0V${bottom}`, class: "faultline" }, under);
      const y = thin[lane] ? tops[lane] : tops[lane] + 6;
      mark(el("path", { d: heals ? `M${x - 2.5} ${y}h5v6h6v5h-6v6h-5v-6h-6v-5h6z` : `M${x + 3} ${y - 4}l-10 13h6l-4 11 12 -15h-7z`, fill: heals ? "var(--good)" : "var(--fault)", stroke: "var(--ground)" }, over), at);
      speak(x, `${heals ? "✚" : "⚡"} ${run.lanes[lane][0]} ${S[text]}`, heals ? "good" : "fault");
    }
    run.marks.forEach(([at, says, isFirst, against]) => {
      const x = X(at);
      if (x < GUTTER || x > width - RIGHT) return;
      const top = isFirst ? 0 : tops[run.lane(at)], end = isFirst ? bottom : top + 40;
      const line = mark(el("path", { d: `M${x} ${top}V${end}`, class: `part ${isFirst ? "first" : ""} ${runs.length > 2 ? "one-of-many" : ""}` }, isFirst ? under : over), at);
      el("title", {}, line, S[says]);
      if (isFirst) {
        const free = Math.max(width - x, x - GUTTER) - 8;
        const words = longest(`≠ first difference from ${S[against]}\n≠ first difference\n≠`, free) || "≠";
        const right = x + 6 + words.length * 7 < width;
        el("text", { x: right ? x + 6 : x - 6, y: bottom - 6, "text-anchor": right ? "start" : "end", class: "fault on divergence" }, over, words);
      }
      else el("text", { x: x + 3, y: top + 12, class: "fault on" }, over, "≠");
    });
    if (chosen && chosen.run === run.number && chosen.at !== undefined) {
      const x = X(chosen.at);
      el("path", { d: `M${x} 0V${bottom}`, class: "chosen" }, over);
    }
    chart.host.replaceChildren(svg);
    chart.svg = svg;
  }
  const middle = (chart, lane) => chart.tops[lane] + 6 + chart.run.lanes[lane][2] * ROW - 4;

  // ------------------------------------------------------------------ the card
  function card(run, at, x, y, more) {
    const box = $("card"), told = runs[run], shape = told.shape(at);
    const line = (name, text) => { const node = document.createElement(name); node.textContent = text; return node; };
    const list = document.createElement("dl");
    shape[2].forEach((key, n) => list.append(line("dt", S[key]), line("dd", told.value(at, n))));
    const when = `${seconds(told.times[at], 6)} · ${told.lanes[told.lane(at)][0]} · ${S[shape[0]]} ${S[shape[1]]} · record ${at}`;
    const parts = more ? [line("b", `${more}; zoom in to tell them apart`), line("div", `the first: ${told.text(at)}`), line("div", when)]
      : [line("b", told.text(at)), line("div", when), list];
    box.replaceChildren(...parts);
    box.hidden = false;
    const { width: w, height: h } = box.getBoundingClientRect();
    box.style.left = `${clamp(x, 4, Math.max(4, window.innerWidth - w - 8))}px`;
    box.style.top = `${clamp(y + h > window.innerHeight - 8 ? y - h - 24 : y, 4, Math.max(4, window.innerHeight - h - 8))}px`;
  }

  // ------------------------------------------------------------------ hands
  const area = $("runs");
  const zoom = (by, at) => {
    const centre = at === undefined ? (view[0] + view[1]) / 2 : view[0] + (at - GUTTER) / (width - GUTTER - RIGHT) * (view[1] - view[0]);
    const all = placeOf(last) - placeOf(first) || 1, span = clamp((view[1] - view[0]) * by, all * 1e-7, all * 1.5);
    const share = (centre - view[0]) / (view[1] - view[0]);
    view = [centre - span * share, centre + span * (1 - share)];
    draw();
  };
  const pan = (by) => {
    const shift = clamp(view[0] + (view[1] - view[0]) * by, placeOf(first) - (view[1] - view[0]) * 0.9, placeOf(last)) - view[0];
    view = [view[0] + shift, view[1] + shift];
    draw();
  };
  const toggleFold = () => {
    const ends = [timeOf(view[0]), timeOf(view[1])];
    folded = !folded;
    view = [placeOf(ends[0]), placeOf(ends[1])];
    if (!(view[1] > view[0])) return showAll();
    draw();
  };
  area.addEventListener("wheel", (event) => {
    const mine = event.ctrlKey || event.metaKey || area.contains(document.activeElement);
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) { event.preventDefault(); pan(event.deltaX / width); }
    else if (mine) { event.preventDefault(); zoom(Math.exp(clamp(event.deltaY, -200, 200) / 400), event.clientX - area.getBoundingClientRect().left); }
  }, { passive: false });
  let drag = null;
  area.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.target.closest(".chart")) return;
    drag = { x: event.clientX, view: [...view], moved: false, id: event.pointerId };
  });
  area.addEventListener("pointermove", (event) => {
    if (drag) {
      const by = event.clientX - drag.x;
      if (!drag.moved && Math.abs(by) > 3) { drag.moved = true; area.setPointerCapture(drag.id); }
      if (drag.moved) { const shift = by / (width - GUTTER - RIGHT) * (drag.view[1] - drag.view[0]); view = [drag.view[0] - shift, drag.view[1] - shift]; draw(); }
      return;
    }
    const target = event.target.closest && event.target.closest("[data-at]");
    if (target) card(Number(target.dataset.run), Number(target.dataset.at), event.clientX + 14, event.clientY + 16, target.dataset.more);
    else if (!chosen || chosen.at === undefined) $("card").hidden = true;
  });
  area.addEventListener("pointerup", (event) => {
    const moved = drag && drag.moved;
    drag = null;
    if (moved) return;
    const target = event.target.closest && event.target.closest("[data-at]");
    if (target && !target.dataset.more) { history.replaceState(null, "", hashOf(target.dataset.run, "record", target.dataset.at)); chooseRecord(Number(target.dataset.run), Number(target.dataset.at), false); }
  });
  area.addEventListener("pointercancel", () => { drag = null; });
  area.addEventListener("pointerleave", () => { if (!chosen || chosen.at === undefined) $("card").hidden = true; });

  const help = () => { $("keys").hidden = !$("keys").hidden; $("help").setAttribute("aria-expanded", String(!$("keys").hidden)); };
  const reset = () => { if (whole || !told.length) return showAll(); show(first, last); whole = true; };
  const keys = {
    ArrowLeft: () => pan(-0.15), ArrowRight: () => pan(0.15), "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6),
    0: () => { if (isStory()) reset(); else showAll(); }, f: toggleFold, n: () => step(1), p: () => step(-1), "?": help, Escape: letGo,
    "/": () => $("search").focus(),
  };
  const isStory = () => Math.abs(px(story[0]) - GUTTER) < width * 0.06 && Math.abs(px(story[1]) - width + RIGHT) < width * 0.06;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input")) {
      if (event.key === "Escape") { letGo(); event.target.blur(); }
      if (event.key === "Enter" && event.target.id === "search") nextMatch();
      return;
    }
    if (area.contains(document.activeElement) && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      event.preventDefault();
      return stepRecord(event.key === "ArrowUp" ? -1 : 1);
    }
    const act = Object.hasOwn(keys, event.key) ? keys[event.key] : null;
    if (act) { event.preventDefault(); act(); }
  });
  $("fold").addEventListener("click", toggleFold);
  $("in").addEventListener("click", () => zoom(0.6));
  $("out").addEventListener("click", () => zoom(1 / 0.6));
  $("all").addEventListener("click", keys[0]);
  $("next").addEventListener("click", () => step(1));
  $("prev").addEventListener("click", () => step(-1));
  $("help").addEventListener("click", help);
  $("search").addEventListener("input", (event) => search(event.target.value));
  for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => {
    const field = $(button.dataset.copy);
    field.select();
    const done = () => { button.textContent = "copied"; };
    if (navigator.clipboard) navigator.clipboard.writeText(field.value).then(done, () => { button.textContent = "press Ctrl+C"; });
    else button.textContent = "press Ctrl+C"; // it is selected
  });
  // A second click on the same link changes no hash, and must still lead there.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#run']");
    if (link && link.getAttribute("href") === location.hash) follow();
  });
  window.addEventListener("hashchange", follow);
  window.addEventListener("resize", draw);
  // Paper is narrower than the window, and a print does not wait for an animation frame.
  const print = window.matchMedia("print");
  const repaint = () => paint();
  window.addEventListener("beforeprint", repaint);
  window.addEventListener("afterprint", repaint);
  print.addEventListener("change", repaint);

  const notes = [...new Set(data.runs.map((run) => run.clipped).filter(Boolean))];
  if (notes.length) { $("clipped").textContent = notes.join(" "); $("clipped").hidden = false; }
  measure();
  begin();
  paint();
  follow();
  document.documentElement.dataset.ready = "yes";
})();
