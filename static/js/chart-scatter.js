// Variants of a model by two measures, with the line of those that none betters in both.

import { placeNames, shortNames } from "./chart-names.js";
import { axis, compact, frame } from "./chart-parts.js";

const GRID = { left: 58, right: 24, top: 62, bottom: 46 };
const SIZES = { baseline: 20, variant: 13, worse: 13 };
const FONT_PX = 11;
const LEGEND_BOTTOM = 40;

export function scatter(figure, colours, titled) {
  const look = {
    baseline: { symbol: "path://M12 1l3.3 7 7.700.9-5.700 5.200 1.500 7.600L12 17.900l-6.800 3.800 1.500-7.600L1 8.900 8.700 8z", colour: colours.warning },
    variant: { symbol: "circle", colour: colours.accent },
    worse: { symbol: "triangle", colour: colours.bad },
  };
  const front = figure.front.length > 1
    ? [{ type: "line", data: figure.front, showSymbol: false, silent: true, step: "end", lineStyle: { type: "dashed", color: colours.reference, width: 1.5 }, z: 1 }]
    : [];
  return {
    ...frame(figure, colours, titled),
    grid: GRID,
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
      formatter: ({ data }) => `${data.names.join(", ")}\n${figure.x}: ${compact(data.value[0])}\n${figure.y}: ${compact(data.value[1])}`,
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
        id: item.role,
        symbolSize: SIZES[item.role],
        // An edge in the card's colour: of two that lie together, both are seen.
        itemStyle: { color: look[item.role].colour, borderColor: colours.card, borderWidth: 1 },
        data: dataOf(figure, item),
        // The parent on top: its star lets what lies below it be seen.
        z: item.role === "baseline" ? 4 : 3,
      })),
    ],
  };
}

// Once the points have their places: names beside them. Anew whenever the chart's size changes.
export function nameWhenPlaced(chart, figure, colours) {
  if (figure.kind !== "scatter") return;
  const short = shortNames(figure);
  const points = figure.series.flatMap((item) =>
    item.points.map((point, index) => {
      const [x, y] = chart.convertToPixel({ gridIndex: 0 }, [point.x, point.y]);
      return { key: `${item.role}:${index}`, name: short.get(point.name), x, y, half: SIZES[item.role] / 2 };
    }),
  );
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `${FONT_PX}px ${colours.font}`;
  const bounds = {
    left: GRID.left,
    top: LEGEND_BOTTOM,
    right: chart.getWidth(),
    bottom: chart.getHeight() - GRID.bottom,
  };
  const names = placeNames(points, bounds, (text) => pen.measureText(text).width + 2);
  chart.setOption({ series: figure.series.map((item) => ({ id: item.role, data: dataOf(figure, item, names, colours) })) });
}

function dataOf(figure, item, names, colours) {
  const short = shortNames(figure);
  const all = figure.series.flatMap((other) => other.points);
  return item.points.map((point, index) => {
    const found = names?.get(`${item.role}:${index}`);
    const same = all.filter((other) => other.x === point.x && other.y === point.y);
    const label = found
      ? { show: true, formatter: found.text, position: found.side, color: colours.muted, fontSize: FONT_PX }
      : { show: false };
    return { value: [point.x, point.y], names: same.map((other) => short.get(other.name)), label };
  });
}
