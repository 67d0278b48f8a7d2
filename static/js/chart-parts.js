// What every kind of chart is made of: the page's colours, numbers in few digits, frame, axes, legend and tooltip.

export function palette() {
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

// A colour laid over the card's with the given strength: opaque, so that what is written on it stays readable.
export function mix(colour, ground, strength) {
  const parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const [over, under] = [parts(colour), parts(ground)];
  return `rgb(${over.map((value, i) => Math.round(value * strength + under[i] * (1 - strength))).join(",")})`;
}

export function compact(number) {
  if (number === 0) return "0";
  const size = Math.abs(number);
  if (size < 0.001 || size >= 1e6) return number.toExponential(1).replace("e+", "e");
  return String(Number(number.toPrecision(4)));
}

export function frame(figure, colours, titled) {
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

export function axis(colours, extra) {
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

// The names of the lines, each behind a dash in its colour; `place` says where.
export function legend(figure, colours, place) {
  return {
    padding: 0,
    icon: "roundRect",
    itemWidth: 12,
    itemHeight: 3,
    textStyle: { color: colours.muted, fontSize: 11 },
    data: figure.series.map((line) => line.name),
    ...place,
  };
}

// All lines at once, where the pointer is.
export function tooltipAtAxis(figure, colours) {
  const suffix = figure.percent ? " %" : "";
  return {
    ...frame(figure, colours).tooltip,
    trigger: "axis",
    axisPointer: { lineStyle: { color: colours.muted } },
    valueFormatter: (value) => (value == null ? "–" : compact(Number(value)) + suffix),
  };
}

// Of a scale of values; rounded first, since the library adds steps up.
export function valueLabel(colours) {
  return { color: colours.muted, fontSize: 11, formatter: (value) => compact(Number(value.toPrecision(6))) };
}
