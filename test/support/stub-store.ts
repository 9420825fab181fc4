/** A store in memory with some of its methods replaced: for what no real store can be made to do at will. */
import type { EncodedStore } from "../../src/store.ts";
import { memoryStore } from "../../src/stores/memory.ts";

/** Makes one. */
export function stubStore(replaced: Partial<EncodedStore>): EncodedStore {
  const store = memoryStore();
  return new Proxy<EncodedStore>(store, {
    get(target, name: keyof EncodedStore) {
      return replaced[name] ?? target[name].bind(target);
    },
  });
}
