// A form and the plates that it fills: what most questions are answered with.

import { el } from "../../../lib/el.js";
import { addresses } from "../../../lib/picture.js";
import { form, kept } from "./form.js";
import { plate } from "./plate.js";

/** Fill `root`. `groups` are [{title, cells: [{label, request, timed}]}]; a request goes over the
 *  form's prompt and seed, to which its `seedBy` is added. `small`: the plates are; other options are
 *  the form's. Return a function that takes everything down. */
export function lab(root, name, model, groups, { small = false, ...options } = {}) {
  const urls = addresses();
  const cells = groups.flatMap((group) => group.cells);
  const area = el("div", { class: small ? "see-groups small" : "see-groups" });
  let plates = [];

  const { node, stop } = form({
    name, model, ...options,
    plan: (prompt, from) => cells.map(({ request: { seedBy = 0, ...request } }) =>
      ({ prompt, seed: from + seedBy, ...request })),
    begin(requests) {
      plates = cells.map((cell, index) => plate(cell, requests[index].prompt, urls));
      const nodes = plates.map((each) => each.node);
      area.replaceChildren(...groups.map((group) => el("section", { class: "see-group" },
        el("h2", { text: group.title }),
        el("div", { class: "see-plates" }, nodes.splice(0, group.cells.length)))));
      for (const [index, entry] of Object.entries(kept(name).pictures)) plates[index].show(entry);
    },
    onChange(index, entry, whole) {
      plates[index].show(entry);
      if (whole) kept(name).pictures[index] = entry;
    },
  });
  root.append(node, area);
  return () => {
    stop();
    urls.free();
  };
}
