"use strict";
(() => {
  const { css, dark, layout, CONFIG } = kfarmCharts;
  const data = JSON.parse(document.getElementById("data").textContent);
  const COLOURS = 8, DASHES = ["solid", "dash"];
  const policies = data.policies.map((policy, index) => ({
    ...policy,
    colour: () => css(`--p${index % COLOURS}`),
    dash: DASHES[Math.floor(index / COLOURS) % DASHES.length],
  }));

  const TICKS = [[1, "≤ 1 s"], [10, "10 s"], [60, "1 min"], [600, "10 min"], [3600, "1 h"],
                 [6 * 3600, "6 h"], [86400, "1 d"], [7 * 86400, "7 d"], [30 * 86400, "30 d"],
                 [365 * 86400, "1 y"]];
  function span(seconds) {
    if (seconds === null) return "–";
    const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]
      .find(([size]) => seconds >= 2 * size) ?? [1, "s"];
    const value = seconds / size;
    return `${value.toLocaleString("en", { maximumFractionDigits: value >= 100 ? 0 : value >= 10 ? 1 : 2 })} ${unit}`;
  }
  const tight = { l: 62, r: 18, t: 12, b: 40 };

  function paintDots() {
    for (const dot of document.querySelectorAll(".dot")) {
      const policy = policies[Number(dot.dataset.policy)];
      dot.style.background = policy.colour();
      dot.dataset.dash = policy.dash === "solid" ? "0" : "1";
    }
  }

  function drawEcdf() {
    const node = document.getElementById("ecdf");
    const top = Math.max(60, ...policies.flatMap((policy) => policy.waitsS));
    const traces = policies.map((policy) => ({
      x: policy.waitsS.map((wait) => Math.max(1, wait)),
      y: data.percentiles, text: policy.waitsS.map(span), name: policy.name,
      mode: "lines", line: { color: policy.colour(), width: 2, dash: policy.dash },
      hovertemplate: "%{y} % of jobs wait at most %{text}<extra>%{fullData.name}</extra>",
    }));
    Plotly.react(node, traces, layout({
      margin: tight, hovermode: "closest",
      xaxis: { type: "log", range: [0, Math.log10(top) + 0.05], tickvals: TICKS.map(([at]) => at),
               ticktext: TICKS.map(([, text]) => text), title: { text: "wait", font: { size: 11 } } },
      yaxis: { range: [0, 101], ticksuffix: " %" },
    }), CONFIG);
  }

  function drawSizes(figure) {
    const node = document.getElementById("sizes");
    const slow = figure === "slowdownMean";
    const labels = policies[0].sizes.map((size) => size.label);
    const values = policies.map((policy) => labels.map((label) => {
      const size = policy.sizes.find((item) => item.label === label);
      return size ? size[figure] : null;
    }));
    const top = Math.max(...values.flat().filter((value) => value !== null), 0);
    const [per, unit] = slow ? [1, ""] : top >= 7200 ? [3600, "hours"] : top >= 120 ? [60, "minutes"] : [1, "seconds"];
    const traces = policies.map((policy, index) => ({
      type: "bar", x: labels, y: values[index].map((value) => value === null ? null : value / per),
      name: policy.name, text: values[index].map((value) => slow ? value?.toFixed(2) : span(value)),
      textposition: "none",
      marker: { color: policy.colour(), pattern: { shape: policy.dash === "solid" ? "" : "/" } },
      hovertemplate: "%{text}<extra>%{fullData.name}</extra>",
    }));
    Plotly.react(node, traces, layout({
      margin: tight, hovermode: "x unified", bargap: 0.28, bargroupgap: 0.06,
      xaxis: { type: "category", title: { text: "accelerators per job", font: { size: 11 } } },
      yaxis: { rangemode: "tozero", title: { text: slow ? "bounded slowdown" : unit, font: { size: 11 } } },
    }), CONFIG);
  }

  const SERIES = {
    queuedJobs: ["Jobs queued", 1, ""],
    utilisation: ["Accelerators in use [%]", 100, " %"],
    fragmentation: ["Fragmented share of idle accelerators [%]", 100, " %"],
  };
  function drawSeries(node) {
    const key = node.dataset.series, [title, factor, unit] = SERIES[key];
    const long = (data.gridS.at(-1) ?? 0) > 72 * 3600, per = long ? 86400 : 3600;
    const traces = policies.filter((policy) => policy.series?.[key]).map((policy) => ({
      x: data.gridS.map((second) => second / per), y: policy.series[key].map((value) => value * factor),
      name: policy.name, mode: "lines",
      line: { color: policy.colour(), width: 1.5, shape: "vh", dash: policy.dash },
      hovertemplate: `%{y:.3~g}${unit}<extra>%{fullData.name}</extra>`,
    }));
    Plotly.react(node, traces, layout({
      title: { text: title, x: 0, xref: "paper", y: 0.97, font: { size: 13, color: css("--ink") } },
      xaxis: { title: { text: long ? "days" : "hours", font: { size: 11 } } },
      yaxis: { rangemode: "tozero" },
    }), CONFIG);
  }

  const buttons = [...document.querySelectorAll("[data-size]")];
  const chosen = () => buttons.find((b) => b.getAttribute("aria-pressed") === "true").dataset.size;
  function draw() {
    paintDots();
    drawEcdf();
    drawSizes(chosen());
    for (const node of document.querySelectorAll("[data-series]")) drawSeries(node);
  }
  for (const button of buttons) {
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      drawSizes(chosen());
    });
  }
  draw();
  dark.addEventListener("change", draw);
})();
