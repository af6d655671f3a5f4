// The two live charts. The last five minutes are kept in memory, never more.

const WINDOW_S = 300;
const SHOWN_MIN_S = 60; // a page just opened shows a minute, and grows to the window
const POINTS_MAX = WINDOW_S + 60; // one a second, and room for gaps
const points = []; // {at, confirmed, rejected, p50, p99}; null figures break the line

function keep(point) {
  points.push(point);
  const oldest = Date.now() - WINDOW_S * 1000;
  while (points.length > POINTS_MAX || (points.length && points[0].at < oldest)) points.shift();
}

export function record({ checkout }) {
  keep({
    at: Date.now(), confirmed: checkout.confirmed_per_s, rejected: checkout.rejected_per_s,
    p50: checkout.p50_ms, p99: checkout.p99_ms,
  });
}

/** No answer came: the line has a hole there, instead of a guess. */
export function recordGap() {
  keep({ at: Date.now(), confirmed: null, rejected: null, p50: null, p99: null });
}

const CHARTS = [
  ["chart-orders", [["confirmed", "Confirmed", "--good", true], ["rejected", "Rejected", "--accent", false]]],
  ["chart-times", [["p99", "p99", "--second", true], ["p50", "p50", "--muted", false]]],
];

function layout(style) {
  const ink = style.getPropertyValue("--muted");
  const line = style.getPropertyValue("--line");
  const now = Date.now();
  const seen = points.length ? now - points[0].at : 0;
  const shown = Math.min(Math.max(seen, SHOWN_MIN_S * 1000), WINDOW_S * 1000);
  const axis = { gridcolor: line, zeroline: false, linecolor: line, tickcolor: line, fixedrange: true };
  return {
    autosize: true,
    margin: { l: 48, r: 8, t: 8, b: 56 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: style.getPropertyValue("--sans"), size: 12, color: ink },
    hovermode: "x unified",
    hoverlabel: { bgcolor: style.getPropertyValue("--surface"), bordercolor: line, font: { color: style.getPropertyValue("--ink") } },
    legend: { orientation: "h", x: 0, y: -0.16, yanchor: "top" },
    showlegend: true,
    xaxis: { ...axis, type: "date", range: [now - shown, now].map(local), tickformat: shown < 150_000 ? "%H:%M:%S" : "%H:%M", hoverformat: "%H:%M:%S", nticks: 5, showgrid: false },
    yaxis: { ...axis, rangemode: "tozero", nticks: 5, separatethousands: true, automargin: false },
  };
}

// Plotly reads dates as written: this writes the instant in the operator's own time zone.
function local(at) {
  const when = new Date(at);
  return new Date(at - when.getTimezoneOffset() * 60_000).toISOString().slice(0, -1);
}

export function drawCharts() {
  const { Plotly } = globalThis;
  if (!Plotly) return; // still on its way
  const style = getComputedStyle(document.documentElement);
  const x = points.map((point) => local(point.at));
  for (const [id, series] of CHARTS) {
    const traces = series.map(([field, name, color, isFilled]) => ({
      x, y: points.map((point) => point[field] ?? null), name, type: "scatter", mode: "lines", connectgaps: false,
      line: { color: style.getPropertyValue(color).trim(), width: 2 },
      fill: isFilled ? "tozeroy" : "none", fillcolor: `${style.getPropertyValue(color).trim()}22`,
      hovertemplate: "%{y:,.1f}<extra>%{fullData.name}</extra>",
    }));
    Plotly.react(id, traces, layout(style), { displayModeBar: false, responsive: true });
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCharts);
