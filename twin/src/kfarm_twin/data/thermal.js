"use strict";
(() => {
  const { css, dark, layout, CONFIG } = kfarmCharts;
  const data = JSON.parse(document.getElementById("data").textContent);
  const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#8c564b"];
  const colour = (index) => COLOURS[index % COLOURS.length];
  const tight = { l: 62, r: 62, t: 12, b: 44 };
  const title = (text) => ({ text, font: { size: 11 } });
  const legend = { showlegend: true, legend: { orientation: "h", x: 1, xanchor: "right", y: 1.12 } };
  const choice = document.getElementById("run");

  function drawTime(run) {
    const traces = run.devices.flatMap((name, index) => [
      { x: run.time, y: run.seen[index], mode: "markers", name, legendgroup: name, showlegend: false,
        marker: { color: colour(index), size: 4, opacity: 0.6 } },
      { x: run.time, y: run.said[index], mode: "lines", name, legendgroup: name,
        line: { color: colour(index), width: 1.6 } },
    ]);
    Plotly.react("time", traces, layout({ ...legend, margin: tight,
      xaxis: { title: title("seconds") }, yaxis: { title: title("degC") } }), CONFIG);
  }

  function drawPower(run) {
    const traces = [
      { x: run.time, y: run.powerSaid, mode: "lines", name: "fitted", line: { color: COLOURS[0] } },
      { x: run.time, y: run.fan, mode: "lines", name: "fans [%]", yaxis: "y2",
        line: { color: css("--soft"), dash: "dot" } },
    ];
    if (run.powerSeen) {
      traces.push({ x: run.time, y: run.powerSeen, mode: "markers", name: "measured",
        marker: { color: COLOURS[1], size: 4 } });
    }
    Plotly.react("power", traces, layout({ ...legend, margin: tight,
      xaxis: { title: title("seconds") }, yaxis: { title: title("W"), rangemode: "tozero" },
      yaxis2: { title: title("fans [%]"), overlaying: "y", side: "right", range: [0, 105], dtick: 25 } }), CONFIG);
  }

  function drawFlow() {
    const one = data.flow;
    const traces = one.devices.map((name, index) => ({
      x: one.flow, y: one.resistance[index], mode: "lines", name, line: { color: colour(index) },
    }));
    const shapes = [{ type: "rect", xref: "x", yref: "paper", x0: one.seen[0] - 0.3,
      x1: one.seen[1] + 0.3, y0: 0, y1: 1, line: { width: 0 }, fillcolor: css("--soft"), opacity: 0.18 }];
    Plotly.react("flow", traces, layout({ ...legend, margin: tight, shapes,
      xaxis: { title: title("fan speed [%]") },
      yaxis: { title: title("K/kW"), rangemode: "tozero" } }), CONFIG);
  }

  const draw = () => {
    const run = data.runs[Number(choice.value)];
    drawTime(run); drawPower(run); drawFlow();
  };
  choice.addEventListener("change", draw);
  dark.addEventListener("change", draw);
  draw();
})();
