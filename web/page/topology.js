// Replication, drawn: the primary on the left, this server in the middle, replicas on the right, and each link with
// its state. Below it, how each link came about.

import { at, element } from "./elements.js";
import { bytes, seconds, time } from "./format.js";

const GOOD = ["online", "connected"];
const NODE = { width: 190, height: 44 };
const COLUMNS = { primary: 5, self: 365, replica: 725 };
/** Between two columns: where a link bends. */
const BEND = 16;
const ROW = 64;

const look = (link) => {
  if (link.over_s !== undefined || link.state === "connect") return "bad";
  return GOOD.includes(link.state) ? "good" : "wait";
};

const words = (link) => {
  if (link.over_s !== undefined) return `over for ${seconds(link.over_s)}`;
  return link.state === "connect" ? "not connected" : link.state;
};

const lag = (link) =>
  link.lag_bytes === undefined ? "" : `lag ${bytes(link.lag_bytes)}, heard ${seconds(link.silent_s)} ago`;

const node = (x, y, first, second) => element("g", {},
  element("rect", { x, y, width: NODE.width, height: NODE.height, rx: 8 }),
  element("text", { x: x + 10, y: y + 18 }, first),
  element("text", { x: x + 10, y: y + 35, class: "label" }, second));

export function drawTopology(info, links) {
  const primaries = links.filter((link) => link.role === "primary" && link.over_s === undefined).slice(-1);
  const replicas = links.filter((link) => link.role === "replica");
  const rows = Math.max(replicas.length, 1);
  const middle = ((rows - 1) * ROW) / 2 + 10;
  const svg = at("topology");
  svg.setAttribute("viewBox", `0 0 920 ${rows * ROW}`);
  const drawn = [];
  const connect = (link, column, y) => {
    const [from, middleOfSelf, end] = [column + NODE.width, middle + NODE.height / 2, y + NODE.height / 2];
    const bend = from + BEND;
    const to = column === COLUMNS.primary ? COLUMNS.self : COLUMNS.replica;
    return element("g", { class: look(link), "data-link": link.id },
      element("polyline", { points: `${from},${middleOfSelf} ${bend},${middleOfSelf} ${bend},${end} ${to},${end}` }),
      element("text", { x: bend + 6, y: end - 6, class: "state" }, words(link)),
      element("text", { x: bend + 6, y: end + 14, class: "label", "font-size": 10.5 }, lag(link)));
  };
  for (const link of primaries) {
    drawn.push(connect(link, COLUMNS.primary, middle));
    drawn.push(node(COLUMNS.primary, middle, link.peer, "primary"));
  }
  replicas.forEach((link, n) => {
    const y = n * ROW + 10;
    drawn.push(connect(link, COLUMNS.self, y));
    drawn.push(node(COLUMNS.replica, y, link.peer, "replica"));
  });
  const self = node(COLUMNS.self, middle, `this server, port ${info.tcp_port}`, `${info.role === "slave" ? "replica" : "primary"}, offset ${info.master_repl_offset}`);
  self.setAttribute("class", "self");
  drawn.push(self);
  const told = links.map((link) => `${link.role} ${link.peer}: ${words(link)}`);
  svg.replaceChildren(element("title", { id: "topology-text" }, told.join("; ") || "No links"), ...drawn);
}

export function listLinks(links) {
  const open = new Set([...at("links").querySelectorAll("details[open]")].map((one) => one.dataset.link));
  // What is being read, or has the keyboard, is not taken away: it is filled anew.
  const kept = new Map([...at("links").children].map((one) => [one.dataset?.link, one]));
  const shown = [...links].reverse().map((link) => {
    const id = String(link.id);
    const details = kept.get(id) ?? element("details", { "data-link": id }, element("summary"), element("div"));
    details.className = look(link);
    details.open = open.has(id);
    const resyncs = `resynchronised ${link.full} × in full, ${link.partial} × in part; ${link.refused} × refused a part`;
    details.firstChild.replaceChildren(element("h3", {}, `${link.role} ${link.peer}`), " ",
      element("span", { class: "state" }, words(link)), ` ${lag(link)}`);
    const steps = link.steps.map((step) => element("li", {},
      `${time(step.at_ms)} ${{ sent: "→", received: "←", here: "·" }[step.direction]} ${step.text}` +
      (step.times > 1 ? ` (× ${step.times})` : "")));
    details.lastChild.replaceChildren(element("p", {}, resyncs),
      ...(link.refusal ? [element("p", {}, `The last refusal: ${link.refusal}`)] : []), element("ol", {}, ...steps));
    return details;
  });
  const none = element("p", { class: "empty" }, "Neither a primary nor replicas have been seen.");
  const wanted = shown.length ? shown : [none];
  const now = [...at("links").children];
  if (wanted.length !== now.length || wanted.some((one, n) => one !== now[n])) at("links").replaceChildren(...wanted);
}
