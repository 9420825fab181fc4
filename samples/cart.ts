/**
 * `npm run sample [-- URL]`: a workflow that stops and goes on. Each of its three runs is a process of its own, with its own
 * connection; between them the cart lives in the service.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { openSession, openStore, type WorkflowStateStore } from "../src/index.ts";
import { withServer } from "./with-server.ts";

const CART = "shopping-cart";
const COPY = `${CART}-copy`;

/** What the cart holds: what doesn't fit is neither written nor read. */
const schemas = { shopping_list: z.array(z.string()), total_items: z.number().int() };

type Run = (store: WorkflowStateStore) => Promise<void>;

const fill: Run = async (store) => {
  // What a run of this sample that was interrupted may have left.
  await store.deleteSession(CART);
  await store.deleteSession(COPY);

  await store.setState(CART, "shopping_list", ["milk", "bread"]);
  await store.setState(CART, "total_items", 2);

  const session = await store.getSession(CART);
  console.log("  created     ", session?.createTime?.toISOString());
};

const add: Run = async (store) => {
  const cart = openSession(store, CART, schemas);
  const copy = openSession(store, COPY, schemas);
  await store.forkSession(CART, COPY);

  // Read, change, set: fine as long as nobody else writes to the cart meanwhile (see race.ts).
  const list = (await cart.get("shopping_list")) ?? [];
  console.log("  found       ", list.join(", "));
  await cart.set("shopping_list", [...list, "eggs"]);
  await cart.set("total_items", list.length + 1);
  console.log("  read and set", await cart.state());

  // The safe way, here on the copy: one atomic commit that the store computes, whoever else writes.
  await copy.commit({
    changes: [
      { kind: "append", key: "shopping_list", values: ["eggs"] },
      { kind: "increment", key: "total_items", delta: 1 },
    ],
  });
  console.log("  one commit  ", await copy.state());
  await store.deleteSession(COPY);
};

const check: Run = async (store) => {
  const { shopping_list = [], total_items } = await openSession(store, CART, schemas).state();
  if (shopping_list.join() !== "milk,bread,eggs" || total_items !== 3) {
    throw new Error("The cart is not what the runs before have left.");
  }
  console.log("  list        ", shopping_list.join(", "));
  console.log("  total       ", total_items);
  console.log("  last updated", (await store.getSession(CART))?.updateTime?.toISOString());
};

const runs: readonly Run[] = [fill, add, check];

async function main(url: string): Promise<void> {
  for (const number of runs.keys()) {
    const child = spawn(process.execPath, [fileURLToPath(import.meta.url), "--run", `${number + 1}`, url], {
      stdio: "inherit",
    });
    const [status] = await once(child, "exit");
    if (status !== 0) {
      throw new Error(`Run ${number + 1} has failed.`);
    }
  }
  await using store = await openStore(url);
  console.log("sessions      ", await store.getAllSessionIds());
  console.log("deleted       ", await store.deleteSession(CART));
}

const [first, second = "", third = ""] = process.argv.slice(2);
if (first === "--run") {
  const run = runs[Number(second) - 1] as Run;
  console.log(`run ${second}, process ${process.pid}`);
  await using store = await openStore(third);
  await run(store);
} else {
  await withServer(first, main);
}
