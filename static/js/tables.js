// Sorts the rows of <table data-sortable> by the column whose head button is pressed; again turns the order round.

function value(row, column, kind) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  return kind === "number" ? Number(text) : text;
}

function sort(table, head, kind) {
  const column = head.cellIndex;
  const ascending = head.getAttribute("aria-sort") !== "ascending";
  const sign = ascending ? 1 : -1;
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((one, other) => {
    const [a, b] = [value(one, column, kind), value(other, column, kind)];
    return sign * (kind === "number" ? a - b : a.localeCompare(b));
  });
  table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  body.append(...rows);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("table[data-sortable] button[data-sort]");
  if (button) sort(button.closest("table"), button.closest("th"), button.dataset.sort);
});
