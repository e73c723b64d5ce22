// Waiting, and times in words.

import { language } from "./words.js";

/** Resolve after so many milliseconds, or at once when the signal is aborted. */
export function sleep(ms, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done, { once: true });
    function done() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    }
  });
}

/** Return a length of time in words: "0.4 s", "12 s", "3 min", "2 h". */
export function duration(seconds) {
  const [value, unit] = seconds < 90 ? [seconds, "second"]
    : seconds < 5400 ? [seconds / 60, "minute"] : [seconds / 3600, "hour"];
  const digits = unit === "second" && value < 9.95 ? 1 : 0;
  return new Intl.NumberFormat(language.current, {
    style: "unit", unit, unitDisplay: "short", maximumFractionDigits: digits,
  }).format(value);
}

/** Return a date and time in words. */
export function moment(value) {
  return new Intl.DateTimeFormat(language.current, { dateStyle: "medium", timeStyle: "short" })
    .format(new Date(value));
}
