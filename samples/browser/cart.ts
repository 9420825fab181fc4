/**
 * The cart of `samples/cart.ts` in a page: the same three runs, at a button each, and the cart as it is, live. `serve.ts` puts
 * the service at `/state` of the page's own host.
 */
import { z } from "zod";
import { openSession, openStore, WorkflowStateError } from "../../src/web.ts";

const CART = "shopping-cart";
const COPY = `${CART}-copy`;

/** What the cart holds: what doesn't fit is neither written nor shown. */
const schemas = { shopping_list: z.array(z.string()), total_items: z.number().int() };

const store = await openStore("/state");
const cart = openSession(store, CART, schemas);

const runs = {
  async fill(): Promise<void> {
    // What a run of this sample that was interrupted may have left.
    await store.deleteSession(CART);
    await store.deleteSession(COPY);

    await cart.set("shopping_list", ["milk", "bread"]);
    await cart.set("total_items", 2);

    const session = await store.getSession(CART);
    say("created     ", session?.createTime?.toISOString());
  },

  async add(): Promise<void> {
    const copy = openSession(store, COPY, schemas);
    await store.forkSession(CART, COPY);

    // Read, change, set: fine as long as nobody else writes to the cart meanwhile.
    const list = (await cart.get("shopping_list")) ?? [];
    say("found       ", list.join(", "));
    await cart.set("shopping_list", [...list, "eggs"]);
    await cart.set("total_items", list.length + 1);
    say("read and set", JSON.stringify(await cart.state()));

    // The safe way, here on the copy: one atomic commit that the store computes, whoever else writes.
    await copy.commit({
      changes: [
        { kind: "append", key: "shopping_list", values: ["eggs"] },
        { kind: "increment", key: "total_items", delta: 1 },
      ],
    });
    say("one commit  ", JSON.stringify(await copy.state()));
    await store.deleteSession(COPY);
  },

  async check(): Promise<void> {
    const { shopping_list = [], total_items } = await cart.state();
    if (shopping_list.join() !== "milk,bread,eggs" || total_items !== 3) {
      throw new Error("The cart is not what the runs before have left.");
    }
    say("list        ", shopping_list.join(", "));
    say("total       ", total_items);
    say("last updated", (await store.getSession(CART))?.updateTime?.toISOString());
  },

  async empty(): Promise<void> {
    say("deleted     ", await store.deleteSession(CART));
  },
};

/** Follows the cart for as long as the page is open; the store finds its way back after a lost connection. */
async function watch(): Promise<void> {
  let state: { shopping_list?: readonly string[]; total_items?: number } = {};
  for await (const message of cart.watch()) {
    if (message.kind === "progress") continue;
    if (message.kind === "snapshot") {
      state = message.state;
      note(`${message.revision} snapshot`);
    } else {
      const { revision, kind, entries } = message.event;
      // Without entries it is about the whole session.
      if (kind === "DELETED" || (kind === "EXPIRED" && entries.length === 0)) state = {};
      for (const { key, value } of entries) state = { ...state, [key]: value };
      note(`${revision} ${kind} ${entries.map(({ key }) => key).join(" ")}`.trimEnd());
    }
    const revision = message.kind === "snapshot" ? message.revision : message.event.revision;
    show("list", state.shopping_list?.join(", ") ?? "nothing");
    show("total", state.total_items ?? 0);
    show("revision", revision);
  }
}

for (const [name, run] of Object.entries(runs)) {
  element(name).addEventListener("click", () => {
    show("problem", "");
    disable(true);
    run()
      .catch(problem)
      .finally(() => disable(false));
  });
}
watch().catch(problem);

function problem(error: unknown): void {
  // The reason is for programs, the message for people: neither holds what is stored.
  show("problem", WorkflowStateError.is(error) ? `${error.reason}: ${error.message}` : String(error));
}

function disable(disabled: boolean): void {
  for (const name of Object.keys(runs)) element(name).toggleAttribute("disabled", disabled);
}

function say(what: string, value: unknown): void {
  element("said").append(`${what} ${value}\n`);
}

function note(text: string): void {
  element("watched").append(`${text}\n`);
}

function show(id: string, value: string | number): void {
  element(id).textContent = String(value);
}

function element(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`The page has no ${id}.`);
  return found;
}
