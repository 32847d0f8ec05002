// What tests of the page have in common: servers, and a browser that looks at them.
//
// AEOLIS_PROGRAM is the server, CHROMIUM the browser (else the one of the system).

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import axe from "axe-core";
import { chromium } from "playwright-core";

const PROGRAM = process.env.AEOLIS_PROGRAM ?? new URL("../target/debug/aeolis", import.meta.url).pathname;
const PATIENCE = 30_000;

function freePort() {
  return new Promise((resolve) => {
    const listener = createServer();
    listener.listen(0, "127.0.0.1", () => {
      const { port } = listener.address();
      listener.close(() => resolve(port));
    });
  });
}

export async function until(what, condition) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    if (await condition()) return;
    assert.ok(Date.now() < end, `waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A server process, and one connection to it. */
export class Server {
  static async start(...options) {
    const server = new Server();
    [server.port, server.metrics] = [await freePort(), await freePort()];
    server.dir = mkdtempSync(join(tmpdir(), "aeolis-page-"));
    server.process = spawn(PROGRAM, ["--port", server.port, "--metrics-port", server.metrics, "--dir", server.dir,
      "--save", "", ...options].map(String), { stdio: "ignore" });
    await until("the server", async () => (await server.ask("PING").catch(() => "")).startsWith("+PONG"));
    return server;
  }

  /** Sends inline commands; the first bytes of what comes back for them. */
  ask(commands) {
    return new Promise((resolve, reject) => {
      const socket = connect(this.port, "127.0.0.1", () => socket.write(`${commands}\r\n`));
      socket.on("error", reject);
      socket.on("data", (bytes) => {
        socket.destroy();
        resolve(bytes.toString());
      });
    });
  }

  async metric(name) {
    const text = await (await fetch(`http://127.0.0.1:${this.metrics}/metrics`)).text();
    return Number(text.split("\n").find((line) => line.startsWith(`${name} `))?.split(" ")[1]);
  }

  stop() {
    this.process.kill("SIGKILL");
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A browser, and what goes wrong on its pages. */
export class Browser {
  faults = [];

  static async launch() {
    const browser = new Browser();
    const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
    browser.inner = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
    return browser;
  }

  /** The page of a server, once it is live. */
  async open(server, options) {
    const context = await this.inner.newContext(options);
    const page = await context.newPage();
    page.on("console", (message) => message.type() === "error" && this.faults.push(message.text()));
    page.on("pageerror", (error) => this.faults.push(String(error)));
    await page.goto(`http://127.0.0.1:${server.metrics}/`);
    await page.getByText("live", { exact: true }).waitFor();
    return page;
  }

  async assertAccessible(page) {
    await page.evaluate(axe.source);
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    assert.deepEqual(violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(" ")}`), []);
  }

  async close() {
    await this.inner.close();
  }
}
