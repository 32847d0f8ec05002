// The cluster's map in a real browser: two shards and a replica, slots that move, and a node that is gone.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Browser, Server, until } from "../harness.js";

let browser, nodes;

before(async () => {
  const start = () => Server.start("--cluster-enabled", "yes", "--cluster-node-timeout", 2000, "--repl-diskless-sync-delay", 0);
  nodes = await Promise.all([start(), start(), start()]);
  const [first, second, third] = nodes;
  await first.ask("CLUSTER ADDSLOTSRANGE 0 8191");
  await second.ask("CLUSTER ADDSLOTSRANGE 8192 16383");
  await second.ask("CLUSTER SET-CONFIG-EPOCH 2");
  await first.ask(`CLUSTER MEET 127.0.0.1 ${second.port}`);
  await first.ask(`CLUSTER MEET 127.0.0.1 ${third.port}`);
  const whole = async (node) => /cluster_state:ok[^]*cluster_known_nodes:3/.test(await node.ask("CLUSTER INFO"));
  await until("the cluster", async () => (await Promise.all(nodes.map(whole))).every(Boolean));
  const id = (await second.ask("CLUSTER MYID")).split("\r\n")[1];
  await until("a replica", async () => (await third.ask(`CLUSTER REPLICATE ${id}`)).startsWith("+OK"));
  browser = await Browser.launch();
});

after(async () => {
  await browser?.close();
  nodes?.forEach((node) => node.stop());
});

test("the map shows shards, slots, moves and failures", async () => {
  const [first, second, third] = nodes;
  const page = await browser.open(first);
  const shards = page.locator("#shards > li");
  await until("two shards, one with a replica", async () => (await shards.count()) === 2 &&
    (await page.locator("#shards ul .node").count()) === 1);
  await page.getByText("8,192 slots: 0-8191").waitFor();
  const replica = page.locator("#shards ul .node", { hasText: `127.0.0.1:${third.port}` });
  await replica.getByText("up", { exact: true }).waitFor();
  assert.match(await page.locator("#slots-text").textContent(), /8192 slots, 8192-16383/);
  assert.equal(await page.locator("#slots rect[data-owner]").count(), 2);
  await browser.assertAccessible(page);

  const target = (await second.ask("CLUSTER MYID")).split("\r\n")[1];
  await first.ask(`CLUSTER SETSLOT 7 MIGRATING ${target}`);
  await page.getByRole("cell", { name: "key by key" }).waitFor();
  await first.ask("CLUSTER SETSLOT 7 STABLE");
  await first.ask(`CLUSTER MIGRATESLOTS SLOTSRANGE 8000 8191 NODE ${target}`);
  await page.getByText("8,000 slots: 0-7999").waitFor();
  await page.getByRole("cell", { name: "8000-8191" }).waitFor();

  third.process.kill("SIGKILL");
  await replica.getByText("failed").waitFor();
  await page.context().close();
});

test("the map can be read on a phone", async () => {
  const page = await browser.open(nodes[0], { viewport: { width: 360, height: 700 }, colorScheme: "dark" });
  await page.locator("#shards > li").first().waitFor();
  const width = await page.evaluate(() => document.scrollingElement.scrollWidth);
  assert.ok(width <= 360, `${width} pixels`);
  await browser.assertAccessible(page);
  await page.context().close();
});

test("nothing went wrong in the browser", () => assert.deepEqual(browser.faults, []));
