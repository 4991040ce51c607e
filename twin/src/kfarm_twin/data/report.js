"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { css, dark, layout, CONFIG } = kfarmCharts;
  // Cividis: even steps of lightness, the same for all kinds of colour vision.
  const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74",
                   "#c3b369", "#e1cc55", "#fee838"];
  const SVG = "http://www.w3.org/2000/svg";

  const short = (value) => {
    const size = Math.abs(value);
    return value.toLocaleString("en", { maximumFractionDigits: size >= 100 ? 0 : size >= 10 ? 1 : 2 });
  };
  const watts = (value) => value >= 1e6 ? `${short(value / 1e6)} MW` : `${short(value / 1e3)} kW`;
  const degrees = (value) => value === null ? "–" : `${short(value)} °C`;

  function colour(share) {
    const at = Math.max(0, Math.min(1, share)) * (CIVIDIS.length - 1);
    const low = Math.floor(at), high = Math.min(low + 1, CIVIDIS.length - 1), part = at - low;
    const channel = (hex, i) => parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16);
    const mix = [0, 1, 2].map((i) => Math.round(
      channel(CIVIDIS[low], i) * (1 - part) + channel(CIVIDIS[high], i) * part));
    return `rgb(${mix.join(",")})`;
  }

  const MODES = {
    temperature: {
      value: (rack) => rack.hottest_c,
      text: degrees,
      title: "hottest accelerator in the rack",
    },
    load: {
      value: (rack) => rack.power_w === null ? null
        : rack.limit_w ? rack.power_w / rack.limit_w : rack.power_w / unlimited,
      text: (value) => `${short(100 * value)} %`,
      title: "share of the rack's power limit",
    },
  };
  const unlimited = Math.max(1, ...data.racks.map((rack) => rack.power_w ?? 0));
  if (data.racks.length && data.racks.every((rack) => !rack.limit_w)) {
    MODES.load.title = "share of the most loaded rack (no rack has a limit)";
  }

  function extent(mode) {
    const values = data.racks.map(mode.value).filter((value) => value !== null);
    if (!values.length) return [0, 1];
    const low = Math.min(...values), high = Math.max(...values);
    return high - low < 1e-9 * Math.max(1, Math.abs(high)) ? [low - 1e-3 - 0.05 * Math.abs(low), high] : [low, high];
  }

  function element(name, attributes, parent) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    parent.append(node);
    return node;
  }

  const tip = document.createElement("div");
  tip.id = "tip";
  document.body.append(tip);

  function showTip(rack, event) {
    const rows = [
      ["nodes of the plan", `${rack.plan_nodes} of ${rack.nodes}`],
      ["inlet", degrees(rack.inlet_c)],
      ["hottest device", degrees(rack.hottest_c) +
        (rack.throttle_c === null ? "" : ` (throttles at ${short(rack.throttle_c)})`)],
      ["power", rack.power_w === null ? "–" : watts(rack.power_w)],
      ["share of limit", rack.limit_w && rack.power_w !== null
        ? `${short(100 * rack.power_w / rack.limit_w)} % of ${watts(rack.limit_w)}` : "no limit"],
      ["coolant loop", rack.cdu ?? "air"],
    ];
    tip.replaceChildren();
    const head = document.createElement("b");
    head.textContent = rack.label;
    const table = document.createElement("table");
    for (const row of rows) {
      const line = table.insertRow();
      for (const cell of row) line.insertCell().textContent = cell;
    }
    tip.append(head, table);
    const box = event.target.getBoundingClientRect();
    const left = Math.min(box.right + 10, innerWidth - tip.offsetWidth - 12);
    const top = Math.min(box.top, innerHeight - tip.offsetHeight - 12);
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${Math.max(8, top)}px`;
    tip.style.opacity = 1;
  }
  const hideTip = () => { tip.style.opacity = 0; };

  const WIDTH = 26, HEIGHT = 26, GAP = 4, AISLE = 10, LEFT = 42, TOP = 6, RIGHT = 52;
  const cells = [];

  function place(rack, firstRow) {
    return [LEFT + rack.column * (WIDTH + GAP), TOP + (rack.row - firstRow) * (HEIGHT + AISLE)];
  }

  function drawLoops(racks, firstRow, svg) {
    const at = new Map(racks.map((rack) => [`${rack.row}/${rack.column}`, rack]));
    const line = (x1, y1, x2, y2) => element("line", { x1, y1, x2, y2, class: "loop" }, svg);
    for (const rack of racks) {
      const [x, y] = place(rack, firstRow);
      const right = at.get(`${rack.row}/${rack.column + 1}`);
      const below = at.get(`${rack.row + 1}/${rack.column}`);
      const east = x + WIDTH + GAP / 2, south = y + HEIGHT + AISLE / 2;
      if (right && right.cdu !== rack.cdu) line(east, y - AISLE / 2, east, south);
      if (below && below.cdu !== rack.cdu) line(x - GAP / 2, south, east, south);
    }
  }

  function nameLoops(racks, firstRow, columns, svg) {
    const first = new Map();
    for (const rack of racks) {
      if (rack.cdu && !first.has(rack.cdu)) first.set(rack.cdu, rack);
    }
    for (const [cdu, rack] of first) {
      const x = LEFT + columns * (WIDTH + GAP) + 8, y = place(rack, firstRow)[1] + HEIGHT / 2 + 3;
      element("text", { x, y }, svg).textContent = cdu.slice(cdu.lastIndexOf("-") + 1);
    }
  }

  function drawHall(name, racks, parent) {
    const firstRow = Math.min(...racks.map((rack) => rack.row));
    const rows = Math.max(...racks.map((rack) => rack.row)) - firstRow + 1;
    const columns = Math.max(...racks.map((rack) => rack.column)) + 1;
    const width = LEFT + columns * (WIDTH + GAP) + RIGHT, height = TOP + rows * (HEIGHT + AISLE);
    const box = document.createElement("div");
    box.className = "hall";
    const head = document.createElement("h3");
    head.textContent = name;
    const count = document.createElement("span");
    const used = racks.filter((rack) => rack.plan_nodes > 0).length;
    count.textContent = `${racks.length} racks, ${used} used by the plan`;
    head.append(count);
    box.append(head);
    parent.append(box);
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("width", width);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `Floor map of ${name}`);
    box.append(svg);
    for (let row = 0; row < rows; row += 1) {
      const y = TOP + row * (HEIGHT + AISLE) + HEIGHT / 2 + 3;
      element("text", { x: 0, y }, svg).textContent = `row ${firstRow + row}`;
    }
    for (const rack of racks) {
      const [x, y] = place(rack, firstRow);
      const cell = element("rect", { x, y, width: WIDTH, height: HEIGHT, rx: 4, tabindex: 0 }, svg);
      cell.setAttribute("class", rack.plan_nodes > 0 ? "rack used" : "rack");
      for (const kind of ["mouseenter", "focus"]) {
        cell.addEventListener(kind, (event) => showTip(rack, event));
      }
      for (const kind of ["mouseleave", "blur"]) cell.addEventListener(kind, hideTip);
      cells.push([cell, rack]);
    }
    drawLoops(racks, firstRow, svg);
    nameLoops(racks, firstRow, columns, svg);
  }

  function drawMap() {
    const parent = document.getElementById("map");
    if (!parent) return;
    const halls = new Map();
    for (const rack of data.racks) {
      const key = `${rack.cluster}, hall ${rack.hall}`;
      if (!halls.has(key)) halls.set(key, []);
      halls.get(key).push(rack);
    }
    for (const [name, racks] of halls) drawHall(name, racks, parent);
  }

  function paint(name) {
    const mode = MODES[name], [low, high] = extent(mode);
    for (const [cell, rack] of cells) {
      const value = mode.value(rack);
      cell.classList.toggle("unknown", value === null);
      cell.style.fill = value === null ? "" : colour((value - low) / (high - low));
    }
    const legend = document.getElementById("legend");
    legend.replaceChildren();
    const part = (tag, text, kind) => {
      const node = document.createElement(tag);
      node.textContent = text;
      if (kind) node.className = kind;
      legend.append(node);
      return node;
    };
    part("span", mode.text(low));
    part("span", "", "bar").style.background = `linear-gradient(90deg, ${CIVIDIS.join(",")})`;
    part("span", mode.text(high));
    part("span", mode.title);
  }

  const SCALES = {
    W: [1e6, "MW", 1e3, "kW"], J: [3.6e9, "MWh", 3.6e6, "kWh"], s: [3600, "h", 60, "min"],
    degC: [1, "°C", 1, "°C"], K: [1, "K", 1, "K"], h: [1, "h", 1, "h"], 1: [1, "", 1, ""],
  };
  function scaled(unit, values) {
    const top = Math.max(...values.filter((value) => value !== null).map(Math.abs), 0);
    const [large, largeName, small, smallName] = SCALES[unit] ?? [1, unit, 1, unit];
    return top >= 2 * large ? [large, largeName] : [small, smallName];
  }

  function limitShapes(limits, divisor, upright) {
    return limits.map(([, value]) => ({
      type: "line", line: { color: css("--bad"), width: 1.6, dash: "dash" },
      ...(upright ? { x0: value / divisor, x1: value / divisor, y0: 0, y1: 1, yref: "paper" }
                  : { y0: value / divisor, y1: value / divisor, x0: 0, x1: 1, xref: "paper" }),
    }));
  }

  function drawLine(node, line) {
    const [divisor, unit] = scaled(line.unit, line.values);
    const days = line.hours.at(-1) > 72, per = days ? 24 : 1;
    const trace = {
      x: line.hours.map((hour) => hour / per),
      y: line.values.map((value) => value === null ? null : value / divisor),
      mode: "lines", line: { color: css("--accent"), width: 1.4, shape: "hv" },
      hovertemplate: `%{y:.4~g} ${unit}<extra></extra>`,
    };
    Plotly.react(node, [trace], layout({
      title: { text: `${line.title}${unit ? ` [${unit}]` : ""}`, x: 0, xref: "paper", y: 0.97,
               font: { size: 13, color: css("--ink") } },
      xaxis: { title: { text: days ? "days" : "hours", font: { size: 11 } } },
      yaxis: { rangemode: line.count ? "tozero" : "normal" },
      shapes: limitShapes(line.limits, divisor, false),
      annotations: line.limits.map(([text, value]) => ({
        x: 1, xref: "paper", y: value / divisor, text, showarrow: false, xanchor: "right",
        yanchor: "bottom", font: { size: 11, color: css("--bad") },
      })),
    }), CONFIG);
  }

  function drawDistribution(node, shown) {
    const all = shown.bound === null ? shown.values : [...shown.values, shown.bound];
    const [divisor, unit] = scaled(shown.unit, all);
    const values = shown.values.map((value) => value / divisor);
    const low = Math.min(...values), high = Math.max(...values);
    const same = high - low < 1e-9 * Math.max(1, Math.abs(high));
    const pad = same ? Math.max(1e-6, Math.abs(high) * 0.02) : 0;
    const trace = {
      type: "histogram", x: values, marker: { color: css("--accent") },
      xbins: same ? { start: low - pad, end: high + pad, size: 2 * pad }
                  : { start: low, end: high + (high - low) * 1e-6, size: (high - low) / 24 },
      hovertemplate: "%{y} futures at %{x}<extra></extra>",
    };
    const limits = shown.bound === null ? [] : [["bound", shown.bound]];
    const ends = [low - pad, high + pad, ...limits.map(([, value]) => value / divisor)];
    const margin = 0.04 * (Math.max(...ends) - Math.min(...ends));
    Plotly.react(node, [trace], layout({
      margin: { l: 44, r: 12, t: 8, b: 36 }, bargap: 0.06, hovermode: "closest",
      xaxis: { title: { text: unit, font: { size: 11 }, standoff: 4 },
               range: [Math.min(...ends) - margin, Math.max(...ends) + margin] },
      yaxis: { title: { text: "futures", font: { size: 11 } } },
      shapes: limitShapes(limits, divisor, true),
    }), CONFIG);
  }

  function drawTornado(node, bars) {
    const shown = [...bars].reverse();
    const cut = (value) => Math.max(-2.5, Math.min(value, 2.5));
    const side = (key, name, color) => ({
      type: "bar", orientation: "h", name, marker: { color },
      base: shown.map((bar) => 100 * bar.stated),
      y: shown.map((bar) => bar.name), x: shown.map((bar) => 100 * (cut(bar[key]) - bar.stated)),
      customdata: shown.map((bar) => [bar[`${key}_text`], short(100 * bar[key]), bar.check]),
      hovertemplate: "%{y}: %{customdata[0]}<br>%{customdata[1]} % of the margin of "
        + "%{customdata[2]}<extra></extra>",
    });
    const line = (x, color, dash) => ({ type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper",
                                        line: { color, width: 1.6, dash } });
    Plotly.react(node, [
      side("low", "lower end", CIVIDIS[2]), side("high", "upper end", CIVIDIS[7]),
    ], layout({
      barmode: "overlay", bargap: 0.35, hovermode: "closest", showlegend: true,
      legend: { orientation: "h", x: 1, xanchor: "right", y: 1.02, yanchor: "bottom" },
      margin: { l: 60, r: 18, t: 30, b: 40 },
      xaxis: { title: { text: "margin left [%]", font: { size: 11 }, standoff: 6 } },
      yaxis: {
        tickmode: "array", tickvals: shown.map((bar) => bar.name),
        ticktext: shown.map((bar) => bar.unknown ? `${bar.name} (unknown)` : bar.name),
      },
      shapes: [line(100 * bars[0].stated, css("--soft"), "solid"), line(0, css("--bad"), "dash")],
      annotations: [{ x: 0, y: 1, yref: "paper", text: "flips", showarrow: false, xanchor: "left",
                      yanchor: "bottom", font: { size: 11, color: css("--bad") } }],
    }), CONFIG);
  }

  function drawCharts() {
    const tornado = document.getElementById("tornado");
    if (tornado) drawTornado(tornado, data.assumptions);
    for (const node of document.querySelectorAll("[data-line]")) {
      drawLine(node, data.lines[Number(node.dataset.line)]);
    }
    for (const node of document.querySelectorAll("[data-distribution]")) {
      drawDistribution(node, data.distributions[Number(node.dataset.distribution)]);
    }
  }

  drawMap();
  const buttons = [...document.querySelectorAll(".toggle button")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      paint(button.dataset.mode);
    });
  }
  if (buttons.length) paint("temperature");
  drawCharts();
  dark.addEventListener("change", drawCharts);
})();
