/** Values that are nearly others: what a reader must not take for them. */
import type { Json, Vector } from "./data.ts";

/** The vectors with values that are not what was written, and a null that never was. */
export function nearMisses(vectors: readonly Vector[]): Vector[] {
  const missed = vectors.map(({ name, key, value }) => ({ name, key, value: nearMiss(value) }));
  return [...missed, { name: "a null under a missing key", key: "never written", value: null }];
}

/** A value that is not the same, but that a careless comparison would take for it. */
export function nearMiss(value: Json): Json {
  switch (typeof value) {
    case "boolean":
      return value ? 1 : 0;
    case "number":
      return value === 0 ? false : neighbour(value);
    case "string":
      return nearText(value);
    default:
  }
  if (value === null) return false;
  if (Array.isArray(value)) {
    return value.length === 0 ? {} : value.with(-1, nearMiss(value.at(-1) as Json));
  }
  const members = Object.entries(value);
  const [name = "", last = null] = members.at(-1) ?? [];
  return members.length === 0 ? [] : Object.fromEntries(members.with(-1, [name, nearMiss(last)]));
}

/** The next number: one bit is different. */
function neighbour(number: number): number {
  const double = new Float64Array([number]);
  const bits = new BigInt64Array(double.buffer);
  bits[0] = (bits[0] as bigint) + (Math.abs(number) === Number.MAX_VALUE ? -1n : 1n);
  return double[0] as number;
}

/** The text in another normal form; one that has no other, with another last character. */
function nearText(text: string): string {
  if (text.length < 1000 && text.normalize("NFD") !== text) return text.normalize("NFD");
  if (text.length < 1000 && text.normalize("NFC") !== text) return text.normalize("NFC");
  const last = text.codePointAt(text.length - 2) ?? 0;
  const width = last > 0xffff ? 2 : 1;
  const point = width === 2 ? last : text.charCodeAt(text.length - 1);
  return text === "" ? "\u200b" : text.slice(0, -width) + String.fromCodePoint(point ^ 1);
}
