import { afterEach, describe, expect, it } from "vitest";
import { type RunningServer, startServer } from "../src/server.ts";
import { type MemoryStore, memoryStore } from "../src/stores/memory.ts";
import { runNode } from "./support/run-node.ts";

const TIME = "\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z";

let open: { readonly store: MemoryStore; readonly server: RunningServer } | undefined;

async function serve(): Promise<{ readonly store: MemoryStore; readonly server: RunningServer }> {
  const store = memoryStore();
  open = { store, server: await startServer({ store, listen: { port: 0 } }) };
  return open;
}

afterEach(async () => {
  await open?.server.close({ now: true });
  await open?.store.close();
  open = undefined;
});

describe("the cart sample", () => {
  it("keeps the cart over three runs, and leaves no process behind", async () => {
    const { status, stdout, stderr } = await runNode("samples/cart.ts");
    expect(stderr).toBe("");
    expect(status).toBe(0);
    const cart = "{ shopping_list: [ 'milk', 'bread', 'eggs' ], total_items: 3 }";
    const pattern = new RegExp(
      [
        "run 1, process (\\d+)",
        `  created      (${TIME})`,
        "run 2, process (\\d+)",
        "  found        milk, bread",
        `  read and set ${literal(cart)}`,
        `  one commit   ${literal(cart)}`,
        "run 3, process (\\d+)",
        "  list         milk, bread, eggs",
        "  total        3",
        `  last updated (${TIME})`,
        `sessions       ${literal("[ 'shopping-cart' ]")}`,
        "deleted        true",
        "$",
      ].join("\n"),
    );
    expect(stdout).toMatch(pattern);
    const [, first, created = "", second, third, updated = ""] = pattern.exec(stdout) ?? [];
    expect(new Set([first, second, third]).size).toBe(3);
    for (const pid of [first, second, third]) expect(() => process.kill(Number(pid), 0)).toThrow("ESRCH");
    expect(Date.parse(updated)).toBeGreaterThan(Date.parse(created));
  });

  it("uses the service that it is given, and leaves nothing there", async () => {
    const { store, server } = await serve();
    const { status, stdout } = await runNode("samples/cart.ts", server.url);
    expect(status).toBe(0);
    expect(stdout).toContain("  total        3\n");
    expect(store.usage()).toMatchObject({ sessions: 0, entries: 0 });
    const { events } = await store.listEvents({ sessionId: "shopping-cart" });
    expect(events.at(-1)?.kind).toBe("DELETED");
  });

  it("fails when a run does", async () => {
    const { server } = await serve();
    const { status, stderr } = await runNode("samples/cart.ts", `${server.url}/no-service-here`);
    expect(status).toBe(1);
    expect(stderr).toContain("Run 1 has failed.");
  });
});

describe("the race sample", () => {
  it("loses items by reading and setting, and none by update or computed changes", async () => {
    const { status, stdout, stderr } = await runNode("samples/race.ts");
    expect(stderr).toBe("");
    expect(status).toBe(0);
    const counts = new Map(
      [...stdout.matchAll(/^(\w[^\n]*?) {2,}items (\d+), count (\d+)/gm)].map(([, way, items, count]) => [
        way,
        { items: Number(items), count: Number(count) },
      ]),
    );
    expect([...counts.keys()]).toEqual(["read, then set", "update", "append, increment"]);
    expect(counts.get("read, then set")?.items).toBeLessThan(20);
    expect(counts.get("update")).toEqual({ items: 20, count: 20 });
    expect(counts.get("append, increment")).toEqual({ items: 20, count: 20 });
  });
});

describe("the grpc-js sample", () => {
  it("sets, gets, commits once, is refused with a detail, and watches", async () => {
    const { server } = await serve();
    const { status, stdout, stderr } = await runNode("samples/grpc-js-client.ts", server.url);
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(stdout.split("\n")).toEqual([
      "set customer: 1",
      "get customer: { name: 'Ada', vip: true }",
      "get nothing: no entry, and no error",
      "commit, attempt 1: revision 2, { orders: 3, log: [ 'ordered' ] }",
      "commit, attempt 2: revision 2, { orders: 3, log: [ 'ordered' ] }",
      "late set: ABORTED, ERROR_REASON_REVISION_MISMATCH [ { key: 'orders', ifRevision: 1, actualRevision: 2 } ]",
      "watched: EVENT_KIND_COMMITTED 1, customer",
      "watched: EVENT_KIND_COMMITTED 2, orders log",
      "",
    ]);
  });
});

/** The pattern that only this text matches. */
function literal(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
