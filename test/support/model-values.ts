/** What the changes of a commit make of a value. */
import type { Change, JsonValue } from "../../src/store.ts";
import { Failure } from "./model-types.ts";

/** The value after a change. */
export function valueAfter(
  change: Exclude<Change, { kind: "delete" }>,
  before: JsonValue | undefined,
): JsonValue {
  switch (change.kind) {
    case "set":
      return change.value;
    case "increment": {
      const number = before === undefined ? 0 : before;
      if (typeof number !== "number") throw new Failure("VALUE_TYPE_MISMATCH");
      const after = number + change.delta;
      if (Math.abs(after) > Number.MAX_SAFE_INTEGER) throw new Failure("NUMBER_OUT_OF_RANGE");
      return after;
    }
    case "append": {
      const list = before === undefined ? [] : before;
      if (!Array.isArray(list)) throw new Failure("VALUE_TYPE_MISMATCH");
      const all: JsonValue[] = [...list, ...change.values];
      return change.maxItems ? all.slice(-change.maxItems) : all;
    }
    case "merge": {
      const object = before === undefined ? {} : before;
      if (!isObject(object)) throw new Failure("VALUE_TYPE_MISMATCH");
      return merged(object, change.value);
    }
  }
}

/** RFC 7396, as its pseudocode has it. */
function merged(target: JsonValue, patch: JsonValue): JsonValue {
  if (!isObject(patch)) return patch;
  const result: Record<string, JsonValue> = isObject(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = merged(result[name] ?? null, value);
  }
  return result;
}

function isObject(value: JsonValue): value is { readonly [key: string]: JsonValue } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
