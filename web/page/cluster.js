// The cluster's map: whose the slots are as a strip, each shard with its nodes, and slots on their way.

import { at, element, table } from "./elements.js";
import { count, seconds } from "./format.js";

const SLOTS = 16_384;

const look = (node) => {
  if (node.health === "up") return node.linked ? "good" : "wait";
  return node.health === "failed" ? "bad" : "wait";
};

/** What is to be known of a node's link: nothing is said of one that answers. */
const silence = (node) => {
  if (node.myself) return "";
  if ((node.waits_ms ?? 0) > 1000) return `, no answer for ${seconds(node.waits_ms / 1000)}`;
  return node.linked ? "" : ", not connected";
};

const ranges = (node) => node.ranges.join(", ") + (node.more_ranges ? ` and ${count(node.more_ranges)} more ranges` : "");

const show = (node) => element("div", { class: `node ${look(node)}${node.myself ? " self" : ""}`, "data-node": node.id },
  element("strong", {}, node.address), ` ${node.role} `, element("span", { class: "state" }, `${node.health}${silence(node)}`),
  element("p", {}, `${node.name ? `${node.name}, ` : ""}${node.id}, epoch ${node.epoch}`));

/** Slots as rectangles from left to right, those that are nobody's included. */
function drawSlots(nodes) {
  const owned = nodes.flatMap((node) => node.ranges.map((range) => {
    const [first, last = first] = range.split("-").map(Number);
    return { first, last, node };
  }));
  const width = (n) => (1000 * n) / SLOTS;
  const text = nodes.filter((node) => node.slots).map((node) => `${node.address}: ${node.slots} slots, ${ranges(node)}`);
  at("slots").replaceChildren(element("title", { id: "slots-text" }, text.join("; ") || "No slot is assigned"),
    element("rect", { class: "nobody", x: 0, y: 0, width: 1000, height: 26 }),
    ...owned.map(({ first, last, node }) => element("rect",
      { class: look(node), x: width(first), y: 0, width: width(last - first + 1), height: 26, "data-owner": node.id })));
}

function shard(primary, replicas) {
  const slots = primary.slots ? `${count(primary.slots)} slots: ${ranges(primary)}` : "no slots";
  return element("li", {}, show(primary), element("p", {}, slots),
    ...(replicas.length ? [element("ul", {}, ...replicas.map((replica) => element("li", {}, show(replica))))] : []));
}

export function drawCluster(cluster) {
  at("cluster").hidden = cluster === null;
  if (cluster === null) return;
  const { nodes } = cluster;
  const known = nodes.length < cluster.known ? `${nodes.length} of ${cluster.known}` : cluster.known;
  at("cluster-state").className = cluster.state === "ok" ? "good" : "bad";
  at("cluster-state").replaceChildren(element("strong", { class: "state" }, `state: ${cluster.state}`),
    `, ${known} nodes, ${cluster.size} shards with slots, epoch ${cluster.epoch}`);
  drawSlots(nodes);
  const primaries = nodes.filter((node) => node.role === "primary");
  const known_ids = new Set(primaries.map((node) => node.id));
  const lost = nodes.filter((node) => node.role === "replica" && !known_ids.has(node.primary));
  at("shards").replaceChildren(
    ...primaries.map((primary) => shard(primary, nodes.filter((node) => node.primary === primary.id))),
    ...lost.map((node) => element("li", {}, show(node))));
  const keyByKey = cluster.open_slots.map((open) => [String(open.slot), "key by key", `${open.way} ${open.node}`, "open", "", ""]);
  const asOne = cluster.moves.map((move) => [move.ranges, move.operation, `${move.source ?? "?"} → ${move.target ?? "?"}`,
    move.state, move.keys ? `${count(move.keys.sent)} of ${count(move.keys.all)}` : "", move.message ?? ""]);
  table("moves", [["Slots", "text"], ["How"], ["Nodes"], ["State"], ["Keys", "number"], ["Message", "text"]],
    [...keyByKey, ...asOne], "No slots are moving.");
}
