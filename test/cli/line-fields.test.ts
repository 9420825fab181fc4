import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Line, linesOf } from "../../src/cli/line-fields.ts";
import { WorkflowStateError } from "../../src/errors.ts";
import { errorOf } from "../support/failures.ts";
import { gathered } from "../support/gathered.ts";
import { jsonValues, MISREAD_KEYS, stored } from "../support/values.ts";

/** Bytes in chunks of a size. */
async function* chunksOf(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

function read(text: string | Uint8Array, size = 7, longest = 1 << 20): Promise<Line[]> {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  return gathered(linesOf(chunksOf(bytes, size), longest));
}

describe("the lines of a file", () => {
  test("come out as they went in, whatever is in them and wherever the chunks end", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(jsonValues, { maxLength: 5 }),
        fc.integer({ min: 1, max: 40 }),
        async (values, size) => {
          const lines = await read(values.map((value) => `${JSON.stringify(value)}\n`).join(""), size);
          expect(lines.map(({ json }) => json)).toEqual(values.map(stored));
          expect(lines.map(({ number }) => number)).toEqual(values.map((_, i) => i + 1));
          // Members in their order too.
          expect(lines.map(({ json }) => JSON.stringify(json))).toEqual(
            values.map((value) => JSON.stringify(stored(value))),
          );
        },
      ),
    );
  });

  test("have their keys as they are, also those that JSON.parse misreads", async () => {
    const objects = MISREAD_KEYS.flatMap((a) => MISREAD_KEYS.map((b) => ({ a: 1, [a]: 2, [b]: 3, z: 4 })));
    const lines = await read(objects.map((object) => `${JSON.stringify(object)}\n`).join(""), 1000);
    expect(lines.map(({ json }) => Object.entries(json as object))).toEqual(
      objects.map((object) => Object.entries(object)),
    );
  });

  test("end at a newline only: not at U+2028, and a carriage return is space", async () => {
    expect((await read('"a\u2028b"\r\n"c\u2029d"\r\n')).map(({ json }) => json)).toEqual([
      "a\u2028b",
      "c\u2029d",
    ]);
  });

  test("that are empty are left out and counted, and the last needs no newline", async () => {
    expect(await read("1\n\n  \n2")).toEqual([
      { number: 1, json: 1, bytes: 1 },
      { number: 4, json: 2, bytes: 1 },
    ]);
    expect(await read("")).toEqual([]);
  });

  test.each<[string, string | Uint8Array, RegExp]>([
    ["is no JSON", '1\n{"secret', /^Line 2: it is not JSON\.$/],
    ["is nested without end", `1\n${"[".repeat(200_000)}`, /^Line 2: it is not JSON\.$/],
    ["is no UTF-8", Uint8Array.of(0x31, 0x0a, 0x22, 0xff, 0x22, 0x0a), /^Line 2: it is not UTF-8\.$/],
  ])("a line that %s is refused by its number, and not repeated", async (_, text, message) => {
    const error = await errorOf(read(text));
    expect([error.reason, error.metadata["line"]]).toEqual(["INVALID_REQUEST", "2"]);
    expect(error.message).toMatch(message);
    expect(`${error.message}${String(error.cause)}`).not.toContain("secret");
  });

  test("a line that is too long is refused before it is read", async () => {
    let taken = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) {
        taken++;
        yield new Uint8Array(1000).fill(0x20);
      }
    }
    const error: unknown = await gathered(linesOf(endless(), 5000)).catch((thrown: unknown) => thrown);
    expect(WorkflowStateError.is(error) && error.message).toMatch(/longer than 5000 bytes/);
    expect(taken).toBeLessThan(8);
  });
});
