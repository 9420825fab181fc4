/**
 * `npm run sample:race [-- URL]`: twenty runs at once, each with its own connection, add one item each to the same list.
 * Reading the list and setting it again loses items without a word; the other ways lose none.
 */
import { openStore, type WorkflowStateStore } from "../src/index.ts";
import { withServer } from "./with-server.ts";

const RUNS = 20;

/** Empty while the session does not exist. */
interface Cart {
  items?: string[];
  count?: number;
}

type AddItem = (store: WorkflowStateStore, sessionId: string, item: string) => Promise<unknown>;

const ways: Readonly<Record<string, AddItem>> = {
  /** Nothing tells a run that another has written since it read: the last one wins. */
  "read, then set": async (store, sessionId, item) => {
    const items = (await store.getState<string[]>(sessionId, "items")) ?? [];
    await store.setState(sessionId, "items", [...items, item]);
    const count = (await store.getState<number>(sessionId, "count")) ?? 0;
    await store.setState(sessionId, "count", count + 1);
  },

  /** Reads, changes, and commits under checks; on a conflict it does so again. */
  update: (store, sessionId, item) =>
    store.update<Cart>(sessionId, (cart) => {
      cart.items = [...(cart.items ?? []), item];
      cart.count = (cart.count ?? 0) + 1;
    }),

  /** Says what to change, and leaves the computing to the store: one call, never a conflict. */
  "append, increment": (store, sessionId, item) =>
    store.commit(sessionId, {
      changes: [
        { kind: "append", key: "items", values: [item] },
        { kind: "increment", key: "count", delta: 1 },
      ],
    }),
};

await withServer(process.argv[2], async (url) => {
  console.log(`${RUNS} runs at once, each adds one item:`);
  for (const [name, addItem] of Object.entries(ways)) {
    const sessionId = `race: ${name}`;
    const stores = await Promise.all(Array.from({ length: RUNS }, () => openStore(url)));
    // All connections are made before the race begins.
    await Promise.all(stores.map((store) => store.deleteSession(sessionId)));

    await Promise.all(stores.map((store, run) => addItem(store, sessionId, `item ${run + 1}`)));

    const store = stores[0] as WorkflowStateStore;
    const { items = [], count } = ((await store.getSession(sessionId))?.state ?? {}) as Cart;
    const lost = RUNS - items.length;
    console.log(
      `${name.padEnd(17)}  items ${items.length}, count ${count}${lost > 0 ? ` (${lost} items lost)` : ""}`,
    );
    await store.deleteSession(sessionId);
    await Promise.all(stores.map((each) => each.close()));
  }
});
