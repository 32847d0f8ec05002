// The live page in a real browser: it loads, follows what happens, and can be used by everybody.
//
// SCREENSHOTS names a folder to take pictures for the README into.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Browser, Server, until } from "../harness.js";

let browser, primary, replica;
const open = (options) => browser.open(primary, options);

before(async () => {
  primary = await Server.start("--repl-diskless-sync-delay", 0, "--slowlog-log-slower-than", 0, "--maxmemory-policy", "allkeys-lfu");
  replica = await Server.start("--replicaof", `127.0.0.1 ${primary.port}`);
  for (let n = 0; n < 200; n++) await primary.ask(`SET key:${n} ${"v".repeat(n + 1)}\r\nGET key:${n}\r\nINCR counter\r\nLPUSH list ${n}`);
  await primary.ask(`SET large ${"v".repeat(10_000)}`);
  browser = await Browser.launch();
});

after(async () => {
  await browser?.close();
  [primary, replica].forEach((server) => server?.stop());
});

async function picture(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, `page-${name}.png`) });
}

for (const theme of ["light", "dark"]) {
  test(`it is accessible in the ${theme} theme`, async () => {
    const page = await open({ colorScheme: theme, viewport: { width: 1280, height: 1400 } });
    await page.locator("#topology .good .state").waitFor();
    await page.locator("#heat td.cell").first().waitFor();
    for (let n = 0; n < 8; n++) {
      for (let m = 0; m < 10 * (n % 4 + 1); m++) await primary.ask(`GET key:${m}\r\nGET none\r\nINCR counter`);
      await page.waitForTimeout(process.env.SCREENSHOTS ? 1000 : 0);
    }
    await browser.assertAccessible(page);
    await picture(page, theme);
    await page.context().close();
  });
}

test("it shows what happens", async () => {
  const page = await open();
  const keys = page.locator("#keyspace tbody tr td").nth(1);
  await until("the keys", async () => (await keys.textContent()) === "203");
  await primary.ask("SET another key");
  await until("another key", async () => (await keys.textContent()) === "204");
  await page.getByRole("cell", { name: "SET another key" }).waitFor();
  assert.match(await page.locator("#operations").getAttribute("aria-label"), /commands/);
  await page.getByRole("cell", { name: "large" }).first().waitFor();
  await page.context().close();
});

test("replication is drawn as it is", async () => {
  const page = await open();
  const topology = page.locator("#topology");
  const other = await Server.start("--replicaof", `127.0.0.1 ${primary.port}`);
  await until("a second replica", async () => (await topology.locator(".good").count()) === 2);
  await topology.getByText(`127.0.0.1:${other.port}`, { exact: true }).waitFor();
  const link = page.locator("#links details", { hasText: `127.0.0.1:${other.port}` });
  await link.locator("summary").click();
  await link.getByText("PSYNC").first().waitFor();
  other.stop();
  await link.getByText("over for").waitFor();
  await topology.locator(".bad .state").waitFor();
  assert.ok(await link.getAttribute("open") !== null, "what was opened stays open");
  await page.context().close();
});

test("a hidden tab costs nothing", async () => {
  const page = await open();
  const hide = (hidden) => page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  const viewers = () => primary.metric("aeolis_page_viewers");
  await until("a viewer", async () => (await viewers()) === 1);
  await hide(true);
  await until("none", async () => (await viewers()) === 0);
  await hide(false);
  await until("it again", async () => (await viewers()) === 1);
  await page.context().close();
});

test("it can be used by keyboard, and on a phone", async () => {
  const page = await open({ viewport: { width: 360, height: 700 } });
  const width = await page.evaluate(() => document.scrollingElement.scrollWidth);
  assert.ok(width <= 360, `${width} pixels`);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Theme: light" }).waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "light");
  await page.context().close();
});

test("nothing went wrong in the browser", () => assert.deepEqual(browser.faults, []));
