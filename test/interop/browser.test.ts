/** The cart's page in a real browser: Debian's Chromium, which CI installs. Elsewhere the tests say that they are skipped. */
import { existsSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type ServedPage, servePage } from "../../samples/browser/serve.ts";
import { openStore, type WorkflowStateStore } from "../../src/index.ts";
import { type RunningServer, startServer } from "../../src/server.ts";
import { type MemoryStore, memoryStore } from "../../src/stores/memory.ts";
import { ended, start } from "../support/run-node.ts";

const CHROMIUM = "/usr/bin/chromium";
const missing = !existsSync(CHROMIUM);
const CART = "shopping-cart";

test("`npm run sample:browser` serves the page and the service behind it, and leaves nothing behind", async () => {
  const before = pages();
  const child = start(process.execPath, ["samples/browser/serve.ts"]);
  const over = ended(child);
  const { promise: listening, resolve, reject } = Promise.withResolvers<string>();
  let said = "";
  child.stdout?.on("data", (text: string) => {
    said += text;
    const [, url] = /^The cart is at (\S+)$/m.exec(said) ?? [];
    if (url !== undefined) resolve(url);
  });
  child.once("close", () => reject(new Error(said)));
  const url = await listening;
  expect(await (await fetch(url)).text()).toContain("<h1>The cart</h1>");
  await using store = await openStore(`${url}state?protocol=connect&httpVersion=1.1`);
  await store.setState("s", "k", 1);
  expect(await store.getState("s", "k")).toBe(1);
  child.kill("SIGINT");
  expect(await over).toMatchObject({ status: 0, stderr: "" });
  expect(pages()).toEqual(before);
});

/** Where bundled pages lie. */
function pages(): string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith("workflow-state-page-"));
}

describe.skipIf(missing)(
  `the cart in Chromium${missing ? `: skipped, as there is no ${CHROMIUM}` : ""}`,
  () => {
    let memory: MemoryStore;
    let server: RunningServer;
    let served: ServedPage;
    let browser: Browser;
    /** Another client of the same service. */
    let other: WorkflowStateStore;

    beforeAll(async () => {
      memory = memoryStore();
      server = await startServer({ store: memory, listen: { port: 0 } });
      other = await openStore(server.url);
      served = await servePage(server.url, 0);
      browser = await chromium.launch({
        executablePath: CHROMIUM,
        args: [
          "--headless",
          "--no-sandbox",
          "--disable-gpu",
          "--disable-quic",
          "--no-first-run",
          "--disable-background-networking",
          "--disable-component-update",
          "--disable-sync",
        ],
      });
    });

    afterAll(async () => {
      await browser?.close();
      await served?.close();
      await other?.close();
      await server?.close({ now: true });
      await memory?.close();
    });

    beforeEach(async () => {
      await other.deleteSession(CART);
    });

    /** Opens the page as somebody who was never there; gives it with what went wrong in it. */
    async function visit(): Promise<{ page: Page; errors: string[] }> {
      const context = await browser.newContext();
      const page = await context.newPage();
      const errors: string[] = [];
      page.on("pageerror", (error) => errors.push(String(error)));
      page.on("console", (message) => {
        if (message.type() === "error") errors.push(message.text());
      });
      await page.goto(served.url);
      await shows(page, "list", "nothing");
      return { page, errors };
    }

    /** Waits until an element has this text. */
    async function shows(page: Page, id: string, text: string): Promise<void> {
      await expect.poll(() => page.locator(`#${id}`).textContent(), { timeout: 20_000 }).toBe(text);
    }

    async function run(page: Page, name: string): Promise<void> {
      await page.click(`#${name}`);
      await page.waitForSelector(`#${name}:not([disabled])`);
    }

    test("runs the cart, and shows it as it becomes", async () => {
      const { page, errors } = await visit();
      await run(page, "fill");
      await shows(page, "list", "milk, bread");
      await shows(page, "total", "2");
      await run(page, "add");
      await shows(page, "list", "milk, bread, eggs");
      await shows(page, "total", "3");
      await run(page, "check");
      const said = (await page.locator("#said").textContent()) ?? "";
      const cart = '{"shopping_list":["milk","bread","eggs"],"total_items":3}';
      expect(said.replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME").split("\n")).toEqual([
        "created      TIME",
        "found        milk, bread",
        `read and set ${cart}`,
        `one commit   ${cart}`,
        "list         milk, bread, eggs",
        "total        3",
        "last updated TIME",
        "",
      ]);
      expect((await other.getSession(CART))?.state).toEqual(JSON.parse(cart));
      await run(page, "empty");
      await shows(page, "list", "nothing");
      expect(await other.getSession(CART)).toBeUndefined();
      expect(errors).toEqual([]);
      await page.context().close();
    });

    test("shows at once what others do, in order and without a gap", async () => {
      const { page, errors } = await visit();
      const begun = Number(await page.locator("#revision").textContent());
      await other.setState(CART, "shopping_list", ["tea"]);
      await shows(page, "list", "tea");
      for (let n = 1; n <= 20; n++) {
        await other.commit(CART, { changes: [{ kind: "increment", key: "total_items", delta: 1 }] });
      }
      await shows(page, "total", "20");
      const second = await browser.newContext();
      const elsewhere = await second.newPage();
      await elsewhere.goto(served.url);
      await shows(elsewhere, "list", "tea");
      await elsewhere.click("#empty");
      await shows(page, "list", "nothing");
      const watched = (await page.locator("#watched").textContent()) ?? "";
      const increments = Array.from({ length: 20 }, (_, n) => `${begun + 2 + n} COMMITTED total_items`);
      expect(watched.trimEnd().split("\n")).toEqual([
        `${begun} snapshot`,
        `${begun + 1} COMMITTED shopping_list`,
        ...increments,
        `${begun + 22} DELETED`,
      ]);
      expect(errors).toEqual([]);
      await second.close();
      await page.context().close();
    });

    test("says what went wrong", async () => {
      const { page } = await visit();
      await run(page, "check");
      await shows(page, "problem", "Error: The cart is not what the runs before have left.");
      await run(page, "add");
      expect(await page.locator("#problem").textContent()).toMatch(/^SESSION_NOT_FOUND: /);
      await page.context().close();
    });
  },
);
