"use strict";
(() => {
  const { css, dark, layout, CONFIG } = kfarmCharts;
  const data = JSON.parse(document.getElementById("data").textContent);
  const LOG = "#d55e00", FLEET = "#0072b2";
  const tight = { l: 62, r: 18, t: 12, b: 44 };
  const title = (text) => ({ text, font: { size: 11 } });
  const legend = { showlegend: true, legend: { orientation: "h", x: 1, xanchor: "right", y: 1.08 } };

  const band = (x, one, low, high, name, shade) => [
    { x, y: one[low], mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false },
    { x, y: one[high], mode: "lines", line: { width: 0 }, hoverinfo: "skip", name,
      fill: "tonexty", fillcolor: FLEET + shade },
  ];
  const positive = (values) => values.map((value) => value > 0 ? value : null);

  function drawTime() {
    const traces = data.series.map((y, index) => ({
      x: data.days, y, mode: "lines", name: index ? `future ${index}` : "log",
      opacity: index ? 0.55 : 1,
      line: { color: index ? FLEET : LOG, width: index ? 1 : 2.2, shape: "hv",
              dash: ["solid", "solid", "dot", "dash"][index] },
    })).reverse();
    Plotly.react("time", traces, layout({ ...legend, margin: tight,
      xaxis: { title: title("day of the log") }, yaxis: { rangemode: "tozero" } }), CONFIG);
  }

  function drawShare() {
    const one = data.share, x = one.seen.map((_, index) => index);
    const percent = Object.fromEntries(Object.entries(one)
      .map(([key, values]) => [key, values.map((value) => 100 * value)]));
    const traces = [
      ...band(x, percent, "low", "high", "95 % of futures", "26"),
      ...band(x, percent, "quarter", "threeQuarters", "half of futures", "40"),
      { x, y: percent.middle, mode: "lines", name: "median of futures",
        line: { color: FLEET, width: 1.5, dash: "dash" } },
      { x, y: percent.seen, mode: "lines", name: "log", line: { color: LOG, width: 2.4, shape: "hv" } },
    ];
    Plotly.react("share", traces, layout({ ...legend, margin: tight,
      xaxis: { title: title("nodes down at once, at least") }, yaxis: { ticksuffix: " %" } }), CONFIG);
  }

  function drawSurvival() {
    const one = data.longer, x = data.lengths;
    const clean = Object.fromEntries(Object.entries(one)
      .map(([key, values]) => [key, values.map((value) => Math.max(value, 1e-4))]));
    const traces = [
      ...band(x, clean, "low", "high", "95 % of futures", "2e"),
      { x, y: positive(one.middle), mode: "lines", name: "median of futures",
        line: { color: FLEET, width: 1.5, dash: "dash" } },
      { x, y: positive(one.seen), mode: "lines", name: "log", line: { color: LOG, width: 2.4 } },
    ];
    Plotly.react("survival", traces, layout({ ...legend, margin: tight,
      xaxis: { type: "log", title: title("hours out of service") },
      yaxis: { type: "log", range: [-3, 0.05], tickformat: ".3~p" } }), CONFIG);
  }

  function drawQuantiles() {
    const one = data.equal, all = [...one.seen, ...one.middle].filter((value) => value > 0);
    const ends = [Math.max(Math.min(...all), 0.05), Math.max(...all)];
    const lift = (values) => values.map((value) => Math.max(value, 0.05));
    const lifted = Object.fromEntries(Object.entries(one).map(([k, values]) => [k, lift(values)]));
    const traces = [
      ...band(lifted.seen, lifted, "low", "high", "95 % of futures", "2e"),
      { x: ends, y: ends, mode: "lines", name: "equal", line: { color: css("--soft"), width: 1 } },
      { x: lifted.seen, y: lifted.middle, mode: "markers", name: "median of futures",
        marker: { color: FLEET, size: 5 } },
    ];
    Plotly.react("qq", traces, layout({ ...legend, margin: tight, hovermode: "closest",
      xaxis: { type: "log", title: title("hours, log") },
      yaxis: { type: "log", title: title("hours, futures") } }), CONFIG);
  }

  const draw = () => { drawTime(); drawShare(); drawSurvival(); drawQuantiles(); };
  dark.addEventListener("change", draw);
  draw();
})();
