// A click on the head of a column sorts by it, a second one the other way round. Rows without a value stay last.
const table = document.getElementById("jobs");
const heads = [...table.tHead.rows[0].cells];
heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
  const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  heads.forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows].map(row => {
    const cell = row.cells[column];
    return { row, text: cell.textContent, by: cell.dataset.by === undefined ? NaN : Number(cell.dataset.by) };
  });
  rows.sort((a, b) => {
    if ((a.text === "") !== (b.text === "")) return a.text === "" ? 1 : -1;
    if (isNaN(a.by) !== isNaN(b.by)) return isNaN(a.by) ? 1 : -1;
    return direction * (isNaN(a.by) ? a.text.localeCompare(b.text, undefined, { numeric: true }) : a.by - b.by);
  });
  table.tBodies[0].append(...rows.map(it => it.row));
}));
