// Continuous batching to watch: who is in the forward pass, who joins it, who leaves.

import { call, models } from "../../lib/api.js";
import { el } from "../../lib/el.js";
import { follow } from "../../lib/events.js";
import { sleep } from "../../lib/time.js";
import { language, t } from "../../lib/words.js";
import { all, on, submit } from "../../jobs/jobs.js";
import { add, history } from "./history.js";
import { mixedLoad } from "./load.js";
import { listChanges, listSlots, sentence } from "./reading.js";
import { PX_PER_S, score } from "./score.js";

export { words } from "./words.js";
export const title = "batch.title";

const BEHIND_S = 0.75; // so that there is a frame on both sides of the time that is drawn
const DRAW_MS = 125;
const IDLE_MS = 1000;
const STILL_S = 2; // between two drawings, with reduced motion
const READ_MS = 4000; // between two sentences
const LOOK_MS = 5000; // for workers
const SEND_MS = 500; // between two jobs of the load
const RECENT = 60; // jobs whose pictures are shown
const FIGURES = ["rate", "filled", "tick", "slots", "queued"];

export function show(root, rest) {
  const page = parts(root);
  const draw = score(page.canvas);
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const closing = new AbortController();
  const { signal } = closing;
  const pictures = new Map(); // of this browser's own jobs
  const titles = new Map(); // of samplers
  const clock = new Intl.DateTimeFormat(language.current, { timeStyle: "medium", hourCycle: "h23" });
  const names = { title: (name) => titles.get(name) ?? name, clock: clock.format };
  let watched = { id: rest.join("/"), stop: closing, gone: true }; // if it is there
  let model; // of the worker that is watched
  let sending = false;
  let timer;

  const write = (node, text) => node.textContent !== text && (node.textContent = text);
  const say = (key) => {
    write(page.status, key ? t(`batch.${key}`) : "");
    root.classList.toggle("stale", key !== "");
  };
  const newest = () => watched.past?.frames.at(-1);
  const read = () =>
    write(page.said, newest() && !page.status.textContent ? sentence(newest(), names) : "");
  const list = () => page.table.open && listSlots(page.body, newest()?.images ?? [], names);

  async function watch(id) {
    if (watched.past) watched.stop.abort();
    const past = (id === watched.id && watched.past) || history();
    const own = (watched = { id, past, stop: new AbortController() });
    const path = `v1/workers/${id.split("/").map(encodeURIComponent).join("/")}/batch/events`;
    try {
      await follow(path, (event) => take(own, event), {
        signal: own.stop.signal,
        onState: (state) => own === watched && say(state === "away" ? state : ""),
      });
    } catch (problem) {
      if (own === watched) say(problem.status === 403 ? "forbidden" : "gone");
    }
    own.gone = true;
  }

  function take(own, { event, data }) {
    if (event === "gone") {
      own.stop.abort();
      return say(event);
    }
    add(own.past, data);
    const ahead = performance.now() / 1000 - newest().t; // of the worker's clock
    own.ahead = Math.abs(ahead - own.ahead) < 1 ? own.ahead * 0.9 + ahead * 0.1 : ahead;
    const ms = data.tick_s * 1000;
    const values = [
      ms ? Math.round(data.rows / data.tick_s) : 0, `${Math.round(data.occupancy * 100)} %`,
      ms ? ms.toFixed(ms < 20 ? 1 : 0) : "–", `${data.images.length}/${data.slots}`, data.queued_jobs,
    ];
    page.values.forEach((node, i) => (node.textContent = values[i]));
    listChanges(page.changes, own.past, data.changes, names);
    list();
    if (own.past.frames.length > 1) return;
    read();
    clearTimeout(timer);
    paint();
  }

  async function look() {
    if (document.hidden) return;
    try {
      const known = await models();
      for (const { name, title } of known.flatMap((each) => each.samplers)) titles.set(name, title);
      const workers = (await call("v1/workers", { signal })).filter((each) => each.loaded);
      const ids = workers.map((each) => each.id);
      const id = ids.includes(watched.id) ? watched.id : ids[0];
      model = known.find((each) => each.name === workers[ids.indexOf(id)]?.model);
      if (page.choice.dataset.ids !== ids.join()) {
        page.choice.dataset.ids = ids.join();
        page.choice.replaceChildren(...workers.map((each) =>
          el("option", { value: each.id, text: `${each.model} · ${each.id}` })));
      }
      page.worker.hidden = ids.length < 2;
      page.choice.value = id;
      if (!id) say("none");
      else if (id !== watched.id || watched.gone) watch(id);
    } catch (problem) {
      if (problem.status === 403) say("forbidden");
    }
    page.send.disabled = !model || sending;
  }

  async function send() {
    page.send.disabled = sending = true;
    try {
      for (const request of mixedLoad(model)) {
        await submit(request, { signal, origin: "batch", fleeting: true });
        await sleep(SEND_MS, signal);
      }
    } catch (problem) {
      write(page.status, problem.message);
    }
    page.send.disabled = sending = false;
  }

  function paint() {
    const { past, ahead } = watched;
    const end = newest()?.t;
    const shown_s = page.canvas.clientWidth / PX_PER_S;
    const moves = end && past.ribbons.some((each) => !each.end || each.end > end - shown_s);
    timer = setTimeout(paint, moves && !still.matches ? DRAW_MS : IDLE_MS);
    if (!end || document.hidden) return;
    const now = Math.min(performance.now() / 1000 - ahead - BEHIND_S, end);
    draw(past, still.matches ? Math.floor(now / STILL_S) * STILL_S : now, pictures, names);
  }

  function keep(entry) {
    for (let i = 0; i < (entry?.request.num_images ?? 0); i++) {
      const [key, kept] = [`${entry.id}/${i}`, entry.images.find((each) => each.index === i)?.blob];
      const source = kept ?? entry.previews[i]?.src;
      if (!source || pictures.get(key)?.source === source) continue;
      const image = Object.assign(new Image(), { source });
      image.onload = () => {
        pictures.set(key, image);
        URL.revokeObjectURL(image.src);
      };
      image.src = kept ? URL.createObjectURL(kept) : source;
    }
  }

  page.send.onclick = send;
  page.choice.onchange = () => {
    watch(page.choice.value);
    look();
  };
  page.table.ontoggle = list;
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) watched.stop.abort();
    else look();
  }, { signal });
  const off = on(keep);
  [...all(), ...all("batch")].slice(0, RECENT).forEach(keep);
  const timers = [setInterval(read, READ_MS), setInterval(look, LOOK_MS)];
  look();
  paint();
  return () => {
    closing.abort();
    watched.stop.abort();
    off();
    [timer, ...timers].forEach(clearInterval);
  };
}

