// A figure over time: lines or stacked areas. Points are [milliseconds, value or null]; the milliseconds are those of the
// clock on the wall where the platform stands, given as if that were UTC, so that every reader sees the same times.

import { axis, frame, legend, tooltipAtAxis, valueLabel } from "./chart-parts.js";

const LABELS = {
  year: "{yyyy}",
  month: "{yyyy}-{MM}",
  day: "{MM}-{dd}",
  hour: "{HH}:{mm}",
  minute: "{HH}:{mm}",
  second: "{HH}:{mm}:{ss}",
  millisecond: "{HH}:{mm}:{ss}",
  none: "{yyyy}-{MM}-{dd} {HH}:{mm}:{ss}",
};

// A line joins neighbours; a point without one would not be seen.
function isolated(points, index) {
  const blank = (at) => points[at] === undefined || points[at][1] === null;
  return blank(index - 1) && blank(index + 1);
}

function data(points) {
  return points.map((value, index) => ({ value, symbolSize: value[1] !== null && isolated(points, index) ? 5 : 0 }));
}

export function times(figure, colours, titled) {
  const series = figure.series.map((line, index) => {
    const colour = colours[line.role] || colours.accent;
    return {
      name: line.name,
      type: "line",
      data: data(line.points),
      symbol: "circle",
      showSymbol: true,
      stack: figure.stacked ? "all" : undefined,
      // Areas without an outline: that of a part which is zero would cover the one below it.
      areaStyle: figure.stacked ? { color: colour, opacity: 0.55 } : undefined,
      lineStyle: { width: figure.stacked ? 0 : 2, color: colour },
      itemStyle: { color: colour },
      emphasis: { disabled: true },
      z: 2 + index,
    };
  });
  return {
    ...frame(figure, colours, titled),
    useUTC: true,
    grid: { left: 8, right: 16, top: 50, bottom: 24, containLabel: true },
    legend: legend(figure, colours, { left: 0, top: 24 }),
    tooltip: tooltipAtAxis(figure, colours),
    xAxis: axis(colours, {
      type: "time",
      name: figure.x,
      nameGap: 22,
      min: figure.min,
      max: figure.max,
      splitLine: { show: false },
      axisLabel: { color: colours.muted, fontSize: 11, hideOverlap: true, formatter: LABELS },
    }),
    yAxis: axis(colours, {
      type: "value",
      min: 0,
      max: figure.percent ? ({ max }) => Math.min(100, Math.max(1, Math.ceil(max * 1.1))) : null,
      axisLabel: valueLabel(colours),
    }),
    series,
  };
}
