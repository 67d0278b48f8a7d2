// Names the points of a scatter: where no other name or symbol is, and once for points that lie on each other.

const HEIGHT = 14;
const DISTANCE = 5;
// Symbols whose middles are nearer than this many pixels share a name.
const TOGETHER = 12;
const LONGEST = 26;
const NAMED = 3;

// Versions of one model differ by their number only; of several, each needs its name.
export function shortNames(figure) {
  const names = figure.series.flatMap((item) => item.points.map((point) => point.name));
  const split = (name) => [name.slice(0, Math.max(0, name.lastIndexOf("@"))), name.slice(name.lastIndexOf("@"))];
  const models = new Set(names.filter((name) => name.includes("@")).map((name) => split(name)[0]));
  const short = (name) => {
    if (!name.includes("@")) return name;
    const [model, number] = split(name);
    if (models.size === 1) return number;
    return name.length > LONGEST ? `${model.slice(0, LONGEST - number.length - 1)}…${number}` : name;
  };
  return new Map(names.map((name) => [name, short(name)]));
}

// For every point, keyed `role:index`: the words beside it and on which side. Points of a group have one name together.
export function placeNames(points, bounds, widthOf) {
  let groups = points.map((point) => [point]);
  const distance = (one, other) =>
    Math.min(...one.flatMap((a) => other.map((b) => Math.hypot(a.x - b.x, a.y - b.y))));
  const join = (one, other) => {
    groups = [...groups.filter((group) => group !== one && group !== other), [...one, ...other]];
  };
  for (let pair = nearest(groups, distance); pair && pair.apart < TOGETHER; pair = nearest(groups, distance)) {
    join(pair.one, pair.other);
  }
  for (;;) {
    const placed = [];
    const stuck = groups.find((group) => !place(group, points, placed, bounds, widthOf));
    const pair = stuck && nearest(groups, distance, stuck);
    if (pair) join(pair.one, pair.other);
    else return new Map(placed.map(({ anchor, text, side }) => [anchor.key, { text, side }]));
  }
}

function nearest(groups, distance, wanted) {
  let found = null;
  groups.forEach((one, index) =>
    groups.slice(index + 1).forEach((other) => {
      if (wanted && one !== wanted && other !== wanted) return;
      const apart = distance(one, other);
      if (!found || apart < found.apart) found = { one, other, apart };
    }),
  );
  return found;
}

const SIDES = {
  top: { anchor: (a, b) => a.y - b.y, at: (p, w) => [p.x - w / 2, p.y - p.half - DISTANCE - HEIGHT] },
  bottom: { anchor: (a, b) => b.y - a.y, at: (p, w) => [p.x - w / 2, p.y + p.half + DISTANCE] },
  right: { anchor: (a, b) => b.x - a.x, at: (p) => [p.x + p.half + DISTANCE, p.y - HEIGHT / 2] },
  left: { anchor: (a, b) => a.x - b.x, at: (p, w) => [p.x - p.half - DISTANCE - w, p.y - HEIGHT / 2] },
};

function place(group, points, placed, bounds, widthOf) {
  const names = points.filter((point) => group.includes(point)).map((point) => point.name);
  const text = names.slice(0, NAMED).join(", ") + (names.length > NAMED ? ` +${names.length - NAMED}` : "");
  const width = widthOf(text);
  const symbols = points.map((p) => ({ x: p.x - p.half, y: p.y - p.half, width: 2 * p.half, height: 2 * p.half }));
  for (const [side, { anchor, at }] of Object.entries(SIDES)) {
    const point = [...group].sort(anchor)[0];
    const [x, y] = at(point, width);
    const box = { x, y, width, height: HEIGHT };
    if ([...symbols, ...placed.map((other) => other.box)].some((other) => meet(box, other))) continue;
    if (x < bounds.left || y < bounds.top || x + width > bounds.right || y + HEIGHT > bounds.bottom) continue;
    placed.push({ anchor: point, text, side, box });
    return true;
  }
  return false;
}

function meet(one, other) {
  return (
    one.x < other.x + other.width &&
    other.x < one.x + one.width &&
    one.y < other.y + other.height &&
    other.y < one.y + one.height
  );
}
