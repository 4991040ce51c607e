"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { css, dark, layout, CONFIG } = kfarmCharts;
  // Two colours of cividis, which all kinds of colour vision tell apart.
  const CIVIDIS = { low: "#3b496c", high: "#c3b369" };
  const short = (value) => {
    const size = Math.abs(value);
    return value.toLocaleString("en", { maximumFractionDigits: size >= 100 ? 0 : size >= 10 ? 1 : 2 });
  };

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
      side("low", "lower end", CIVIDIS.low), side("high", "upper end", CIVIDIS.high),
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

  drawCharts();
  dark.addEventListener("change", drawCharts);
})();
