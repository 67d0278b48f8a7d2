// A figure over steps or epochs: lines with their best point, a smoothed one over a noisy one, and references.

import { axis, compact, frame, legend, tooltipAtAxis, valueLabel } from "./chart-parts.js";

function colourOf(role, colours) {
  return { train: colours.train, validation: colours.accent, test: colours.good }[role] || colours.accent;
}

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

export function lines(figure, colours, titled) {
  const suffix = figure.percent ? " %" : "";
  const last = figure.x_max || Math.max(...figure.series.flatMap((line) => line.points.map((point) => point[0])));
  const middle = ((figure.x_min ?? 0) + last) / 2;
  const named = [];
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
    const best =
      line.role === "validation" && figure.best && line.points.length > 1 && bestOf(line.points, figure.best);
    if (best) named.push(best);
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
        best
          ? {
              symbol: "circle",
              symbolSize: 9,
              data: [{ coord: best }],
              itemStyle: { color: colour },
              label: {
                formatter: `${figure.best_label} ${compact(Number(best[1].toPrecision(3)))}${suffix}`,
                // The curve comes from below for a maximum, from above for a minimum; at either edge there is no room.
                position: figure.best === "max" ? "top" : "bottom",
                align: best[0] > 0.7 * last ? "right" : best[0] === line.points[0][0] ? "left" : "center",
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
      label: {
        color: colours.reference,
        fontSize: 11,
        // Away from the name of the best point: a reference is often its height.
        position: named.some((point) => point[0] < middle) ? "insideEndTop" : "insideStartTop",
      },
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
    legend: legend(figure, colours, { right: 0, top: 0, padding: 5 }),
    tooltip: tooltipAtAxis(figure, colours),
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
      axisLabel: valueLabel(colours),
    }),
    series,
  };
}
