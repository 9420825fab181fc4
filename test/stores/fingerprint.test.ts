import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { JsonValue } from "../../src/store.ts";
import { fingerprint, type WriteOperation } from "../../src/stores/fingerprint.ts";
import { encodeValue } from "../../src/value.ts";
import {
  bytes,
  field,
  jsonValues,
  listBytes,
  member,
  nullBytes,
  numberBytes,
  objectBytes,
  stored,
  textBytes,
  texts,
  trueBytes,
} from "../support/values.ts";

const set = (value: Uint8Array): WriteOperation => ({ kind: "setState", sessionId: "s", key: "k", value });
const ofValue = (value: Uint8Array): string => fingerprint(set(value));
const ofJson = (value: JsonValue): string => ofValue(encodeValue(value));

/** The same value with the members of all its objects in another order. */
function shuffled(value: JsonValue, by: number): JsonValue {
  if (Array.isArray(value)) return value.map((item: JsonValue) => shuffled(item, by));
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value).map(([key, item]) => [key, shuffled(item, by)] as const);
  const turn = members.length === 0 ? 0 : by % members.length;
  const turned = [...members.slice(turn), ...members.slice(0, turn)];
  return Object.fromEntries(by % 2 === 0 ? turned : turned.reverse());
}

/** One text for each meaning. */
function meaning(value: JsonValue): string {
  return JSON.stringify(value, (_, item: JsonValue) =>
    typeof item === "object" && item !== null && !Array.isArray(item)
      ? // Not an object, which would lose `__proto__` and put numbers first.
        { members: Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)) }
      : item,
  );
}

