"use strict";
/* A click on a column's name sorts by it, once more the other way round. */
for (const button of document.querySelectorAll("th button")) {
  button.disabled = false;
  button.addEventListener("click", () => {
    const cell = button.parentElement, table = cell.closest("table"), column = cell.cellIndex;
    const down = cell.getAttribute("aria-sort") === "ascending";
    const value = (row) => row.cells[column].dataset.sort;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)], byNumber = Number(x) - Number(y);
      return Number.isNaN(byNumber) ? x.localeCompare(y) : byNumber;
    };
    const rows = [...table.tBodies[0].rows].sort(compare);
    for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", down ? "descending" : "ascending");
    table.tBodies[0].append(...(down ? rows.reverse() : rows));
  });
}
