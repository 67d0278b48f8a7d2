// Draws <div data-chart="address#name">: fetches {"figures": {name: figure}} and draws the figure with ECharts.
// Colours come from the page's CSS variables, so that charts follow the theme. With `data-live` a chart is refreshed on
// every second tick until the answer says `final`. A figure says what to show; only this file says how.

import { times } from "./chart-times.js";

const charts = new Map();
let library;

function echarts() {
  // The bundle puts `echarts` on the global object; it is a megabyte, hence loaded where a chart is.
  library ??= window.echarts
    ? Promise.resolve(window.echarts)
    : import("../vendor/echarts.min.js").then(() => window.echarts);
  return library;
}

function palette() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return {
    ink: read("--chart-ink"),
    muted: read("--chart-muted"),
    line: read("--chart-line"),
    card: read("--chart-card"),
    accent: read("--chart-accent"),
    train: read("--chart-train"),
    reference: read("--chart-reference"),
    bad: read("--chart-bad"),
    warning: read("--chart-warning"),
    good: read("--chart-good"),
    font: getComputedStyle(document.body).fontFamily,
  };
}

function colourOf(role, colours) {
  return { train: colours.train, validation: colours.accent, test: colours.good }[role] || colours.accent;
}

// A colour laid over the card's with the given strength: opaque, so that what is written on it stays readable.
function mix(colour, ground, strength) {
  const parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const [over, under] = [parts(colour), parts(ground)];
  return `rgb(${over.map((value, i) => Math.round(value * strength + under[i] * (1 - strength))).join(",")})`;
}

function compact(number) {
  if (number === 0) return "0";
  const size = Math.abs(number);
  if (size < 0.001 || size >= 1e6) return number.toExponential(1).replace("e+", "e");
  return String(Number(number.toPrecision(4)));
}

function frame(figure, colours, titled) {
  const text = figure.unit ? `{a|${figure.title}}  {b|${figure.unit}}` : `{a|${figure.title}}`;
  return {
    animation: false,
    textStyle: { fontFamily: colours.font, color: colours.ink },
    aria: { enabled: true, label: { description: figure.title } },
    title: titled
      ? { show: false }
      : {
          text,
          left: 0,
          top: 0,
          padding: 0,
          textStyle: {
            rich: {
              a: { fontSize: 14, fontWeight: 650, color: colours.ink, fontFamily: colours.font },
              b: { fontSize: 12, fontWeight: 400, color: colours.muted, fontFamily: colours.font },
            },
          },
        },
    tooltip: {
      // Drawn on the canvas: a tooltip of HTML would need inline styles, which the page's policy forbids.
      renderMode: "richText",
      confine: true,
      backgroundColor: colours.card,
      borderColor: colours.line,
      textStyle: { color: colours.ink, fontSize: 12 },
    },
  };
}

function axis(colours, extra) {
  return {
    nameLocation: "middle",
    nameTextStyle: { color: colours.muted, fontSize: 11 },
    axisLabel: { color: colours.muted, fontSize: 11, hideOverlap: true },
    axisLine: { lineStyle: { color: colours.line } },
    axisTick: { show: false },
    splitLine: { lineStyle: { color: colours.line } },
    ...extra,
  };
}

// --- lines ------------------------------------------------------------------------------------------------------------

// An exponential mean with a span of a fortieth of the curve: the eye follows it, the raw curve stays behind it.
function smooth(points) {
  const weight = 2 / (Math.max(4, points.length / 40) + 1);
  let mean;
  return points.map(([x, y]) => {
    mean = mean === undefined ? y : mean + weight * (y - mean);
    return [x, mean];
  });
}

function bestOf(points, rule) {
  const better = rule === "max" ? (a, b) => a > b : (a, b) => a < b;
  return points.reduce((best, point) => (best === null || better(point[1], best[1]) ? point : best), null);
}