describe("a value", () => {
  test("has one fingerprint, whatever the order of its members", () => {
    fc.assert(
      fc.property(jsonValues, fc.nat(20), (value, by) => ofJson(value) === ofJson(shuffled(value, by))),
      { numRuns: 500 },
    );
  });

  test("has another one than any other value", () => {
    const seen = new Map<string, string>();
    fc.assert(
      fc.property(jsonValues, (value) => {
        const meant = meaning(stored(value));
        const print = ofJson(value);
        expect(seen.get(print) ?? meant).toBe(meant);
        seen.set(print, meant);
      }),
      { numRuns: 2_000 },
    );
    expect(seen.size).toBeGreaterThan(500);
  });

  test("that is small differs from every other small one", () => {
    const scalars: JsonValue[] = [null, true, false, 0, 1, -1, 2, "", "a", "b", "ab", "\u0000", "null", "0"];
    const once = [...scalars, [], {}, ...scalars.flatMap((a) => [[a], { a }, { b: a }, { "": a }])];
    const twice = once.flatMap((a) => [...once.map((b) => [a, b]), ...once.map((b) => ({ a, b }))]);
    const nested = twice.flatMap((a) => [[a], { a }, { b: [a] }]);
    const all = [...once, ...twice, ...nested];
    const meanings = new Set(all.map(meaning));
    expect(new Set(all.map(ofJson)).size).toBe(meanings.size);
  });

  test("with one bit changed has another one, each bit of which changes about every other time", () => {
    const base = encodeValue("x".repeat(40));
    const bits = (text: string): number[] =>
      [...text].flatMap((digit) => {
        const n = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".indexOf(digit);
        return [32, 16, 8, 4, 2, 1].map((bit) => (n & bit ? 1 : 0));
      });
    const before = bits(ofValue(base));
    const changes = before.map(() => 0);
    const count = 40 * 7;
    for (let i = 0; i < count; i++) {
      const flipped = base.slice();
      const at = 2 + Math.floor(i / 7);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (i % 7));
      bits(ofValue(flipped)).forEach((bit, j) => {
        if (bit !== before[j]) changes[j] = (changes[j] ?? 0) + 1;
      });
    }
    // The first four bits of each lane's 36 are always 0.
    const used = changes.filter((_, j) => j % 36 >= 4);
    expect(used).toHaveLength(128);
    for (const changed of used) expect(Math.abs(changed / count - 0.5)).toBeLessThan(0.2);
  });

  test("has one fingerprint in each of its encodings", () => {
    const value = field(0x12, trueBytes);
    const keyFirst = objectBytes(member("a", trueBytes), member("", nullBytes));
    expect(ofValue(objectBytes(bytes(value, field(0x0a, "a")), field(0x12, nullBytes)))).toBe(
      ofValue(keyFirst),
    );
    expect(ofValue(listBytes(numberBytes(-0)))).toBe(ofValue(listBytes(numberBytes(0))));
    expect(ofValue(numberBytes(-0))).not.toBe(ofValue(numberBytes(-1)));
    expect(ofValue(numberBytes(0))).not.toBe(ofValue(numberBytes(Number.MIN_VALUE)));
  });

  test("counts the last of the members with one name, among few and among many", () => {
    for (const count of [0, 3, 12, 13, 50]) {
      const others = Array.from({ length: count }, (_, i) => member(`k${i}`, numberBytes(i)));
      const last = objectBytes(...others, member("a", trueBytes));
      const repeated = objectBytes(member("a", nullBytes), ...others, member("a", trueBytes));
      const other = objectBytes(member("a", trueBytes), ...others, member("a", nullBytes));
      expect(ofValue(repeated)).toBe(ofValue(last));
      expect(ofValue(other)).not.toBe(ofValue(last));
      expect(ofValue(listBytes(repeated, other))).toBe(
        ofValue(listBytes(last, objectBytes(...others, member("a", nullBytes)))),
      );
    }
  });

  test("with members within members within members", () => {
    // More members open at once than there is room for at first.
    const wide = (depth: number): JsonValue =>
      Object.fromEntries(
        Array.from({ length: 300 }, (_, i) => [`k${i}`, i === 299 && depth > 0 ? wide(depth - 1) : i]),
      );
    expect(ofJson(wide(3))).toBe(ofJson(shuffled(wide(3), 7)));
    expect(ofJson(wide(3))).not.toBe(ofJson(wide(2)));
  });

  test("that is none is told from others too, and harms nothing", () => {
    const cut = encodeValue({ a: [1, { b: "x" }], c: { d: true } });
    const wrong: Uint8Array[] = [
      bytes(),
      ...Array.from({ length: cut.length }, (_, end) => cut.subarray(0, end)),
      listBytes(bytes(0x32, 5)),
      field(0x32, 0x12, 0),
      field(0x2a, 0x12, 0),
      objectBytes(bytes(0x0a, 9)),
      objectBytes(field(0x0a, "a")),
      objectBytes(bytes(0x1a, 0)),
      objectBytes(member("a", bytes(0x2a, 5))),
      textBytes(0xff),
    ];
    expect(new Set(wrong.map((value) => ofValue(value))).size).toBe(
      new Set(wrong.map((value) => value.join())).size,
    );
    let deep = nullBytes;
    for (let i = 0; i < 500; i++) deep = listBytes(deep);
    expect(ofValue(deep)).not.toBe(ofValue(listBytes(deep)));
    fc.assert(fc.property(fc.uint8Array(), (random) => ofValue(random).length === 24));
    expect(ofJson({ a: 1 })).toBe(ofJson({ a: 1 }));
  });
});

const value = encodeValue({ a: 1 });
const other = encodeValue({ a: 2 });
const session = { sessionId: "s", state: new Map([["k", value]]) };

