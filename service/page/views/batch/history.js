// What a worker's frames say, as ribbons: each image from when it got its slot until it left.

const KEPT_S = 90;
const TURN = 137.508; // degrees, the golden angle: neighbours differ most in hue
const seconds = (moment) => Date.parse(moment) / 1000;
export const keyOf = ({ job, image }) => `${job}/${image}`;

/** Return an empty history. Its times are seconds since 1970, by the worker's clock. */
export const history = () =>
  ({ frames: [], ribbons: [], open: new Map(), hues: new Map(), sequence: 0 });

/** Return an image's newest ribbon, if any. */
export const ribbonOf = (past, image) => past.ribbons.findLast((each) => each.key === keyOf(image));

/** Add a frame of /v1/workers/{id}/batch/events. */
export function add(past, frame) {
  const t = seconds(frame.at);
  const known = frame.sequence < past.sequence ? 0 : past.sequence; // 0: the model is loaded anew
  past.sequence = frame.sequence;
  for (const change of frame.changes.filter((each) => each.sequence > known)) {
    const [ribbon, at] = [past.open.get(keyOf(change)), seconds(change.at)];
    if (ribbon) leave(past, ribbon, change.kind, at);
    if (["admitted", "resumed"].includes(change.kind)) take(past, change, at);
  }
  for (const image of frame.images) {
    const ribbon = past.open.get(keyOf(image)) ?? take(past, image, t);
    const moved = image.in_pass || image.step > (ribbon.points.at(-1)?.step ?? 0);
    Object.assign(ribbon, { sampler: image.sampler, steps: image.steps });
    ribbon.points.push({ t, step: image.step, moved });
  }
  const held = frame.images.map(keyOf);
  for (const ribbon of past.open.values()) {
    if (!held.includes(ribbon.key)) leave(past, ribbon, "released", t);
  }
  past.frames = [...past.frames, { ...frame, t }].filter((each) => each.t > t - KEPT_S);
  past.ribbons = past.ribbons.filter((each) => !each.end || each.end > t - KEPT_S);
}

function take(past, image, begin) {
  const key = keyOf(image);
  const hue = past.hues.get(key) ?? (past.hues.size * TURN + 20) % 360;
  past.hues.set(key, hue);
  const before = ribbonOf(past, image); // it was preempted
  const ribbon = { key, hue, begin, before, slot: image.slot, points: [] };
  past.ribbons.push(ribbon);
  past.open.set(key, ribbon);
  return ribbon;
}

function leave(past, ribbon, left, end) {
  const step = left === "finished" ? ribbon.steps : ribbon.points.at(-1)?.step;
  ribbon.points.push({ t: end, step, moved: true });
  Object.assign(ribbon, { end, left });
  past.open.delete(ribbon.key);
}

/** Return the pieces of a ribbon up to a time: from and to, in time and steps, and if it moved. */
export function pieces(ribbon, now) {
  const until = Math.min(ribbon.end ?? now, now);
  const found = [];
  let from = { t: ribbon.begin, step: ribbon.before ? ribbon.points[0]?.step : 0 };
  for (const { t, step, moved } of [...ribbon.points, { t: until, step: from.step, moved: true }]) {
    if (from.t >= until) break;
    const share = Math.min(1, (until - from.t) / (t - from.t || 1));
    const to = { t: Math.min(t, until), step: from.step + (step - from.step) * share };
    found.push({ from, to, moved });
    from = to;
  }
  return found;
}
