import { describe, expect, it } from "vitest";
import { compareUtf8, SortedKeys } from "../../src/stores/order.ts";

/** A map that counts how often all its keys are read. */
class CountingMap extends Map<string, number> {
  reads = 0;

  override keys(): MapIterator<string> {
    this.reads++;
    return super.keys();
  }
}

describe("sorted keys", () => {
  it("are those of the map, in the order of their bytes, also of keys that went and came back", () => {
    const map = new Map<string, number>();
    const keys = new SortedKeys(map);
    const add = (key: string): void => {
      map.set(key, 1);
      keys.added(key);
    };
    for (const key of ["b", "\u{10000}", "\uffff", "a", "é"]) add(key);
    expect(keys.all()).toEqual(["a", "b", "é", "\uffff", "\u{10000}"]);
    map.delete("b");
    keys.removed();
    add("b");
    add("c");
    expect(keys.all()).toEqual([...map.keys()].sort(compareUtf8));
  });

  it("are not gone through again and again when keys come and go among many that nobody lists", () => {
    const map = new CountingMap();
    const keys = new SortedKeys(map);
    for (let i = 0; i < 10_000; i++) {
      map.set(`s${i}`, i);
      keys.added(`s${i}`);
    }
    const before = map.reads;
    for (let i = 0; i < 20_000; i++) {
      map.set(`t${i}`, i);
      keys.added(`t${i}`);
      map.delete(`t${i}`);
      keys.removed();
    }
    expect(map.reads - before).toBeLessThan(5);
    expect(keys.all()).toHaveLength(10_000);
  });
});
