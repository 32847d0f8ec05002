// Latency by command: a row for each of the busiest, a column for each power of two.

import { at, element } from "./elements.js";
import { count, micros } from "./format.js";

const ROWS = 14;
/** What is left of a minute's calls after a second. */
const DECAY = 1 - 1 / 60;
const heat = new Map();

export function drawHeat(bounds, commands) {
  for (const command of commands) {
    const known = heat.get(command.name) ?? { before: command.counts, recent: command.counts.map(() => 0) };
    known.recent = known.recent.map((n, at) => n * DECAY + Math.max(0, command.counts[at] - known.before[at]));
    known.before = command.counts;
    known.total = known.recent.reduce((sum, n) => sum + n, 0);
    known.average = command.calls ? command.nanos / command.calls / 1000 : 0;
    heat.set(command.name, known);
  }
  const busiest = [...heat].filter(([, known]) => known.total >= 0.5).sort((a, b) => b[1].total - a[1].total).slice(0, ROWS);
  const most = Math.max(1, ...busiest.flatMap(([, known]) => known.recent));
  const title = (us, n) => element("th", { scope: "col" }, n % 4 === 0 ? micros(us) : element("span", { class: "hidden" }, micros(us)));
  const row = ([name, known]) => element("tr", {}, element("th", { scope: "row" }, name),
    element("td", { class: "number" }, count(known.total)), element("td", { class: "number" }, micros(known.average)),
    ...known.recent.map((n, at) => {
      const cell = element("td", { class: "cell", title: `${name}: ${count(n)} below ${micros(bounds[at])}` },
        element("span", { class: "hidden" }, count(n)));
      cell.style.setProperty("--heat", Math.log1p(n) / Math.log1p(most));
      return cell;
    }));
  if (busiest.length === 0) {
    at("heat").replaceChildren(element("tbody", {}, element("tr", {}, element("td", { class: "empty" }, "No commands."))));
    return;
  }
  at("heat").replaceChildren(
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Command"), element("th", { scope: "col", class: "number" }, "Calls"),
      element("th", { scope: "col", class: "number" }, "Average"), ...bounds.map(title))),
    element("tbody", {}, ...busiest.map(row)));
}
