"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const css = getComputedStyle(document.documentElement);
  const colour = (name) => css.getPropertyValue(name).trim();
  // Okabe and Ito: told apart with any kind of colour vision; dashes help in print.
  const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d1f",
                   "#7f7f7f"];
  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "solid", "dash", "dot"];

  const traces = (key) => data.policies.flatMap((policy, index) => {
    const { mean, sd } = policy.curves[key];
    const line = COLOURS[index % COLOURS.length];
    const common = { x: data.arrived, legendgroup: policy.name, mode: "lines" };
    const edge = (sign) => mean.map((value, i) => value === null ? null : value + sign * sd[i]);
    const band = sd.some((value) => value > 0) ? [
      { ...common, y: edge(-1), line: { width: 0 }, showlegend: false, hoverinfo: "skip" },
      { ...common, y: edge(1), line: { width: 0 }, showlegend: false, hoverinfo: "skip",
        fill: "tonexty", fillcolor: line + "2e" },
    ] : [];
    return [...band, {
      ...common, y: mean, name: policy.name,
      line: { color: line, width: 2.2, dash: DASHES[index % DASHES.length] },
      hovertemplate: "%{y:.2f}",
    }];
  });

  const axis = (title) => ({
    title: { text: title, standoff: 12 }, gridcolor: colour("--line"), zeroline: false,
    linecolor: colour("--line"), ticks: "outside", tickcolor: colour("--line"), automargin: true,
  });

  // Up to about 70 % every policy gives away all that is asked for: show where they part.
  const zoom = (key) => {
    const last = data.arrived.at(-1);
    if (key !== "allocated_percent" || last < 100) return [{}, {}];
    const seen = data.policies.flatMap((policy) => policy.curves[key].mean.slice(70))
      .filter((value) => value !== null);
    return [{ range: [70, last] }, { range: [Math.min(...seen) - 1, Math.max(...seen) + 1] }];
  };

  for (const place of document.querySelectorAll("[data-curve]")) {
    const key = place.dataset.curve;
    const [across, up] = zoom(key);
    Plotly.newPlot(place, traces(key), {
      margin: { l: 56, r: 16, t: 8, b: 48 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("--ink"), family: getComputedStyle(document.body).fontFamily, size: 13 },
      xaxis: { ...axis("GPU demand that has arrived, percent of all GPUs"), ...across },
      yaxis: { ...axis(data.units[key]), ...up },
      hovermode: "x unified", hoverlabel: { bgcolor: colour("--card") },
      legend: { orientation: "v", x: 1.01, y: 1 },
    }, { responsive: true, displayModeBar: false });
  }
})();
