// Gives tables of results a filter for each column that says whose result a row is.

const FILTERED = ["agent", "method", "evaluation", "environment", "kind", "verdict"];
const LEAST = 8; // rows of a table that has filters

for (const table of document.querySelectorAll(".md-typeset table:not([class])")) {
  const rows = [...table.tBodies[0].rows];
  const columns = [...table.tHead.rows[0].cells].map((cell, i) => [cell.textContent.trim(), i]);
  if (columns.length > 6) table.dataset.wide = "";
  const chosen = columns.filter(([name, i]) => FILTERED.includes(name) && new Set(rows.map((row) => text(row, i))).size > 1);
  if (rows.length < LEAST || !chosen.length) continue;

  const bar = document.createElement("div"), count = document.createElement("span");
  bar.className = "filters";
  const filters = chosen.map(([name, i]) => {
    const label = document.createElement("label"), select = document.createElement("select");
    select.add(new Option("all", ""));
    for (const value of [...new Set(rows.map((row) => text(row, i)))].sort()) select.add(new Option(value));
    label.append(`${name} `, select);
    bar.append(label);
    select.addEventListener("change", show);
    return [select, i];
  });
  count.setAttribute("role", "status");
  bar.append(count);
  (table.closest(".md-typeset__scrollwrap") ?? table).before(bar); // the theme wraps tables, so that they scroll where they are too wide
  show();

  function show() {
    for (const row of rows) row.hidden = filters.some(([select, i]) => select.value && text(row, i) !== select.value);
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  }
}

function text(row, column) {
  return row.cells[column].textContent.trim();
}
