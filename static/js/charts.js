// Draws <div data-chart="address#name">: fetches {"figures": {name: figure}} and draws the figure with ECharts.
// Colours come from the page's CSS variables, so that charts follow the theme. With `data-live` a chart is refreshed on
// every second tick until the answer says `final`. A figure says what to show; `chart-<kind>.js` says how.

import { heatmap, labelWhenZoomed } from "./chart-heatmap.js";
import { lines } from "./chart-lines.js";
import { palette } from "./chart-parts.js";
import { nameWhenPlaced, scatter } from "./chart-scatter.js";
import { times } from "./chart-times.js";

const KINDS = { lines, heatmap, scatter, times };
const charts = new Map();
let library;

function echarts() {
  // The bundle puts `echarts` on the global object; it is a megabyte, hence loaded where a chart is.
  library ??= window.echarts
    ? Promise.resolve(window.echarts)
    : import("../vendor/echarts.min.js").then(() => window.echarts);
  return library;
}

const answers = new Map();

// Charts of one page often share an address: within a tick it is asked for once.
function fetchOnce(address) {
  if (!answers.has(address)) {
    const answer = fetch(address, { headers: { Accept: "application/json" } }).then((response) => {
      if (!response.ok) throw new Error(String(response.status));
      return response.json();
    });
    answers.set(address, answer);
    answer.catch(() => {}).finally(() => setTimeout(() => answers.delete(address), 500));
  }
  return answers.get(address);
}

function say(element, text) {
  let note = element.querySelector(":scope > .chart-empty");
  if (!text) {
    note?.remove();
    return;
  }
  if (!note) {
    note = document.createElement("p");
    note.className = "chart-empty";
    element.append(note);
  }
  note.textContent = text;
}

function draw(element, figure) {
  const entry = charts.get(element);
  entry.figure = figure;
  say(element, "");
  const option = KINDS[figure.kind](figure, palette(), element.hasAttribute("data-titled"), element);
  const zoomed = entry.chart.getOption()?.dataZoom;
  entry.chart.setOption(option, { notMerge: true });
  if (zoomed?.length && zoomed.length === option.dataZoom?.length) {
    entry.chart.setOption({ dataZoom: zoomed.map(({ start, end }) => ({ start, end })) });
  }
  labelWhenZoomed(entry.chart, figure);
  nameWhenPlaced(entry.chart, figure, palette());
  element.setAttribute("data-drawn", figure.kind);
}

async function load(element) {
  const [address, name] = element.dataset.chart.split("#");
  try {
    const { figures, final } = await fetchOnce(address);
    const figure = figures[name];
    if (final) element.removeAttribute("data-live");
    if (!figure || (figure.series && !figure.series.length)) {
      if (!charts.has(element)) say(element, element.dataset.empty || "");
      return;
    }
    if (!charts.has(element)) {
      const library = await echarts();
      if (!element.isConnected || charts.has(element)) return;
      element.replaceChildren();
      charts.set(element, { chart: library.init(element, null, { renderer: "canvas" }), figure: null });
      sizes.observe(element);
    }
    const drawn = JSON.stringify(figure);
    if (charts.get(element).drawn !== drawn) {
      charts.get(element).drawn = drawn;
      draw(element, figure);
    }
  } catch {
    // Away for a moment, or the job was deleted: what is drawn stays.
  }
}

const sizes = new ResizeObserver((entries) =>
  entries.forEach(({ target }) => {
    const { chart, figure } = charts.get(target) ?? {};
    chart?.resize();
    if (figure) nameWhenPlaced(chart, figure, palette());
  }),
);

function scan(root) {
  for (const [element, { chart }] of charts) {
    if (!element.isConnected) {
      sizes.unobserve(element);
      chart.dispose();
      charts.delete(element);
    }
  }
  root.querySelectorAll("[data-chart]").forEach((element) => charts.has(element) || load(element));
}

let ticks = 0;
document.body.addEventListener("tick", () => {
  ticks += 1;
  if (ticks % 2 === 0) document.querySelectorAll("[data-chart][data-live]").forEach(load);
});
document.body.addEventListener("htmx:afterSettle", () => scan(document));

// Buttons that show another figure in the same place.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-chart-show]");
  if (!button) return;
  const element = document.querySelector(button.dataset.chartShow);
  element.dataset.chart = button.dataset.url;
  button.parentElement.querySelectorAll("[data-chart-show]").forEach((other) => {
    other.classList.toggle("active", other === button);
    other.setAttribute("aria-pressed", String(other === button));
  });
  load(element);
});

// Another theme: the same figures in its colours.
const redraw = () => charts.forEach(({ figure }, element) => figure && draw(element, figure));
new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

scan(document);
