/** A store's methods as an object of their own: to put others in their place. */
import type { EncodedStore } from "../../src/store.ts";

/** The methods of a store, bound to it. */
export function methodsOf(store: EncodedStore): EncodedStore {
  const methods: Record<string, unknown> = {};
  for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(store))) {
    const method: unknown = name === "constructor" ? undefined : store[name as keyof EncodedStore];
    if (typeof method === "function") methods[name] = method.bind(store);
  }
  return methods as unknown as EncodedStore;
}