/** Writes all of which mean something else. */
const different: WriteOperation[] = [
  ...[
    { sessionId: "s", key: "k", value },
    { sessionId: "t", key: "k", value },
    { sessionId: "s", key: "l", value },
    { sessionId: "sk", key: "", value },
    { sessionId: "s", key: "k", value: other },
    { sessionId: "s", key: "k", value, ifRevision: 0 },
    { sessionId: "s", key: "k", value, ifRevision: 1 },
    { sessionId: "s", key: "k", value, ifRevision: 2 ** 40 },
    { sessionId: "s", key: "k", value, ttlMs: 1 },
  ].map((request) => ({ kind: "setState" as const, ...request })),
  ...[
    { sessionId: "s", key: "k" },
    { sessionId: "t", key: "k" },
    { sessionId: "s", key: "l" },
    { sessionId: "s", key: "k", ifRevision: 0 },
    { sessionId: "s", key: "k", ifRevision: 1 },
  ].map((request) => ({ kind: "deleteState" as const, ...request })),
  ...[
    { sessionId: "s" },
    { sessionId: "t" },
    { sessionId: "s", ifRevision: 0 },
    { sessionId: "s", ifRevision: 1 },
  ].map((request) => ({ kind: "deleteSession" as const, ...request })),
  ...[
    { sessionId: "s", newSessionId: "t" },
    { sessionId: "t", newSessionId: "s" },
    { sessionId: "s", newSessionId: "u" },
    { sessionId: "s", newSessionId: "t", atRevision: 0 },
    { sessionId: "s", newSessionId: "t", atRevision: 1 },
    { sessionId: "s", newSessionId: "t", values: new Map([["k", value]]) },
    { sessionId: "s", newSessionId: "t", values: new Map([["k", other]]) },
    { sessionId: "s", newSessionId: "t", values: new Map([["l", value]]) },
  ].map((request) => ({ kind: "forkSession" as const, ...request })),
  ...[
    { sessionId: "s", atRevision: 1 },
    { sessionId: "t", atRevision: 1 },
    { sessionId: "s", atRevision: 2 },
    { sessionId: "s", atRevision: 1, ifRevision: 0 },
    { sessionId: "s", atRevision: 1, ifRevision: 2 },
    { sessionId: "s", atRevision: 1, values: new Map([["k", value]]) },
    { sessionId: "s", atRevision: 1, values: new Map([["k", other]]) },
  ].map((request) => ({ kind: "restoreSession" as const, ...request })),
  ...[
    { session },
    { session: { ...session, sessionId: "t" } },
    { session: { ...session, state: new Map() } },
    { session: { ...session, state: new Map([["k", other]]) } },
    { session: { ...session, state: new Map([["l", value]]) } },
    {
      session: {
        ...session,
        state: new Map([
          ["k", value],
          ["l", other],
        ]),
      },
    },
    {
      session: {
        ...session,
        state: new Map([
          ["k", other],
          ["l", value],
        ]),
      },
    },
    { session: { ...session, workflowId: "x" } },
    { session: { ...session, userId: "x" } },
    { session: { ...session, labels: { a: "x" } } },
    { session: { ...session, labels: { a: "y" } } },
    { session: { ...session, labels: { x: "a" } } },
    { session: { ...session, labels: { a: "x", b: "y" } } },
    { session: { ...session, labels: { a: "y", b: "x" } } },
    { session, ifRevision: 0 },
    { session, ifRevision: 1 },
    { session, ttlMs: 0 },
    { session, ttlMs: 1 },
    { session, idleTtlMs: 0 },
    { session, idleTtlMs: 1 },
  ].map((request) => ({ kind: "saveSession" as const, ...request })),
  ...[
    { sessionId: "s" },
    { sessionId: "t" },
    { sessionId: "s", ifRevision: 0 },
    { sessionId: "s", ifRevision: 1 },
    { sessionId: "s", checks: [{ key: "k", ifRevision: 0 }] },
    { sessionId: "s", checks: [{ key: "l", ifRevision: 0 }] },
    { sessionId: "s", checks: [{ key: "k", ifRevision: 1 }] },
    {
      sessionId: "s",
      checks: [
        { key: "k", ifRevision: 0 },
        { key: "l", ifRevision: 0 },
      ],
    },
    ...[
      [{ kind: "set", key: "k", value }],
      [{ kind: "set", key: "l", value }],
      [{ kind: "set", key: "k", value: other }],
      [{ kind: "set", key: "k", value, ttlMs: 1 }],
      [{ kind: "set", key: "k", value, keepExpiry: true }],
      [{ kind: "delete", key: "k" }],
      [{ kind: "delete", key: "l" }],
      [
        { kind: "delete", key: "k" },
        { kind: "delete", key: "l" },
      ],
      [
        { kind: "delete", key: "l" },
        { kind: "delete", key: "k" },
      ],
      [{ kind: "increment", key: "k", delta: 1 }],
      [{ kind: "increment", key: "k", delta: -1 }],
      [{ kind: "increment", key: "k", delta: 1.5 }],
      [{ kind: "append", key: "k", values: [] }],
      [{ kind: "append", key: "k", values: [value] }],
      [{ kind: "append", key: "k", values: [value, value] }],
      [{ kind: "append", key: "k", values: [value, other] }],
      [{ kind: "append", key: "k", values: [other, value] }],
      [{ kind: "append", key: "k", values: [encodeValue([{ a: 1 }])] }],
      [{ kind: "append", key: "k", values: [value], maxItems: 1 }],
      [{ kind: "merge", key: "k", value }],
      [{ kind: "merge", key: "k", value: other }],
    ].map((changes) => ({ sessionId: "s", changes })),
    ...[
      { workflowId: "" },
      { workflowId: "x" },
      { userId: "" },
      { userId: "x" },
      { labels: {} },
      { labels: { a: "x" } },
      { labels: { a: "" } },
      { ttlMs: 0 },
      { ttlMs: 1 },
      { idleTtlMs: 0 },
      { idleTtlMs: 1 },
    ].map((metadata) => ({ sessionId: "s", metadata })),
  ].map((request) => ({ kind: "commit" as const, ...request }) as WriteOperation),
];

