/** The order of keys and ids, as their UTF-8 bytes compare, and a map's keys in it. */

/**
 * Compares two well-formed strings as their UTF-8 bytes compare: that is by code point, where JavaScript's `<` compares
 * UTF-16 units and puts what lies beyond U+FFFF before U+E000 to U+FFFF.
 */
export function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) {
      const xHigh = x >= 0xd800 && x < 0xe000;
      return xHigh === (y >= 0xd800 && y < 0xe000) ? x - y : xHigh ? 1 : -1;
    }
  }
  return a.length - b.length;
}

/**
 * The keys of a map in order, sorted when they are asked for and not before: a write of a known key costs nothing, a new or
 * removed one a note, and the next listing sorts what is new into what was sorted.
 */
export class SortedKeys {
  readonly #map: ReadonlyMap<string, unknown>;
  #sorted: string[] = [];
  #added: string[];
  #removed = false;

  constructor(map: ReadonlyMap<string, unknown>) {
    this.#map = map;
    this.#added = [...map.keys()];
  }

  /** Must be called when the map gets a key that it didn't have. */
  added(key: string): void {
    this.#added.push(key);
    if (this.#added.length > 2 * this.#map.size + 64) {
      // Keys came and went, and nobody listed them: begin anew, so that the notes stay within twice the map's size, and this is rare.
      this.#sorted = [];
      this.#added = [...this.#map.keys()];
      this.#removed = false;
    }
  }

  /** Must be called when the map loses a key. */
  removed(): void {
    this.#removed = true;
  }

  /** All keys of the map in order. Not to be changed, and good until the next call of a method. */
  all(): readonly string[] {
    if (this.#removed) {
      // A key may have gone and come back: it is in both lists then, or twice in one.
      this.#sorted = this.#sorted.filter((key) => this.#map.has(key));
      this.#added = this.#added.filter((key) => this.#map.has(key));
    }
    if (this.#added.length > 0) {
      const merged = this.#sorted.concat(this.#added.sort(compareUtf8)).sort(compareUtf8);
      this.#sorted = this.#removed ? merged.filter((key, i) => i === 0 || key !== merged[i - 1]) : merged;
      this.#added = [];
    }
    this.#removed = false;
    return this.#sorted;
  }

  /** The place of the first key that is not before `key`. */
  lowerBound(key: string): number {
    const sorted = this.all();
    let low = 0;
    let high = sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareUtf8(sorted[middle] as string, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
