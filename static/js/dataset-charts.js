// Draws the charts of a version's statistics from the page's own JSON (`#chart-data`), in the colours of the theme.

import "../vendor/echarts.min.js";

import { axis, frame } from "./chart-parts.js";

const charts = new Map();

function colours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(`--ty-${name}`).trim();
  return {
    ink: read("ink"),
    muted: read("muted"),
    line: read("line"),
    card: read("card"),
    accent: read("accent"),
    train: read("accent"),
    validation: read("running"),
    test: read("good"),
    font: getComputedStyle(document.body).fontFamily,
  };
}

function base(figure, colour) {
  const drawn = frame(figure, colour, true);
  return { ...drawn, tooltip: { ...drawn.tooltip, trigger: "axis", axisPointer: { type: "shadow" } } };
}

function bars(figure, colour) {
  const many = figure.categories.length > 20;
  return {
    ...base(figure, colour),
    grid: { left: 8, right: many ? 32 : 16, top: 30, bottom: 24, containLabel: true },
    legend: {
      top: 0,
      left: 0,
      icon: "roundRect",
      itemWidth: 10,
      itemHeight: 10,
      textStyle: { color: colour.muted, fontSize: 12 },
    },
    xAxis: axis(colour, { type: "value", name: figure.unit, nameGap: 22 }),
    yAxis: axis(colour, {
      type: "category",
      inverse: true,
      data: figure.categories,
      splitLine: { show: false },
      axisLabel: { color: colour.ink, fontSize: 11, interval: 0, width: 180, overflow: "truncate" },
    }),
    // Twenty names fit; with more one scrolls.
    dataZoom: many
      ? [
          { type: "slider", yAxisIndex: 0, right: 4, width: 12, startValue: 0, endValue: 19, showDetail: false, brushSelect: false, borderColor: colour.line },
          { type: "inside", yAxisIndex: 0, zoomOnMouseWheel: false, moveOnMouseWheel: false, moveOnMouseMove: true },
        ]
      : [],
    series: figure.series.map((part) => ({
      type: "bar",
      stack: "rows",
      name: part.name,
      data: part.values,
      barMaxWidth: 18,
      itemStyle: { color: colour[part.role] },
    })),
  };
}

function histogram(figure, colour) {
  const bins = figure.bins;
  const place = (value) => bins.findIndex((bin) => value >= bin.from && value <= bin.to);
  return {
    ...base(figure, colour),
    grid: { left: 8, right: 16, top: 28, bottom: 24, containLabel: true },
    xAxis: axis(colour, {
      type: "category",
      data: bins.map((bin) => (bin.from === bin.to ? `${bin.from}` : `${bin.from}–${bin.to}`)),
      name: figure.axis,
      nameGap: 24,
      splitLine: { show: false },
    }),
    yAxis: axis(colour, { type: "value", name: figure.unit, nameLocation: "end" }),
    series: [
      {
        type: "bar",
        name: figure.unit,
        data: bins.map((bin) => bin.rows),
        barCategoryGap: "10%",
        itemStyle: { color: colour.accent },
        markLine: {
          symbol: "none",
          silent: true,
          lineStyle: { type: "dashed", color: colour.muted },
          label: { color: colour.muted, fontSize: 11, formatter: ({ name }) => name },
          data: figure.marks
            .map((mark) => ({ name: mark.name, xAxis: place(mark.value) }))
            .filter((mark) => mark.xAxis >= 0),
        },
      },
    ],
  };
}

const KINDS = { bars, histogram };

function draw(element) {
  const figure = charts.get(element).figure;
  charts.get(element).chart.setOption(KINDS[figure.kind](figure, colours()), { notMerge: true });
  element.dataset.drawn = figure.kind;
}

const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => charts.get(target)?.chart.resize()));

function scan() {
  for (const [element, { chart }] of charts) {
    if (element.isConnected) continue;
    sizes.unobserve(element);
    chart.dispose();
    charts.delete(element);
  }
  const data = document.getElementById("chart-data");
  if (!data) return;
  const figures = JSON.parse(data.textContent);
  for (const element of document.querySelectorAll("[data-dataset-chart]")) {
    if (charts.has(element)) continue;
    const chart = window.echarts.init(element, null, { renderer: "canvas" });
    charts.set(element, { chart, figure: figures[element.dataset.datasetChart] });
    sizes.observe(element);
    draw(element);
  }
}

const redraw = () => charts.forEach((_entry, element) => draw(element));
new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
document.addEventListener("htmx:afterSettle", scan);
scan();
