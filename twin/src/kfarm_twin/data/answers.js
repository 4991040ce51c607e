"use strict";
(() => {
  const { css, dark, layout, CONFIG } = kfarmCharts;
  const data = JSON.parse(document.getElementById("data").textContent);
  const colour = (index) => css(`--p${index}`);

  function traces(chart, series) {
    const common = { x: chart.x, legendgroup: series.name, name: series.name };
    const shown = { hovertemplate: `%{y:${chart.format}}` };
    const line = colour(series.colour);
    if (series.kind === "bar") {
      return [{ ...common, ...shown, type: "bar", y: series.y, marker: { color: line } }];
    }
    const edge = (values) => ({ ...common, y: values, mode: "lines", line: { width: 0 },
                                showlegend: false, hoverinfo: "skip" });
    const band = series.low
      ? [edge(series.low), { ...edge(series.high), fill: "tonexty", fillcolor: line + "33" }] : [];
    return [...band, {
      ...common, ...shown, y: series.y, mode: series.dots ? "lines+markers" : "lines",
      line: { color: line, width: 2.2, dash: series.dash ?? "solid", shape: series.shape ?? "linear" },
      marker: { size: 7 },
    }];
  }

  function marks(chart) {
    const log = chart.xType === "log";
    return (chart.marks ?? []).map((mark, index) => ({
      x: log ? Math.log10(mark.x) : mark.x, y: 1.0 - 0.09 * index, yref: "paper", text: mark.text,
      showarrow: false, xanchor: "left", xshift: 4, font: { size: 11, color: css("--ink") },
    }));
  }

  function draw(chart) {
    const node = document.getElementById(chart.id);
    const shapes = (chart.marks ?? []).map((mark) => ({
      type: "line", x0: mark.x, x1: mark.x, y0: 0, y1: 1, yref: "paper",
      line: { color: css("--soft"), width: 1, dash: "dot" },
    }));
    for (const span of chart.spans ?? []) {
      shapes.push({ type: "rect", x0: span[0], x1: span[1], y0: 0, y1: 1, yref: "paper",
                    line: { width: 0 }, fillcolor: css("--good"), opacity: 0.1, layer: "below" });
    }
    const title = (text) => ({ title: { text, font: { size: 12 }, standoff: 8 } });
    Plotly.react(node, chart.series.flatMap((series) => traces(chart, series)), layout({
      margin: { l: 62, r: 18, t: 12, b: 48 }, shapes, annotations: marks(chart),
      showlegend: chart.series.length > 1, barmode: chart.stacked ? "stack" : "group",
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 12 } },
      xaxis: { type: chart.xType, ...title(chart.xTitle),
               ...(chart.ticks ? { tickvals: chart.ticks.map(([at]) => at),
                                   ticktext: chart.ticks.map(([, text]) => text) } : {}) },
      yaxis: { type: chart.yType ?? "linear", ...title(chart.yTitle), tickformat: chart.tickFormat ?? "",
               ...(chart.fromZero ? { rangemode: "tozero" } : {}) },
    }), CONFIG);
  }

  const all = () => data.charts.forEach(draw);
  dark.addEventListener("change", all);
  all();
})();
