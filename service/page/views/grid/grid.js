// A grid: two parameters against each other, a job for each cell, all in the same batch.

import { models } from "../../lib/api.js";
import { el } from "../../lib/el.js";
import { addresses } from "../../lib/picture.js";
import { t } from "../../lib/words.js";
import { showFrame, stateOf } from "../../jobs/card.js";
import { fill } from "../../jobs/draft.js";
import { cancel, ended, get, on, submit } from "../../jobs/jobs.js";
import { cellsOf, labelOf } from "./axes.js";
import { gridForm } from "./form.js";
import { sheet } from "./sheet.js";

export { words } from "./words.js";
export const title = "grid.title";

const KEPT = "sfumato.grid";
const box = () => (matchMedia("(max-width: 40rem)").matches ? 64 : 128); // CSS pixels of a cell

/** The newest grid: {texts, x, y, cells: [{x, y, request, id, error}]}. */
let grid = null;
let sending = null;

try {
  grid = JSON.parse(localStorage.getItem(KEPT));
} catch { /* storage is turned off */ }

function keep() {
  try {
    localStorage.setItem(KEPT, JSON.stringify(grid));
  } catch { /* it lasts as long as the page */ }
}

const job = (cell) => get(cell.id);
const blobOf = (cell) => job(cell)?.images[0]?.blob;
const over = (cell) => cell.error || (cell.id && (!job(cell) || ended(job(cell))));
const label = (axis, value) => String(labelOf(axis, value, t));

/** Submit the cells that have no job. Throws: Problem, the first one was refused. */
async function send(changed) {
  const { signal } = (sending = new AbortController());
  const { cells } = grid;
  for (const cell of cells.filter((each) => !each.id && !each.error)) {
    try {
      cell.id = (await submit(cell.request, { signal })).id;
    } catch (problem) {
      if (signal.aborted) return;
      if (cell === cells[0]) {
        sending = null;
        throw problem;
      }
      cell.error = problem.message;
    }
    keep();
    changed(cell);
  }
  sending = null;
}

export function show(root) {
  const urls = addresses();
  const form = gridForm(grid?.texts);
  const nodes = new Map(); // of the cells
  const status = el("p", { role: "status", class: "hint" });
  const button = (name, click) => el("button", { type: "button", text: t(`grid.${name}`), on: { click } });
  const stop = button("cancel", cancelAll);
  const save = button("save", download);
  const table = el("div", { class: "grid-cells", tabindex: "0", role: "region", "aria-label": t("grid.title") });
  const place = el("div", { class: "stack" }, el("div", { class: "row" }, status, stop, save), table,
    el("p", { class: "hint", text: t("grid.press") }));

  const rows = () => grid.y.values.map((_, j) =>
    grid.cells.slice(j * grid.x.values.length, (j + 1) * grid.x.values.length));

  function build() {
    place.hidden = !grid;
    if (!grid) return;
    const { x, y } = grid;
    const head = (axis, scope) => (value) => el("th", { scope, text: label(axis, value) });
    table.replaceChildren(el("table", {},
      el("thead", {}, el("tr", {}, el("td"), x.values.map(head(x, "col")))),
      el("tbody", {}, rows().map((row, j) =>
        el("tr", {}, head(y, "row")(y.values[j]), row.map((cell) => el("td", {}, made(cell))))))));
    grid.cells.forEach(update);
    count();
  }

  function made(cell) {
    const text = [label(grid.x, cell.x), label(grid.y, cell.y)].filter(Boolean).join(", ");
    const node = el("button", { type: "button", class: "frame haze", "aria-label": t("grid.use", { label: text }),
      on: { click() {
        fill(job(cell)?.request ?? cell.request);
        location.hash = "#/draw";
      } } });
    nodes.set(cell, node);
    return node;
  }

  function update(cell) {
    const [entry, node] = [job(cell), nodes.get(cell)];
    if (entry) showFrame(node, entry, 0, box(), urls);
    if (!over(cell) || entry?.images.length) return;
    node.classList.remove("haze");
    node.replaceChildren(el("span", { class: "hint", text: cell.error ?? (entry ? stateOf(entry) : t("job.lost")) }));
  }

  function count() {
    const done = grid.cells.filter(blobOf).length;
    const text = t("grid.cells", { done, all: grid.cells.length });
    if (status.textContent !== text) status.textContent = text;
    stop.hidden = grid.cells.every(over);
    save.hidden = !stop.hidden || !done;
  }

  function changed(cell) {
    if (!nodes.has(cell)) return; // of a former grid
    update(cell);
    count();
  }

  async function resume() {
    const own = grid;
    try {
      await send(changed);
    } catch (problem) {
      if (own !== grid) return;
      grid = null;
      keep();
      build();
      form.blame(problem);
    }
  }

  function cancelAll() {
    sending?.abort();
    for (const cell of grid.cells) {
      if (!cell.id) cell.error = t("job.canceled");
      else if (!over(cell)) cancel(cell.id).catch(() => {});
      changed(cell);
    }
    keep();
  }

  async function download() {
    const labels = ["x", "y"].map((each) => grid[each].values.map((value) => label(grid[each], value)));
    const href = urls.url(await sheet(...labels, rows().map((row) => row.map(blobOf))));
    el("a", { href, download: "sfumato-grid.png" }).click();
  }

  form.node.addEventListener("submit", async (event) => {
    event.preventDefault();
    const found = form.read(await models().catch(() => []));
    if (!found) return;
    sending?.abort();
    const { texts, x, y, request } = found;
    grid = { texts, x, y, cells: cellsOf(x, y, request) };
    keep();
    build();
    await resume();
  });
  root.append(form.node, place);
  build();
  if (grid && !sending) resume();
  const off = on((entry) => {
    const cell = entry && grid?.cells.find((each) => each.id === entry.id);
    if (cell) changed(cell);
  });
  return () => {
    off();
    urls.free();
  };
}
