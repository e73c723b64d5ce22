// A request as a program: for curl, and for the Python client.

import { base } from "./api.js";
import { key } from "./key.js";

const USUAL = {
  negative_prompt: "", guidance_rescale: 0, prompt_syntax: "plain", output_format: "png",
  priority: "normal", on_disconnect: "continue", num_images: 1,
};
const OTHERS = new Set(["tenant", "preview", "metadata", "webhook", "durable", "deadline_s"]);
const HOST = base.replace(/\/$/, "");

/** Return the fields of a request that say more than its defaults. */
export const essential = (request) => Object.fromEntries(Object.entries(request).filter(
  ([name, value]) => !OTHERS.has(name) && value !== null && value !== USUAL[name]));

/** Return a command that submits the request. */
export function asCurl(request) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  return [
    `curl ${quoted(`${HOST}/v1/jobs`)}`,
    ...(key.current ? ['-H "Authorization: Bearer $SFUMATO_API_KEY"'] : []),
    "-H 'content-type: application/json'",
    `-d ${quoted(JSON.stringify(essential(request)))}`,
  ].join(" \\\n  ");
}

/** Return a program that submits the request and saves the first picture. */
export function asPython(request) {
  const { prompt, ...options } = essential(request);
  const literal = (value) => (typeof value === "boolean" ? (value ? "True" : "False") : JSON.stringify(value));
  const lines = Object.entries(options).map(([name, value]) => `        ${name}=${literal(value)},`);
  return [
    "from sfumato_client import Sfumato",
    "",
    `with Sfumato(${JSON.stringify(HOST)}) as sfumato:`,
    "    result = sfumato.generate(",
    `        ${literal(prompt)},`,
    ...lines,
    "    )",
    '    result.images[0].save("picture.png")',
  ].join("\n");
}