describe("a write", () => {
  test("has another fingerprint than one with any field changed", () => {
    const prints = different.map((write) => fingerprint(write));
    expect(prints.filter((print, i) => prints.indexOf(print) !== i)).toEqual([]);
    for (const print of prints) expect(print).toMatch(/^[\w-]{24}$/);
  });

  test("that brings its own fingerprint is told by that, its kind and its session, and by nothing else", () => {
    const given = (write: WriteOperation, requestFingerprint: string): string =>
      fingerprint({ ...write, requestId: "r", requestFingerprint });
    const prints = new Map<string, string>();
    for (const write of different) {
      const session =
        write.kind === "saveSession"
          ? write.session.sessionId
          : write.kind === "forkSession"
            ? write.newSessionId
            : write.sessionId;
      for (const own of ["f", "g"]) {
        const told = JSON.stringify([write.kind, session, own]);
        const print = given(write, own);
        expect(print).toBe(prints.get(told) ?? print);
        prints.set(told, print);
      }
      expect(given(write, "")).toBe(fingerprint(write));
    }
    const all = [...prints.values(), ...different.map((write) => fingerprint(write))];
    expect(new Set(all).size).toBe(all.length);
  });

  test("has the same one under every request_id, and every time", () => {
    for (const write of different) {
      expect(fingerprint({ ...write, requestId: "r" })).toBe(fingerprint(write));
      expect(fingerprint({ requestId: "other", ...write })).toBe(fingerprint(write));
    }
  });

  test.each<[string, WriteOperation, WriteOperation]>([
    ["ttl of a set", set(value), { ...set(value), ttlMs: 0 } as WriteOperation],
    [
      "ttl and max_items of changes",
      {
        kind: "commit",
        sessionId: "s",
        changes: [
          { kind: "set", key: "k", value },
          { kind: "append", key: "k", values: [value] },
        ],
      },
      {
        kind: "commit",
        sessionId: "s",
        changes: [
          { kind: "set", key: "k", value, ttlMs: 0 },
          { kind: "append", key: "k", values: [value], maxItems: 0 },
        ],
      },
    ],
    [
      "lists and metadata of a commit",
      { kind: "commit", sessionId: "s" },
      { kind: "commit", sessionId: "s", checks: [], changes: [], metadata: {} },
    ],
    [
      "metadata of a saved session",
      { kind: "saveSession", session },
      { kind: "saveSession", session: { ...session, workflowId: "", userId: "", labels: {} } },
    ],
  ])("absent and default are the same where they mean the same: %s", (_, absent, byDefault) => {
    expect(fingerprint(absent)).toBe(fingerprint(byDefault));
  });

  test("has one fingerprint, whatever the order of its maps", () => {
    const state = fc.array(
      fc.tuple(
        texts,
        jsonValues.map((json) => encodeValue(json)),
      ),
      { maxLength: 6 },
    );
    const labels = fc.array(fc.tuple(texts, texts), { maxLength: 6 });
    fc.assert(
      fc.property(state, labels, fc.nat(5), (entries, pairs, by) => {
        const save = (turn: number): string => {
          const turned = <T>(list: T[]): T[] => [...list.slice(turn), ...list.slice(0, turn)];
          return fingerprint({
            kind: "saveSession",
            session: {
              sessionId: "s",
              state: new Map(turned([...new Map(entries)])),
              labels: Object.fromEntries(turned([...new Map(pairs)])),
            },
          });
        };
        expect(save(by)).toBe(save(0));
      }),
    );
  });

  test("has one fingerprint in every language: text counts by its letters, not by how it is held", () => {
    const text = "key-é-🛒";
    const flat = JSON.parse(JSON.stringify(text)) as string;
    const rope = ["key-", "é-", "🛒"].reduce((all, part) => all + part, "");
    expect(fingerprint({ kind: "deleteSession", sessionId: rope })).toBe(
      fingerprint({ kind: "deleteSession", sessionId: flat }),
    );
  });

  test("keeps its fingerprint for ever: stores have it on disk", () => {
    const write: WriteOperation = {
      kind: "commit",
      sessionId: "session-1",
      ifRevision: 7,
      checks: [{ key: "lease", ifRevision: 0 }],
      changes: [
        {
          kind: "set",
          key: "cart",
          value: encodeValue({ items: [{ sku: "é", qty: 2.5 }], note: null }),
          ttlMs: 5,
        },
        { kind: "increment", key: "n", delta: -1 },
        { kind: "append", key: "log", values: [encodeValue("x"), encodeValue([])], maxItems: 3 },
        { kind: "merge", key: "m", value: encodeValue({ a: true }) },
        { kind: "delete", key: "old" },
      ],
      metadata: { workflowId: "w", labels: { a: "b", c: "d" }, ttlMs: 0 },
    };
    expect(fingerprint(write)).toBe("CjZpydAva6WZCOdbtZByXyEY");
    expect(fingerprint({ kind: "saveSession", session, idleTtlMs: 1000 })).toBe("As0rY4DMYFibB8ResqCpoq8g");
    const fork: WriteOperation = { kind: "forkSession", sessionId: "s", newSessionId: "t", atRevision: 3 };
    const restore: WriteOperation = { kind: "restoreSession", sessionId: "s", atRevision: 3, ifRevision: 4 };
    const golden = encodeValue("golden");
    const prints = {
      setState: fingerprint({ kind: "setState", sessionId: "s", key: "k", value: golden, ttlMs: 5 }),
      deleteState: fingerprint({ kind: "deleteState", sessionId: "s", key: "k", ifRevision: 1 }),
      deleteSession: fingerprint({ kind: "deleteSession", sessionId: "s" }),
      forkSession: fingerprint(fork),
      forkWithValues: fingerprint({ ...fork, values: new Map([["k", golden]]) }),
      restoreSession: fingerprint(restore),
      restoreWithValues: fingerprint({ ...restore, values: new Map([["k", golden]]) }),
      keepingSet: fingerprint({
        kind: "commit",
        sessionId: "s",
        changes: [{ kind: "set", key: "k", value: golden, keepExpiry: true }],
      }),
      given: fingerprint({ ...write, requestId: "r", requestFingerprint: "f" }),
      givenFork: fingerprint({ ...fork, requestId: "r", requestFingerprint: "f" }),
    };
    expect(prints).toEqual({
      setState: "AAkGEPBtzNDfDST5zFDlJwM-",
      deleteState: "BZ-PqsBPMCfNCgqXl6C44No1",
      deleteSession: "CuIvPxBowbxkAWRprkDzPvGu",
      forkSession: "CnngvKBD5b7UC13JujAy-AW_",
      forkWithValues: "AJSs3HB7oI-aBy4MBbCe-mmQ",
      restoreSession: "A8UpeBA9YxCAC-r2TRCR-m3z",
      restoreWithValues: "B2h74ZAFj4-KA6w03ABHl4TZ",
      keepingSet: "Brb2x9AdrfIzAm4LS-CLCiG3",
      given: "BMx-_VCrz9HoAMrPNFBJo4ah",
      givenFork: "AjNXVpAF4BMOA44RHND0omed",
    });
  });
});