function lines(figure, colours, titled) {
  const suffix = figure.percent ? " %" : "";
  const last = figure.x_max || Math.max(...figure.series.flatMap((line) => line.points.map((point) => point[0])));
  const series = [];
  for (const line of figure.series) {
    const colour = colourOf(line.role, colours);
    const noisy = figure.noisy && line.role === "train" && line.points.length > 30;
    if (noisy) {
      series.push({
        type: "line",
        data: line.points,
        showSymbol: false,
        silent: true,
        lineStyle: { width: 1, color: colour, opacity: 0.35 },
        tooltip: { show: false },
        z: 1,
      });
    }
    const best = line.role === "validation" && figure.best && bestOf(line.points, figure.best);
    series.push({
      name: line.name,
      type: "line",
      data: noisy ? smooth(line.points) : line.points,
      showSymbol: line.points.length <= 30,
      symbol: "circle",
      symbolSize: 6,
      lineStyle: { width: 2, color: colour },
      itemStyle: { color: colour },
      z: line.role === "validation" ? 3 : 2,
      markPoint:
        best && line.points.length > 1
          ? {
              symbol: "circle",
              symbolSize: 9,
              data: [{ coord: best }],
              itemStyle: { color: colour },
              label: {
                formatter: `${figure.best_label} ${compact(Number(best[1].toPrecision(3)))}${suffix}`,
                // The curve comes from below for a maximum, from above for a minimum; at the right edge there is no room.
                position: figure.best === "max" ? "top" : "bottom",
                align: best[0] > 0.7 * last ? "right" : "center",
                distance: 7,
                textBorderColor: colours.card,
                textBorderWidth: 3,
                color: colours.ink,
                fontSize: 11,
                fontWeight: 600,
              },
            }
          : undefined,
    });
  }
  if (series.length && figure.references.length) {
    series[series.length - 1].markLine = {
      symbol: "none",
      silent: true,
      lineStyle: { type: "dashed", color: colours.reference },
      label: { color: colours.reference, fontSize: 11, position: "insideStartTop" },
      data: figure.references.map((item) => ({ yAxis: item.value, label: { formatter: item.label } })),
    };
    // An unseen point at each reference widens the axis, so that the dashed line never lies outside of it.
    series.push({
      type: "line",
      data: figure.references.map((item) => [0, item.value]),
      showSymbol: false,
      silent: true,
      lineStyle: { opacity: 0 },
      tooltip: { show: false },
    });
  }
  return {
    ...frame(figure, colours, titled),
    grid: { left: 8, right: 16, top: 40, bottom: 24, containLabel: true },
    legend: {
      right: 0,
      top: 0,
      icon: "roundRect",
      itemWidth: 12,
      itemHeight: 3,
      textStyle: { color: colours.muted, fontSize: 11 },
      data: figure.series.map((line) => line.name),
    },
    tooltip: {
      ...frame(figure, colours, titled).tooltip,
      trigger: "axis",
      axisPointer: { lineStyle: { color: colours.muted } },
      valueFormatter: (value) => (value == null ? "–" : compact(Number(value)) + suffix),
    },
    xAxis: axis(colours, {
      type: "value",
      name: figure.x,
      nameGap: 22,
      min: figure.x_min ?? 0,
      minInterval: figure.x_whole ? 1 : undefined,
      max: figure.x_max || "dataMax",
      splitLine: { show: false },
    }),
    yAxis: axis(colours, {
      type: "value",
      scale: true,
      // There is nothing above 100 % nor below 0 %, however flat the line is.
      min: figure.percent ? ({ min, max }) => Math.max(0, Math.floor(min - Math.max(0.5, (max - min) / 10))) : null,
      max: figure.percent ? ({ min, max }) => Math.min(100, Math.ceil(max + Math.max(0.5, (max - min) / 10))) : null,
      axisLabel: { color: colours.muted, fontSize: 11, formatter: (value) => compact(Number(value.toPrecision(6))) },
    }),
    series,
  };
}

// --- heat map ---------------------------------------------------------------------------------------------------------

function heatmap(figure, colours, titled, element) {
  const last = figure.rows.length;
  const largest = Math.max(1, ...figure.cells.map((cell) => cell[2]));
  const strength = (count, right) => (count === 0 ? 0.04 : right ? 0.15 + 0.85 * Math.sqrt(count / largest) : 0.1 + 0.55 * Math.sqrt(count / largest));
  const diagonal = (x, y) => figure.rows[y] === figure.columns[x];
  const named = last <= 15;
  const narrow = element.clientWidth < 480;
  const cut = (name) => (name.length > (narrow ? 12 : 22) ? `${name.slice(0, narrow ? 11 : 21)}…` : name);
  // Few names are written at the rows only; letters stand for them below, as columns have the same order.
  const letter = (index) => (index < last ? String.fromCharCode(65 + index) : figure.columns[index]);
  const data = figure.cells.map(([x, y, count]) => {
    const right = diagonal(x, y);
    const power = strength(count, right);
    return {
      value: [x, y, count],
      itemStyle: { color: mix(right || count === 0 ? colours.accent : colours.bad, colours.card, power) },
      label: { show: named && count > 0, color: power > 0.6 ? colours.card : right ? colours.ink : colours.bad },
    };
  });
  const zoom = figure.zoom
    ? [
        { type: "inside", xAxisIndex: 0, filterMode: "none" },
        { type: "inside", yAxisIndex: 0, filterMode: "none" },
        { type: "slider", xAxisIndex: 0, bottom: 0, height: 14, filterMode: "none", brushSelect: false },
        { type: "slider", yAxisIndex: 0, right: 0, width: 14, filterMode: "none", brushSelect: false },
      ].map((item) => ({
        ...item,
        borderColor: colours.line,
        textStyle: { color: colours.muted, fontSize: 10 },
        showDetail: false,
        showDataShadow: false,
      }))
    : [];
  return {
    ...frame(figure, colours, titled),
    grid: { left: narrow ? 96 : 168, right: zoom.length ? 26 : 8, top: 8, bottom: zoom.length ? 40 : 44 },
    tooltip: {
      ...frame(figure, colours, titled).tooltip,
      formatter: ({ value: [x, y, count] }) =>
        `${figure.words.true}: ${figure.rows[y]}\n${figure.words.predicted}: ${figure.columns[x]}\n${figure.words.rows}: ${count}`,
    },
    xAxis: axis(colours, {
      type: "category",
      data: figure.columns,
      name: figure.x,
      nameGap: named ? 24 : 12,
      axisLabel: { color: colours.muted, fontSize: 11, show: named, interval: 0, formatter: (_name, index) => letter(index) },
      splitLine: { show: false },
      splitArea: { show: false },
    }),
    yAxis: axis(colours, {
      type: "category",
      data: figure.rows,
      inverse: true,
      axisLabel: {
        color: colours.muted,
        fontSize: named ? 11 : 10,
        interval: named ? 0 : "auto",
        formatter: (name, index) => (named ? `${cut(name)}  ${letter(index)}` : cut(name)),
      },
      splitLine: { show: false },
    }),
    dataZoom: zoom,
    series: [
      {
        type: "heatmap",
        data,
        label: { show: named, fontSize: 11, fontWeight: 600 },
        itemStyle: { borderWidth: named ? 2 : 0.5, borderColor: colours.card, borderRadius: named ? 2 : 0 },
        emphasis: { itemStyle: { borderColor: colours.ink, borderWidth: 1 } },
      },
    ],
  };
}

