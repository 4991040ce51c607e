"use strict";
// The floor map: tiles by rack, a slider over moments, a tooltip, the worst racks as a table.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const racks = data.racks ?? [], moments = data.moments ?? [];
  const parent = document.getElementById("map");
  if (!parent || !racks.length) return;
  // Cividis: even steps of lightness, the same for all kinds of colour vision.
  const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74",
                   "#c3b369", "#e1cc55", "#fee838"];
  const SVG = "http://www.w3.org/2000/svg", NONE = -32768, LISTED = 8;

  const short = (value) => {
    const size = Math.abs(value);
    return value.toLocaleString("en", { maximumFractionDigits: size >= 100 ? 0 : size >= 10 ? 1 : 2 });
  };
  const watts = (value) => value === null ? "–"
    : value >= 1e6 ? `${short(value / 1e6)} MW` : `${short(value / 1e3)} kW`;
  const degrees = (value) => value === null ? "–" : `${short(value)} °C`;
  const kelvins = (value) => value === null ? "–" : `${short(value)} K`;

  function colour(share) {
    const at = Math.max(0, Math.min(1, share)) * (CIVIDIS.length - 1);
    const low = Math.floor(at), high = Math.min(low + 1, CIVIDIS.length - 1), part = at - low;
    const channel = (hex, i) => parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16);
    const mix = [0, 1, 2].map((i) => Math.round(
      channel(CIVIDIS[low], i) * (1 - part) + channel(CIVIDIS[high], i) * part));
    return `rgb(${mix.join(",")})`;
  }

  // What is known: a column of numbers by moment and rack, or one by rack.
  function opened(column) {
    const raw = atob(column.codes), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
    const view = new DataView(bytes.buffer);
    return (at, rack) => {
      const code = view.getInt16(2 * (at * racks.length + rack), true);
      return code === NONE ? null : column.offset + column.step * code;
    };
  }
  const views = moments.map((shown) => {
    const read = Object.fromEntries(Object.entries(shown.values).map(([k, v]) => [k, opened(v)]));
    return { ...shown, get: (name, at, rack) => read[name] ? read[name](at, rack) : null };
  });
  views.push({ time_s: [0], start: 0, worst: "", title: "Steady state",
               get: (name, at, rack) => racks[rack][name] ?? null });

  let lastTime = 1;
  const state = { view: 0, at: views[0].start, mode: null };
  const value = (name, rack, at = state.at) => views[state.view].get(name, at, rack);
  const unlimited = (at) => Math.max(1, ...racks.map((_, i) => value("power_w", i, at) ?? 0));
  const anyLimit = racks.some((rack) => rack.limit_w);
  const headroom = (i, at) => {
    const hot = value("hottest_c", i, at), limit = racks[i].throttle_c;
    return hot === null || limit === null ? null : limit - hot;
  };
  const MODES = {
    hottest: { value: (i, at) => value("hottest_c", i, at), text: degrees,
               title: "hottest accelerator of the rack" },
    headroom: { value: headroom, text: kelvins, reversed: true,
                title: "kelvins left until the first accelerator throttles" },
    inlet: { value: (i, at) => value("inlet_c", i, at), text: degrees, title: "air at the rack inlet" },
    power: {
      value: (i, at) => {
        const power = value("power_w", i, at);
        return power === null ? null : anyLimit && racks[i].limit_w
          ? power / racks[i].limit_w : anyLimit ? null : power;
      },
      text: (v) => anyLimit ? `${short(100 * v)} %` : watts(v),
      title: anyLimit ? "of the rack's power limit" : "power of the rack",
    },
  };
  const extents = new Map();
  function extent(name) {
    const key = `${state.view}/${name}`;
    if (!extents.has(key)) {
      let low = Infinity, high = -Infinity;
      for (let at = 0; at < views[state.view].time_s.length; at += 1) {
        for (let i = 0; i < racks.length; i += 1) {
          const found = MODES[name].value(i, at);
          if (found !== null) { low = Math.min(low, found); high = Math.max(high, found); }
        }
      }
      if (high - low < 1e-9 * Math.max(1, Math.abs(high))) low -= 1e-3 + 0.05 * Math.abs(low);
      extents.set(key, low <= high ? [low, high] : null);
    }
    return extents.get(key);
  }

  function element(name, attributes, to) {
    const node = document.createElementNS(SVG, name);
    for (const [key, val] of Object.entries(attributes)) node.setAttribute(key, val);
    to.append(node);
    return node;
  }
  function html(name, kind, text, to) {
    const node = document.createElement(name);
    if (kind) node.className = kind;
    if (text) node.textContent = text;
    to.append(node);
    return node;
  }

  function facts(i) {
    const rack = racks[i], power = value("power_w", i), throttled = value("throttled", i);
    const left = headroom(i, state.at);
    const rows = [
      ["hottest device", degrees(value("hottest_c", i))
        + (rack.throttle_c === null ? "" : ` (throttles at ${degrees(rack.throttle_c)})`)],
      ["headroom", left === null ? "–" : left <= 0 ? "none: at its limit" : kelvins(left)],
      ["throttled devices", throttled === null ? "–" : short(throttled)],
      ["rack inlet", degrees(value("inlet_c", i))],
      ["power", rack.limit_w && power !== null
        ? `${watts(power)}, ${short(100 * power / rack.limit_w)} % of ${watts(rack.limit_w)}` : watts(power)],
      ["coolant loop", rack.cdu ?? "air"],
    ];
    if (rack.pdu) rows.push(["PDU", rack.pdu]);
    rows.push(["nodes of the plan", `${rack.plan_nodes} of ${rack.nodes}`]);
    return rows;
  }

  const tip = html("div", "", "", document.body);
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  let tipped = null;
  function showTip(i) {
    tipped = i;
    tip.replaceChildren();
    html("b", "", racks[i].label, tip);
    const table = html("table", "", "", tip);
    for (const row of facts(i)) {
      const line = table.insertRow();
      for (const cell of row) line.insertCell().textContent = cell;
    }
    const box = tiles[i].cell.getBoundingClientRect();
    const left = box.right + 10 + tip.offsetWidth > innerWidth - 8
      ? box.left - tip.offsetWidth - 10 : box.right + 10;
    const top = Math.min(box.top, innerHeight - tip.offsetHeight - 12);
    tip.style.left = `${Math.max(8, Math.min(left, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(8, top)}px`;
    tip.style.opacity = 1;
  }
  const hideTip = () => { tipped = null; tip.style.opacity = 0; };

  const tiles = [];
  const LEFT = 42, TOP = 6, RIGHT = 52, AISLE = 10;
  const size = (columns) => columns > 60 ? [9, 2] : columns > 30 ? [16, 3] : [26, 4];

  function drawHall(name, members, to) {
    const rows = members.map((i) => racks[i].row), firstRow = Math.min(...rows);
    const count = Math.max(...rows) - firstRow + 1;
    const columns = Math.max(...members.map((i) => racks[i].column)) + 1;
    const [side, gap] = size(columns);
    const spot = (rack) => [LEFT + rack.column * (side + gap), TOP + (rack.row - firstRow) * (26 + AISLE)];
    const loops = members.some((i) => racks[i].cdu);
    const width = LEFT + columns * (side + gap) + (loops ? RIGHT : 6), height = TOP + count * (26 + AISLE);
    const box = html("div", "hall", "", to), head = html("h4", "", name, box);
    const used = members.filter((i) => racks[i].plan_nodes > 0).length;
    html("span", "", `${members.length} racks` + (used ? `, ${used} used by the plan` : ""), head);
    const svg = document.createElementNS(SVG, "svg");
    for (const [key, val] of Object.entries({ viewBox: `0 0 ${width} ${height}`, width, role: "group",
                                             "aria-label": `Floor map of ${name}; arrow keys move` })) {
      svg.setAttribute(key, val);
    }
    box.append(svg);
    for (let row = 0; row < count; row += 1) {
      element("text", { x: 0, y: TOP + row * (26 + AISLE) + 16 }, svg).textContent = `row ${firstRow + row}`;
    }
    members.forEach((i, order) => {
      const rack = racks[i], [x, y] = spot(rack);
      const cell = element("rect", { x, y, width: side, height: 26, rx: side > 12 ? 4 : 2, role: "img",
                                     tabindex: order ? -1 : 0 }, svg);
      cell.setAttribute("class", rack.plan_nodes > 0 ? "rack used" : "rack");
      cell.addEventListener("mouseenter", () => showTip(i));
      cell.addEventListener("mouseleave", hideTip);
      cell.addEventListener("focus", () => {
        cell.setAttribute("aria-label", `${rack.label}: ${facts(i).map((row) => row.join(" ")).join(", ")}`);
        showTip(i);
      });
      cell.addEventListener("blur", hideTip);
      const mark = element("path", { d: `M${x + side - 2},${y + 3}v9h-${Math.min(9, side - 3)}z`,
                                     class: "hot", visibility: "hidden" }, svg);
      tiles[i] = { cell, mark };
    });
    drawLoops(members, spot, side, gap, columns, svg);
    svg.addEventListener("keydown", (event) => walk(event, members));
  }

  function drawLoops(members, spot, side, gap, columns, svg) {
    const at = new Map(members.map((i) => [`${racks[i].row}/${racks[i].column}`, racks[i]]));
    const line = (x1, y1, x2, y2) => element("line", { x1, y1, x2, y2, class: "loop" }, svg);
    const first = new Map();
    for (const i of members) {
      const rack = racks[i], [x, y] = spot(rack);
      const right = at.get(`${rack.row}/${rack.column + 1}`), below = at.get(`${rack.row + 1}/${rack.column}`);
      const east = x + side + gap / 2, south = y + 26 + AISLE / 2;
      if (right && right.cdu !== rack.cdu) line(east, y - AISLE / 2, east, south);
      if (below && below.cdu !== rack.cdu) line(x - gap / 2, south, east, south);
      if (rack.cdu && !first.has(rack.cdu)) first.set(rack.cdu, y);
    }
    for (const [cdu, y] of first) {
      element("text", { x: LEFT + columns * (side + gap) + 8, y: y + 16 }, svg)
        .textContent = cdu.slice(cdu.lastIndexOf("-") + 1);
    }
  }

  function walk(event, members) {
    const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    const from = members.find((i) => tiles[i].cell === document.activeElement);
    if (!moves[event.key] || from === undefined) return;
    event.preventDefault();
    const [down, along] = moves[event.key];
    const to = members.find((i) => racks[i].row === racks[from].row + down
      && racks[i].column === racks[from].column + along);
    if (to === undefined) return;
    tiles[from].cell.setAttribute("tabindex", -1);
    tiles[to].cell.setAttribute("tabindex", 0);
    tiles[to].cell.focus();
  }

  function drawMap() {
    const sites = new Map();
    racks.forEach((rack, i) => {
      const site = rack.site || "", hall = `${rack.cluster}, hall ${rack.hall}`;
      if (!sites.has(site)) sites.set(site, new Map());
      if (!sites.get(site).has(hall)) sites.get(site).set(hall, []);
      sites.get(site).get(hall).push(i);
    });
    for (const [site, halls] of sites) {
      const box = html("div", "site", "", parent);
      if (site) html("h3", "", site, box);
      const floor = html("div", "halls", "", box);
      for (const [name, members] of halls) drawHall(name, members, floor);
    }
  }

  function drawLegend([low, high]) {
    const mode = MODES[state.mode], legend = document.getElementById("legend");
    legend.replaceChildren();
    const ends = mode.reversed ? [high, low] : [low, high];
    html("span", "", mode.text(ends[0]), legend);
    const bar = html("span", "bar", "", legend);
    bar.style.background = `linear-gradient(90deg, ${CIVIDIS.join(",")})`;
    const limits = new Set(racks.map((rack) => rack.throttle_c).filter((limit) => limit !== null));
    for (const limit of state.mode === "hottest" ? limits : []) {
      if (limit < low || limit > high) continue;
      html("i", "", "", bar).style.left = `${100 * (limit - low) / (high - low)}%`;
    }
    html("span", "", mode.text(ends[1]), legend);
    html("span", "", mode.title, legend);
    const throttles = racks.some((_, i) => (value("throttled", i) ?? 0) > 0);
    if (throttles) html("span", "throttling", "throttled devices in the rack", legend);
  }

  function drawRanking() {
    const rank = (i) => { const left = headroom(i, state.at); return left ?? 1e6 - (value("power_w", i) ?? 0) / 1e4; };
    const order = racks.map((_, i) => i).sort((a, b) => rank(a) - rank(b)).slice(0, LISTED);
    const known = order.some((i) => headroom(i, state.at) !== null);
    document.getElementById("ranking-title").textContent =
      known ? "Nearest to throttling at this moment" : "Most power at this moment";
    const table = document.getElementById("ranking");
    table.replaceChildren();
    const line = table.createTHead().insertRow(), body = table.createTBody();
    for (const [title, kind] of [["Rack", ""], ["Loop", ""], ["Hottest", "n"], ["Headroom", "n"],
                                 ["Throttled", "n"], ["Inlet", "n"], ["Power", "n"]]) html("th", kind, title, line);
    for (const i of order) {
      const left = headroom(i, state.at), throttled = value("throttled", i), row = body.insertRow();
      html("th", "", racks[i].label, row).scope = "row";
      html("td", "", racks[i].cdu ?? "air", row);
      for (const text of [degrees(value("hottest_c", i)), kelvins(left),
                          throttled === null ? "–" : short(throttled), degrees(value("inlet_c", i)),
                          watts(value("power_w", i))]) html("td", "n", text, row);
    }
  }

  function clock(seconds) {
    const day = Math.floor(seconds / 86400), rest = seconds - 86400 * day;
    const two = (n) => String(Math.floor(n)).padStart(2, "0");
    const time = `${two(rest / 3600)}:${two(rest % 3600 / 60)}:${two(rest % 60)}`;
    return `day ${day + 1}, ${time}`;
  }

  function paint() {
    const mode = MODES[state.mode], range = extent(state.mode), shown = views[state.view];
    tiles.forEach(({ cell, mark }, i) => {
      const found = mode.value(i, state.at);
      cell.classList.toggle("unknown", found === null);
      const share = found === null || !range ? 0 : (found - range[0]) / (range[1] - range[0]);
      cell.style.fill = found === null ? "" : colour(mode.reversed ? 1 - share : share);
      mark.setAttribute("visibility", (value("throttled", i) ?? 0) > 0 ? "visible" : "hidden");
    });
    if (range) drawLegend(range);
    drawRanking();
    if (tipped !== null) showTip(tipped);
    if (shown.time_s.length < 2) return;
    const hot = racks.map((_, i) => value("hottest_c", i)).filter((v) => v !== null);
    const power = racks.reduce((sum, _, i) => sum + (value("power_w", i) ?? 0), 0);
    const throttled = racks.reduce((sum, _, i) => sum + (value("throttled", i) ?? 0), 0);
    const told = [clock(shown.time_s[state.at]), hot.length ? `hottest ${degrees(Math.max(...hot))}` : "",
                  shown.values?.throttled ? `${short(throttled)} throttled` : "", watts(power),
                  state.at === shown.start && shown.worst ? `worst: ${shown.worst}` : ""];
    const words = told.filter(Boolean).join(" · ");
    document.getElementById("clock").textContent = words;
    const slider = document.getElementById("time");
    slider.value = shown.time_s[state.at];
    slider.setAttribute("aria-valuetext", words);
    const cursor = document.querySelector("#strip .cursor");
    const share = shown.time_s[state.at] / lastTime;
    if (cursor) cursor.setAttribute("transform", `translate(${1000 * share},0)`);
  }

  function drawStrip() {
    const shown = views[state.view], strip = document.getElementById("strip");
    const when = document.getElementById("when"), slider = document.getElementById("time");
    when.hidden = shown.time_s.length < 2;
    if (when.hidden) return;
    const hot = Boolean(shown.values.hottest_c);
    const ofRacks = (_, at) => racks.reduce((found, __, i) => {
      const now = value(hot ? "hottest_c" : "power_w", i, at);
      return now === null ? found : hot ? Math.max(found ?? -Infinity, now) : (found ?? 0) + now;
    }, null);
    const times = shown.curve ? shown.curve[0] : shown.time_s;
    const values = shown.curve ? shown.curve[1] : shown.time_s.map(ofRacks);
    const last = Math.max(times.at(-1), shown.time_s.at(-1)) || 1;
    lastTime = last;
    const known = values.filter((v) => v !== null), low = Math.min(...known), high = Math.max(...known);
    const y = (v) => 42 - 38 * (v - low) / (high - low || 1);
    let path = "", before = null;
    values.forEach((v, at) => {
      const x = 1000 * times[at] / last;
      if (v !== null) path += before === null ? `M${x},${y(v)}` : `H${x}V${y(v)}`;
      before = v;
    });
    strip.replaceChildren();
    const text = hot ? degrees : watts;
    html("p", "", `${hot ? "hottest accelerator" : "power of all racks"}, ${text(low)} to ${text(high)}`, strip);
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 1000 46");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    strip.append(svg);
    element("path", { d: path, class: "trace" }, svg);
    element("path", { d: "M0,0V46", class: "cursor" }, svg);
    slider.max = last;
  }

  function go(at) {
    state.at = Math.max(0, Math.min(at, views[state.view].time_s.length - 1));
    paint();
  }
  function setMode(mode) {
    state.mode = mode;
    for (const button of document.querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    }
  }
  function setView(index) {
    state.view = index;
    state.at = views[index].start;
    for (const button of document.querySelectorAll("[data-view]")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.view) === index));
    }
    for (const note of document.querySelectorAll("[data-note]")) {
      note.hidden = Number(note.dataset.note) !== index;
    }
    const modes = Object.keys(MODES).filter((mode) => extent(mode));
    for (const button of document.querySelectorAll("[data-mode]")) {
      button.disabled = !modes.includes(button.dataset.mode);
    }
    setMode(modes.includes(state.mode) ? state.mode : modes[0] ?? "hottest");
    drawStrip();
    paint();
  }

  function listen() {
    for (const button of document.querySelectorAll("[data-mode]")) {
      button.addEventListener("click", () => { setMode(button.dataset.mode); paint(); });
    }
    for (const button of document.querySelectorAll("[data-view]")) {
      button.addEventListener("click", () => { stop(); setView(Number(button.dataset.view)); });
    }
    const slider = document.getElementById("time"), shown = () => views[state.view];
    slider.addEventListener("input", () => {
      const wanted = Number(slider.value), times = shown().time_s;
      let at = times.findIndex((time) => time > wanted);
      at = at < 0 ? times.length - 1 : at - 1;
      if (at + 1 < times.length && times[at + 1] - wanted < wanted - times[at]) at += 1;
      go(at);
    });
    slider.addEventListener("keydown", (event) => {
      const last = shown().time_s.length - 1, page = Math.max(2, Math.round(last / 10));
      const to = { ArrowRight: state.at + 1, ArrowUp: state.at + 1, ArrowLeft: state.at - 1,
                   ArrowDown: state.at - 1, PageUp: state.at + page, PageDown: state.at - page,
                   Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      stop();
      go(to);
    });
    slider.addEventListener("pointerdown", stop);
    document.getElementById("worst").addEventListener("click", () => { stop(); go(shown().start); });
    document.getElementById("play").addEventListener("click", () => timer ? stop() : play());
  }

  let timer = 0;
  function stop() {
    clearInterval(timer);
    timer = 0;
    document.getElementById("play").textContent = "Play";
  }
  function play() {
    const last = views[state.view].time_s.length - 1;
    if (state.at >= last) go(0);
    document.getElementById("play").textContent = "Pause";
    timer = setInterval(() => { if (state.at >= last) stop(); else go(state.at + 1); }, 200);
  }

  drawMap();
  listen();
  setView(0);
})();
