"use strict";
// What all pages share: colours of the style sheet, and how a chart is laid out.
const kfarmCharts = (() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function layout(extra) {
    const axis = { gridcolor: css("--line"), zeroline: false, linecolor: css("--line"),
                   tickfont: { size: 11 }, automargin: true };
    return {
      margin: { l: 62, r: 18, t: 26, b: 34 }, paper_bgcolor: "transparent",
      plot_bgcolor: "transparent", showlegend: false, hovermode: "x unified",
      font: { family: getComputedStyle(document.body).fontFamily, color: css("--soft"), size: 12 },
      hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"),
                    font: { color: css("--ink") } },
      ...extra, xaxis: { ...axis, ...extra.xaxis }, yaxis: { ...axis, ...extra.yaxis },
    };
  }
  const CONFIG = { displayModeBar: false, responsive: true };

  return { css, dark, layout, CONFIG };
})();