function parts(root) {
  const hint = (tag, text) => el(tag, { class: "hint", text });
  const page = {
    values: FIGURES.map(() => el("dd", { text: "–" })),
    choice: el("select"),
    send: el("button", { class: "primary", type: "button", text: t("batch.send"), disabled: true }),
    status: el("p", { role: "status" }),
    canvas: el("canvas", { role: "img", "aria-label": t("batch.title") }),
    said: el("p", { "aria-live": "polite" }),
    changes: el("ol", { class: "hint" }),
    body: el("tbody"),
  };
  page.worker = el("label", { class: "row", hidden: true }, t("batch.worker"), page.choice);
  const heads = t("batch.heads").split("|").map((text) => el("th", { scope: "col", text }));
  page.table = el("details", {}, el("summary", { text: t("batch.table") }),
    el("table", { class: "figures" }, el("thead", {}, el("tr", {}, heads)), page.body));
  root.append(
    el("p", { text: t("batch.lead") }),
    el("div", { class: "row" }, page.send, page.worker, page.status),
    el("dl", { class: "row figures" }, FIGURES.map((name, i) =>
      el("div", {}, hint("dt", t(`batch.${name}`)), page.values[i]))),
    page.canvas, page.said, hint("p", t("batch.legend")), page.changes, page.table);
  return page;
}