// Counts appear in a zoomed heat map once the cells are large enough to hold them.
function labelWhenZoomed(chart, figure) {
  chart.off("datazoom");
  if (!figure.zoom) return;
  chart.on("datazoom", () => {
    const { dataZoom } = chart.getOption();
    const shown = Math.max(...dataZoom.map((item) => item.endValue - item.startValue + 1));
    const named = shown <= 20;
    chart.setOption({
      xAxis: { name: named ? "" : figure.x, axisLabel: { show: named, interval: 0, rotate: 60, formatter: (name) => name.slice(0, 14) } },
      series: [{ data: chart.getOption().series[0].data.map((d) => ({ ...d, label: { ...d.label, show: named && d.value[2] > 0 } })), label: { show: named } }],
    });
  });
}

// --- scatter ----------------------------------------------------------------------------------------------------------

function scatter(figure, colours, titled) {
  const look = {
    baseline: { symbol: "path://M12 1l3.3 7 7.700.9-5.700 5.200 1.500 7.600L12 17.900l-6.800 3.800 1.500-7.600L1 8.900 8.700 8z", size: 20, colour: colours.warning },
    variant: { symbol: "circle", size: 13, colour: colours.accent },
    worse: { symbol: "triangle", size: 13, colour: colours.bad },
  };
  const front = figure.front.length > 1
    ? [{ type: "line", data: figure.front, showSymbol: false, silent: true, step: "end", lineStyle: { type: "dashed", color: colours.reference, width: 1.5 }, z: 1 }]
    : [];
  return {
    ...frame(figure, colours, titled),
    grid: { left: 58, right: 24, top: 62, bottom: 46 },
    legend: {
      left: 0,
      top: 22,
      padding: 0,
      textStyle: { color: colours.muted, fontSize: 11 },
      itemWidth: 12,
      itemHeight: 12,
      data: figure.series.map((item) => item.name),
    },
    tooltip: {
      ...frame(figure, colours, titled).tooltip,
      formatter: ({ data }) => `${data.name}\n${figure.x}: ${compact(data.value[0])}\n${figure.y}: ${compact(data.value[1])}`,
    },
    xAxis: axis(colours, { type: "value", min: 0, name: figure.x, nameGap: 26, splitLine: { show: false } }),
    yAxis: axis(colours, {
      type: "value",
      name: figure.y,
      nameGap: 40,
      // At least a percentage point high: a hundredth of one must not look like a cliff.
      min: ({ min }) => Math.floor(min - 0.4),
      max: ({ max }) => Math.ceil(max + 0.4),
    }),
    series: [
      ...front,
      ...figure.series.map((item) => ({
        name: item.name,
        type: "scatter",
        symbol: look[item.role].symbol,
        symbolSize: look[item.role].size,
        itemStyle: { color: look[item.role].colour },
        data: item.points.map((point) => ({ name: point.name, value: [point.x, point.y] })),
        label: { show: true, formatter: ({ data }) => data.name, position: "top", color: colours.muted, fontSize: 11 },
        labelLayout: { hideOverlap: true },
        z: 3,
      })),
    ],
  };
}

// --- life of a chart --------------------------------------------------------------------------------------------------

const overTime = (figure, colours, titled) => times(figure, colours, { frame: frame(figure, colours, titled), axis, compact });
const KINDS = { lines, heatmap, scatter, times: overTime };
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

const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => charts.get(target)?.chart.resize()));

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
