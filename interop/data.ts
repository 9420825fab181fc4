/**
 * The shared data of this folder: JSON with `{"$make": …}` in place of what is large, of what a generator of JSON would not
 * keep, and of what only a run knows. Programs get it as plain JSON.
 */
import { readFileSync } from "node:fs";
import { jsonText, restoreKeys } from "../src/wire/json-keys.ts";

/** Parsed JSON. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** What only a run knows, such as URLs, by name. */
export type Given = Readonly<Record<string, string>>;

/** A value under a key, as programs write and read it. */
export interface Vector {
  readonly name: string;
  readonly key: string;
  readonly value: Json;
}

/** How a value is made; each is described in README.md. */
type Recipe =
  | { readonly repeat: string; readonly times: number }
  | { readonly codePoints: readonly [from: number, to: number, step: number] }
  | { readonly text: readonly (string | readonly [repeated: string, times: number])[] }
  | { readonly list: number; readonly of: Json }
  | { readonly object: number; readonly name?: Json }
  | { readonly nest: number; readonly in: "list" | "object" | "both"; readonly of: Json }
  | { readonly json: string }
  | { readonly given: string };

/** JSON that is written as it stands: what `JSON.parse` and `JSON.stringify` would make something else of. */
const { rawJSON } = JSON as unknown as { rawJSON(text: string): Json };

/** Reads a file of JSON: whatever the keys, which `JSON.parse` by itself may misread. */
export function readJson(path: string): Json {
  return parseJson(readFileSync(path));
}

/** Parses JSON in UTF-8, as {@link readJson} does. */
export function parseJson(bytes: Uint8Array): Json {
  const parsed = { root: JSON.parse(jsonText.decode(bytes)) as Json };
  restoreKeys(parsed);
  return parsed.root;
}

/** Writes JSON for a program: `-0` stays what it is, and what is beyond 2^53 is not taken for an integer. */
export function jsonOf(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) => {
    if (Object.is(member, -0)) return rawJSON("-0.0");
    const large = typeof member === "number" && Math.abs(member) > 2 ** 53 && Math.abs(member) < 1e21;
    return large ? rawJSON(`${member}.0`) : member;
  });
}

/** The data of a file of this folder, made for a run. */
export function readData(name: "vectors.json" | "behaviour.json", given: Given = {}): Json {
  return made(readJson(`${import.meta.dirname}/${name}`), given);
}

/** The vectors that programs get. */
export function readVectors(): Vector[] {
  // By way of its text, as programs see it.
  const { vectors } = parseJson(Buffer.from(jsonOf(readData("vectors.json")))) as unknown as {
    vectors: Vector[];
  };
  return vectors;
}

/** A copy of the data with everything made that is to be made. */
export function made(data: Json, given: Given): Json {
  if (typeof data !== "object" || data === null) return data;
  if (Array.isArray(data)) return data.map((item) => made(item, given));
  const { $make, ...others } = data;
  if ($make !== undefined && Object.keys(others).length === 0) return make($make as unknown as Recipe, given);
  return Object.fromEntries(Object.entries(data).map(([name, member]) => [name, made(member, given)]));
}

function make(recipe: Recipe, given: Given): Json {
  if ("repeat" in recipe) return recipe.repeat.repeat(recipe.times);
  if ("codePoints" in recipe) return codePoints(...recipe.codePoints);
  if ("text" in recipe) {
    return recipe.text.map((part) => (typeof part === "string" ? part : part[0].repeat(part[1]))).join("");
  }
  if ("list" in recipe) return Array.from({ length: recipe.list }, () => made(recipe.of, given));
  if ("object" in recipe) {
    const name = recipe.name === undefined ? "k" : made(recipe.name, given);
    return Object.fromEntries(Array.from({ length: recipe.object }, (_, n) => [`${name}${n}`, n]));
  }
  if ("nest" in recipe) {
    let value = made(recipe.of, given);
    for (let level = 1; level < recipe.nest; level++) {
      const list = recipe.in === "list" || (recipe.in === "both" && level % 2 === 0);
      value = list ? [value] : { a: value };
    }
    return value;
  }
  if ("json" in recipe) return rawJSON(recipe.json);
  const known = given[recipe.given];
  if (known === undefined) throw new Error(`Nothing is given for ${JSON.stringify(recipe)}.`);
  return known;
}

/** Every so many-th code point of a range, less the surrogates, which no text has. */
function codePoints(from: number, to: number, step: number): string {
  const points: string[] = [];
  for (let point = from; point <= to; point += step) {
    if (point < 0xd800 || point > 0xdfff) points.push(String.fromCodePoint(point));
  }
  return points.join("");
}

/** Whether two values are the same: to the bit of a number, but that -0 reads as 0. Members have no order. */
export function identical(a: unknown, b: unknown): boolean {
  if (typeof a === "number" && typeof b === "number") return Object.is(a + 0, b + 0);
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a === b;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && identical(Reflect.get(a, name), Reflect.get(b, name)))
  );
}
