// Variants of a model by two measures, with the line of those that none betters in both.

import { axis, compact, frame } from "./chart-parts.js";

export function scatter(figure, colours, titled) {
  const most = Math.max(...figure.series.flatMap((item) => item.points.map((point) => point.x)));
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
        data: item.points.map((point) => ({
          name: point.name,
          value: [point.x, point.y],
          // The axis begins at 0 and ends near the last point: beyond that there is no room for its name.
          label: { align: point.x > 0.7 * most ? "right" : point.x < 0.2 * most ? "left" : "center" },
        })),
        label: { show: true, formatter: ({ data }) => data.name, position: "top", color: colours.muted, fontSize: 11 },
        labelLayout: { hideOverlap: true },
        z: 3,
      })),
    ],
  };
}
