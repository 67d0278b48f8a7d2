// Keeps a watched page fresh: `tick` on <body> every two seconds and `tick-slow` every ten, which htmx listens to
// (hx-trigger="tick from:body"), and follows logs. Nothing is asked for while the page is hidden or text is selected.

const TICK_MS = 2000;
const SLOW = 5;

let count = 0;

function reading() {
  const selection = document.getSelection();
  return Boolean(selection && !selection.isCollapsed);
}

function beat() {
  if (document.hidden || reading()) return;
  count += 1;
  document.body.dispatchEvent(new CustomEvent("tick"));
  if (count % SLOW === 0) document.body.dispatchEvent(new CustomEvent("tick-slow"));
}

// --- logs -------------------------------------------------------------------------------------------------------------

const LEVELS = new Set(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]);

function lineNode(text) {
  const line = document.createElement("span");
  line.className = "log-line";
  const [, time, level] = /^(\d\d:\d\d:\d\d) ([A-Z]+) /.exec(text) || [];
  if (LEVELS.has(level)) {
    const word = document.createElement("b");
    word.className = `log-${level.toLowerCase()}`;
    word.textContent = level;
    line.append(`${time} `, word, text.slice(time.length + 1 + level.length), "\n");
  } else {
    line.append(text, "\n");
  }
  return line;
}

function dress(log) {
  const lines = log.textContent.replace(/\n$/, "");
  log.replaceChildren(...(lines ? lines.split("\n").map(lineNode) : []));
  log.scrollTop = log.scrollHeight;
}

// A log follows its end only while the reader is there; who scrolled up is left alone.
function atEnd(log) {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 24;
}

async function follow(log) {
  if (log.dataset.busy) return;
  log.dataset.busy = "1";
  try {
    const response = await fetch(`${log.dataset.log}?after=${log.dataset.offset}`, {
      headers: { Accept: "application/json" },
    });
    if (!response.ok) return;
    const { lines, next, final } = await response.json();
    const box = log.dataset.follow && document.querySelector(log.dataset.follow);
    const stay = (box && !box.checked) || !atEnd(log);
    log.append(...lines.map(lineNode));
    const keep = Number(log.dataset.keep || 0);
    while (keep && log.childElementCount > keep) log.firstElementChild.remove();
    log.dataset.offset = String(next);
    if (!stay && lines.length) log.scrollTop = log.scrollHeight;
    if (final) log.removeAttribute("data-live");
  } catch {
    // The server is away for a moment; the next tick asks again.
  } finally {
    delete log.dataset.busy;
  }
}

document.querySelectorAll("[data-log]").forEach(dress);
document.body.addEventListener("tick", () => document.querySelectorAll("[data-log][data-live]").forEach(follow));
document.querySelectorAll("input[type=checkbox][id]").forEach((box) => {
  const log = document.querySelector(`[data-follow="#${box.id}"]`);
  if (log) box.addEventListener("change", () => box.checked && (log.scrollTop = log.scrollHeight));
});

setInterval(beat, TICK_MS);
document.addEventListener("visibilitychange", () => !document.hidden && beat());
