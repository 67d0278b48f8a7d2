// A confusion matrix: right answers in one colour, wrong ones in another, each as strong as it is frequent.

import { axis, frame, mix } from "./chart-parts.js";

export function heatmap(figure, colours, titled, element) {
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
export function labelWhenZoomed(chart, figure) {
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
