// Elements from a tag, properties and children.

const SVG = "http://www.w3.org/2000/svg";

/** Return an HTML element. `props`: class, text, on: {event: listener}, data: {key: value};
 *  all others are attributes, set or left out if they are true, false, null or undefined. */
export function el(tag, props = {}, ...children) {
  return made(document.createElement(tag), props, children);
}

/** Return an SVG element. */
export function svg(tag, props = {}, ...children) {
  return made(document.createElementNS(SVG, tag), props, children);
}

/** Return a button that does something. */
export const button = (text, click, props = {}) =>
  el("button", { type: "button", text, on: { click }, ...props });

/** Set an attribute, or remove it if the value is false, null or undefined. */
export function set(node, name, value) {
  if (value === false || value === null || value === undefined) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : value);
}

function made(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (name === "text") node.textContent = value;
    else if (name === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (name === "data") Object.assign(node.dataset, value);
    else set(node, name, value);
  }
  const shown = (child) => child !== null && child !== undefined && child !== false;
  node.append(...children.flat(Infinity).filter(shown));
  return node;
}
