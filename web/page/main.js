// The live page: one event a second from the server while the page can be seen, none while it can't.

import { at, element, list, table } from "./elements.js";
import { bytes, count, micros, seconds, time } from "./format.js";
import { Chart } from "./charts.js";
import { drawTopology, listLinks } from "./topology.js";
import { drawCluster } from "./cluster.js";
import { drawHeat } from "./heat.js";

const perSecond = (format) => (n) => `${format(n)}/s`;
const charts = {
  operations: new Chart("operations", ["commands"], count),
  hits: new Chart("hits", ["hits", "misses"], count),
  network: new Chart("network", ["in", "out"], perSecond(bytes)),
  memory: new Chart("memory", ["used", "resident"], bytes),
};
let before;

/** By how much a field grows in a second. */
function rate(now, field) {
  const elapsed = before && (now.at_ms - before.at_ms) / 1000;
  return elapsed > 0 && elapsed < 10 ? Math.max(0, now.info[field] - before.info[field]) / elapsed : 0;
}

function show(now) {
  const { info } = now;
  at("role").textContent = info.role === "slave" ? "replica" : "primary";
  at("identity").textContent =
    `${info.aeolis_version}, as Redis ${info.redis_version}, port ${info.tcp_port}, up ${seconds(info.uptime_in_seconds)}`;
  document.title = `Aeolis :${info.tcp_port}`;
  const operations = rate(now, "total_commands_processed");
  const [hits, misses] = [rate(now, "keyspace_hits"), rate(now, "keyspace_misses")];
  const x = now.at_ms / 1000;
  charts.operations.add(x, operations);
  charts.hits.add(x, hits, misses);
  charts.network.add(x, rate(now, "total_net_input_bytes"), rate(now, "total_net_output_bytes"));
  charts.memory.add(x, info.used_memory, info.used_memory_rss);
  const lookups = info.keyspace_hits + info.keyspace_misses;
  list("figures", [
    ["commands/s", count(operations)],
    ["hit rate", lookups ? `${((100 * info.keyspace_hits) / lookups).toFixed(1)} %` : "–"],
    ["memory", bytes(info.used_memory)],
    ["keys", count(now.keyspace.reduce((sum, db) => sum + db.keys, 0))],
    ["clients", count(info.connected_clients)],
    ["blocked", count(info.blocked_clients)],
    ["expired/s", count(rate(now, "expired_keys"))],
    ["evicted/s", count(rate(now, "evicted_keys"))],
    ["errors/s", count(rate(now, "total_error_replies"))],
  ]);
  showProgress(now.progress);
  showMemory(info);
  showPersistence(now, info);
  drawTopology(info, now.links);
  listLinks(now.links);
  drawCluster(now.cluster);
  drawHeat(now.bounds_us, now.commands);
  showTables(now);
  before = now;
}

function showProgress(running) {
  at("progress").replaceChildren(...running.map((work) => {
    const amount = work.unit === "bytes" ? bytes : (n) => `${count(n)} ${work.unit}`;
    const said = [
      work.total ? `${amount(work.done)} of ${amount(work.total)}` : amount(work.done),
      ...(work.per_second ? [`${amount(work.per_second)}/s`] : []),
      ...(work.seconds_left === null ? [] : [`${seconds(work.seconds_left)} left`]),
    ];
    return element("label", {}, `${work.title}: ${said.join(", ")}`,
      element("progress", work.total ? { value: work.done, max: work.total } : {}));
  }));
}

function showMemory(info) {
  const whole = Math.max(info.used_memory_rss, info.used_memory);
  const buffers = info.mem_total_replication_buffers;
  const tables = info.used_memory_overhead - info.used_memory_startup - info.mem_clients_normal - buffers;
  const parts = [
    ["data", info.used_memory_dataset],
    ["tables", Math.max(0, tables)],
    ["clients", info.mem_clients_normal],
    ["replication", buffers],
    ["the program itself", info.used_memory_startup],
    ["fragmentation", Math.max(0, info.used_memory_rss - info.used_memory)],
  ];
  list("memory-parts", [
    ...parts.map(([name, n]) => [name, bytes(n), n / whole]),
    ["limit", info.maxmemory ? `${bytes(info.maxmemory)}, ${info.maxmemory_policy}` : "none"],
  ]);
}

function showPersistence(now, info) {
  list("persistence", [
    ["last snapshot", `${seconds(now.at_ms / 1000 - info.rdb_last_save_time)} ago, ${info.rdb_last_bgsave_status}`],
    ["changes since", count(info.rdb_changes_since_last_save)],
    ["append-only file", info.aof_enabled ? `${bytes(info.aof_current_size)}, ${info.aof_last_write_status}` : "off"],
    ["last rewrite", info.aof_enabled ? info.aof_last_bgrewrite_status : "–"],
    ["last fork", micros(info.latest_fork_usec)],
  ]);
}

function showTables(now) {
  table("keyspace", [["Database"], ["Keys", "number"], ["With expiry", "number"], ["Average TTL", "number"]],
    now.keyspace.map((db) => [db.db, count(db.keys), count(db.expires), db.avg_ttl ? seconds(db.avg_ttl / 1000) : "–"]), "No keys.");
  table("slow", [["At"], ["Took", "number"], ["Command", "text"], ["Client"]],
    now.slow_log.map((entry) => [time(entry.at * 1000), micros(entry.us), entry.command, entry.client]), "No slow commands.");
  table("clients", [["Id", "number"], ["Address"], ["Name"], ["User"], ["Kind"], ["Last command"], ["Age", "number"], ["Idle", "number"], ["Memory", "number"]],
    now.clients.map((client) => [client.id, client.address, client.name, client.user, client.kind, client.command,
      seconds(client.age_s), seconds(client.idle_s), bytes(client.memory_bytes)]), "No clients.");
  table("big", [["Key", "text"], ["Database", "number"], ["Type"], ["Size", "number"]],
    now.keys.big.map((key) => [key.key, key.db, key.type, bytes(key.bytes)]), "No keys have been sampled yet.");
  table("hot", [["Key", "text"], ["Database", "number"], ["Frequency", "number"]],
    (now.keys.hot ?? []).map((key) => [key.key, key.db, key.frequency]),
    now.keys.hot ? "No keys have been sampled yet." : "How often keys are used is counted under an LFU maxmemory-policy only.");
}

let source;

function say(text, kind) {
  at("status").textContent = text;
  at("status").className = kind;
}

function listen() {
  source?.close();
  source = undefined;
  if (document.hidden) return;
  source = new EventSource("events");
  source.onmessage = (event) => {
    show(JSON.parse(event.data));
    if (at("status").textContent !== "live") say("live", "good");
  };
  source.onerror = () => {
    const refused = source.readyState === EventSource.CLOSED;
    say(refused ? "not served: see the permissions of this user" : "connection lost, trying again", "bad");
  };
}

const THEMES = ["system", "light", "dark"];
at("theme").addEventListener("click", (event) => {
  const now = document.documentElement.dataset.theme ?? "system";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  event.target.textContent = `Theme: ${next}`;
  Object.values(charts).forEach((chart) => chart.redraw());
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  Object.values(charts).forEach((chart) => chart.redraw());
});
document.addEventListener("visibilitychange", listen);
listen();
