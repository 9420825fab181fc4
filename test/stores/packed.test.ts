import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  packCommit,
  packSession,
  unpackCommit,
  unpackSession,
  valuesOfWhole,
} from "../../src/stores/packed.ts";

const bytes = fc.uint8Array({ maxLength: 20 });
const text = fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("__proto__", "\0", ""));
const time = fc.option(fc.maxSafeNat(), { nil: undefined });

const commit = fc.record({
  entries: fc.array(
    fc.record({
      key: text,
      value: fc.option(bytes, { nil: undefined }),
      ttlMs: time,
      expireTime: time,
    }),
  ),
  whole: fc.boolean(),
});

const session = fc.record({
  sessionId: text,
  state: fc.array(fc.tuple(text, bytes)).map((entries) => new Map(entries)),
  createTime: time,
  workflowId: fc.option(text, { nil: undefined }),
  userId: fc.option(text, { nil: undefined }),
  labels: fc.dictionary(text, text),
  expireTime: time,
  forkedFrom: fc.option(fc.record({ sessionId: text, revision: fc.maxSafeNat() }), { nil: undefined }),
});

describe("what is kept of an answer", () => {
  test("is the commit's answer again, from a view of other bytes too", () => {
    fc.assert(
      fc.property(commit, (kept) => {
        const packed = packCommit(kept);
        const within = new Uint8Array(packed.length + 7);
        within.set(packed, 3);
        expect(unpackCommit(within.subarray(3, 3 + packed.length))).toEqual(kept);
      }),
    );
  });

  test("is the session again", () => {
    fc.assert(
      fc.property(session, fc.boolean(), (kept, whole) => {
        expect(unpackSession(packSession(kept, whole))).toEqual(kept);
      }),
    );
  });

  test("tells that no value is missing of a session that has none only if it was packed so", () => {
    const empty = { sessionId: "s", state: new Map(), labels: {} };
    expect(valuesOfWhole(packSession(empty as never))).toBeUndefined();
    expect(valuesOfWhole(packSession(empty as never, true))).toEqual([]);
  });

  test("does not hold on to the bytes that it is read from", () => {
    const packed = packCommit({
      entries: [{ key: "k", value: Uint8Array.of(1), ttlMs: undefined, expireTime: undefined }],
      whole: true,
    });
    const { entries } = unpackCommit(packed);
    packed.fill(0);
    expect(entries[0]?.value).toEqual(Uint8Array.of(1));
  });

  test("stays readable: these are the bytes of version 1", () => {
    const value = Uint8Array.of(0x20, 1);
    const packed = packCommit({
      entries: [{ key: "k", value, ttlMs: 5, expireTime: undefined }],
      whole: false,
    });
    const head = '{"lengths":[2],"entries":[{"key":"k","ttlMs":5}],"whole":false}';
    expect(Buffer.from(packed)).toEqual(
      Buffer.from(`\x01\0\0\0${String.fromCharCode(head.length)}${head}\x20\x01`),
    );
  });

  test("of a newer version is refused", () => {
    const packed = packCommit({ entries: [], whole: true });
    packed[0] = 2;
    expect(() => unpackCommit(packed)).toThrow("newer version");
  });
});
