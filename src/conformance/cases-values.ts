/** Cases: every accepted value reads back the same, and the rest is refused by its path. */
import type { JsonValue, WorkflowStateStore } from "../store.ts";
import {
  type ConformanceCase,
  expectDefined,
  expectEqual,
  expectReason,
  expectTrue,
  newId,
  storeCase,
} from "./harness.ts";
import { allEntries, allEvents, textOfBytes, watching } from "./reading.ts";

/** A text as JSON says it: what a literal would take for a prototype stays a member. */
function json(text: string): JsonValue {
  return JSON.parse(text);
}

/** Values of every kind and at every edge that JSON has. */
const VALUES: readonly JsonValue[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  0.1,
  1 / 3,
  Number.MAX_SAFE_INTEGER,
  -Number.MAX_SAFE_INTEGER,
  2 ** 53 + 2,
  1e21,
  1e-7,
  Number.MAX_VALUE,
  -Number.MAX_VALUE,
  Number.MIN_VALUE,
  2.2250738585072014e-308,
  "",
  " ",
  "\u0000",
  "a\u0000b",
  "\u0001\u001f\u007f\u0080\u009f",
  "\ufeff",
  "\u2028\u2029",
  "\ufffd\ufffe\uffff",
  "é",
  "e\u0301",
  "中文",
  "😀",
  "👩‍👩‍👧‍👦",
  "\u{10ffff}",
  '"\\/\b\f\n\r\t',
  "null",
  "NaN",
  "Infinity",
  "123",
  "__proto__",
  [],
  {},
  [[]],
  [{}],
  { "": "" },
  { "": { "": [] } },
  [null, null],
  [1, "1", true, null, [], {}],
  json('{"__proto__":1}'),
  json('{"__proto__":{"__proto__":null},"constructor":{"prototype":[]},"toString":1,"hasOwnProperty":2}'),
  json('{"length":1,"then":2,"toJSON":3,"$type":4,"@type":"type.googleapis.com/x","value":5}'),
  json('{"10":"ten","9":"nine","a":"a","-1":"minus","1.5":"x","00":"y"}'),
  { "😀": { "\u0000": "é" }, "\uffff": ["\u{1f600}"] },
  { nullValue: null, numberValue: 1, stringValue: "x", structValue: { fields: {} }, listValue: [] },
];

/** A value of so many levels, of lists and objects in turn. */
function ofDepth(levels: number): JsonValue {
  let value: JsonValue = "deep";
  for (let i = 1; i < levels; i += 1) {
    value = i % 2 === 0 ? [value] : { d: value };
  }
  return value;
}

/** Every way to read what was written under a key. */
async function readEveryWay(store: WorkflowStateStore, sessionId: string, key: string): Promise<JsonValue[]> {
  const read: (JsonValue | undefined)[] = [
    await store.getState(sessionId, key),
    (await store.getEntry(sessionId, key))?.value,
    (await store.getSession(sessionId))?.state[key],
    (await allEntries(store, sessionId)).find((entry) => entry.key === key)?.value,
    (await store.listSessions({ view: "FULL", sessionIdPrefix: sessionId })).sessions[0]?.state[key],
    (await allEvents(store, sessionId)).at(-1)?.entries.find((entry) => entry.key === key)?.value,
  ];
  const [got] = await store.batch([{ kind: "getState", sessionId, key }]);
  read.push(got?.kind === "getState" ? got.entry?.value : undefined);
  await watching(store, sessionId, {}, async (watch) => {
    read.push((await watch.snapshot()).state[key]);
  });
  return read.map((value) => expectDefined(value, `${key} where it is read`));
}

/** What every store must do with values. */
export const valueCases: readonly ConformanceCase[] = [
  storeCase("every value reads back the same", async (store, { limits }) => {
    const sessionId = newId();
    for (let i = 0; i < VALUES.length; i += limits.changes) {
      const some = VALUES.slice(i, i + limits.changes);
      const { entries } = await store.commit(sessionId, {
        changes: some.map((value, j) => ({ kind: "set", key: `v${i + j}`, value })),
      });
      expectEqual(
        entries.map(({ value }) => value),
        some,
        "the commit's answer",
      );
    }
    const expected = Object.fromEntries(VALUES.map((value, i) => [`v${i}`, value]));
    const session = expectDefined(await store.getSession(sessionId), "the session");
    expectEqual(session.state, expected, "the state");
    for (const [i, value] of VALUES.entries()) {
      expectEqual(await store.getState(sessionId, `v${i}`), value, `value ${i}`);
    }
    const saved = await store.saveSession({ sessionId: newId(), state: expected });
    expectEqual(saved.state, expected, "the state saved at once");
    expectEqual((await store.forkSession(sessionId, newId())).state, expected, "the state of a fork");
  }),

  storeCase("a value reads back the same from every read", async (store) => {
    const sessionId = newId();
    const values: Record<string, JsonValue> = {
      deep: json('{"a":[null,{"__proto__":{"x":[]}},"😀\\u0000"],"":-1.5e-300}'),
      none: null,
      text: "\ud83d\ude00",
      empty: {},
    };
    for (const [key, value] of Object.entries(values)) {
      const entry = await store.setState(sessionId, key, value);
      expectEqual(entry.value, value, `${key} as answered`);
      for (const [i, read] of (await readEveryWay(store, sessionId, key)).entries()) {
        expectEqual(read, value, `${key} by read ${i}`);
      }
    }
  }),

  storeCase("any well-formed key and id can be used", async (store) => {
    const odd = [
      "__proto__",
      "constructor",
      "toString",
      " ",
      "\u0000",
      "a/b?c#d",
      "{x}",
      "😀",
      "\uffff",
      "é",
      "e\u0301",
      "%00",
    ];
    const prefix = newId();
    const state = Object.defineProperties(
      {},
      Object.fromEntries(
        odd.map((key) => [key, { value: key, enumerable: true, configurable: true, writable: true }]),
      ),
    ) as Record<string, JsonValue>;
    for (const name of odd) {
      const sessionId = `${prefix}${name}`;
      const saved = await store.saveSession({ sessionId, state });
      expectEqual(saved.sessionId, sessionId, "the id");
      expectEqual(saved.state, state, "the state");
      expectEqual(await store.getSession(sessionId), saved, "the session read back");
      expectEqual(await store.getState(sessionId, name), name, "the value");
      await store.deleteState(sessionId, name);
      expectEqual(await store.getState(sessionId, name), undefined, "a deleted key");
      const entry = await store.setState(sessionId, name, 1);
      expectEqual([entry.key, entry.value], [name, 1], "the entry");
      const { entries } = await store.listState(sessionId, { keyPrefix: name });
      expectTrue(
        entries.some(({ key }) => key === name),
        "the key is listed",
      );
    }
    expectEqual(
      (await store.listSessions({ sessionIdPrefix: prefix })).sessions.length,
      odd.length,
      "the sessions",
    );
    await store.setState("__proto__", "a", 1);
    expectEqual((await store.getSession("__proto__"))?.state, { a: 1 }, "a session named __proto__");
    await store.deleteSession("__proto__");
  }),

  storeCase("minus zero becomes zero", async (store) => {
    const sessionId = newId();
    const entry = await store.setState(sessionId, "a", -0);
    expectEqual(entry.value, 0, "as answered");
    expectEqual(await store.getState(sessionId, "a"), 0, "read back");
    await store.setState(sessionId, "b", [{ c: -0 }]);
    expectEqual(await store.getState(sessionId, "b"), [{ c: 0 }], "within a value");
    const { entries } = await store.commit(sessionId, {
      changes: [{ kind: "append", key: "l", values: [-0] }],
    });
    expectEqual(entries[0]?.value, [0], "appended");
  }),

  storeCase("a value just at each limit is kept, and one over it is refused", async (store, { limits }) => {
    const sessionId = newId();
    const { valueDepth, valueNodes, valueBytes } = limits;
    const deepest = ofDepth(valueDepth);
    await store.setState(sessionId, "deep", deepest);
    for (const read of await readEveryWay(store, sessionId, "deep")) {
      expectEqual(read, deepest, "the deepest");
    }
    const deeper = await expectReason(
      store.setState(sessionId, "deep", ofDepth(valueDepth + 1)),
      "INVALID_VALUE",
    );
    expectTrue((deeper.metadata["path"] ?? "").startsWith("$"), "the path of what is too deep");
    const nodes = (count: number): JsonValue => Array.from({ length: count - 1 }, () => null);
    await store.setState(sessionId, "many", nodes(valueNodes));
    expectEqual(await store.getState(sessionId, "many"), nodes(valueNodes), "the most nodes");
    await expectReason(store.setState(sessionId, "many", nodes(valueNodes + 1)), "INVALID_VALUE");
    // An object's members count like a list's, and names do not.
    const members = Object.fromEntries(Array.from({ length: valueNodes - 1 }, (_, i) => [`m${i}`, i]));
    await store.setState(sessionId, "members", members);
    await expectReason(store.setState(sessionId, "members", { ...members, more: 1 }), "INVALID_VALUE");
    expectEqual(await store.getState(sessionId, "members"), members, "the most members");
    const text = textOfBytes(valueBytes);
    await store.setState(sessionId, "long", text);
    expectTrue((await store.getState<string>(sessionId, "long")) === text, "the longest");
    const error = await expectReason(store.setState(sessionId, "long", `${text}x`), "VALUE_TOO_LARGE");
    expectEqual(error.code, "RESOURCE_EXHAUSTED", "its code");
    expectEqual(error.metadata["limit"], String(valueBytes), "the limit");
    expectEqual(error.metadata["actual"], String(valueBytes + 1), "the size");
  }),

  storeCase("what is not plain JSON is refused by its path", async (store) => {
    const sessionId = newId();
    const cycle: unknown[] = [];
    cycle.push(cycle);
    const sparse: unknown[] = [1];
    sparse[2] = 3;
    class Point {
      x = 1;
    }
    const wrong: [path: string | undefined, value: unknown][] = [
      ["$", undefined],
      ["$", 1n],
      ["$", Symbol("s")],
      ["$", () => 1],
      ["$", Number.NaN],
      ["$", Number.POSITIVE_INFINITY],
      ["$", new Date(0)],
      ["$", new Map([["a", 1]])],
      ["$", new Set([1])],
      ["$", new Point()],
      ["$", new Uint8Array(1)],
      ["$", /x/],
      ["$", "\ud800"],
      ["$", "a\udc00b"],
      ["$[0]", [undefined]],
      ["$[1]", sparse],
      ["$.a", { a: undefined }],
      ["$.a.b[1]", { a: { b: [1, Number.NEGATIVE_INFINITY] } }],
      ['$["odd key"].x', { "odd key": { x: 1n } }],
      [undefined, { "\ud800": 1 }],
      [undefined, cycle],
    ];
    for (const [path, value] of wrong) {
      const writes: ((value: JsonValue) => Promise<unknown>)[] = [
        (given) => store.setState(sessionId, "a", given),
        (given) => store.commit(sessionId, { changes: [{ kind: "set", key: "a", value: given }] }),
        (given) => store.commit(sessionId, { changes: [{ kind: "append", key: "a", values: [given] }] }),
        (given) => store.commit(sessionId, { changes: [{ kind: "merge", key: "a", value: given }] }),
        (given) => store.saveSession({ sessionId, state: { a: given } }),
      ];
      for (const write of writes) {
        const error = await expectReason(write(value as JsonValue), "INVALID_VALUE");
        const told = error.metadata["path"] ?? "";
        expectTrue(
          path === undefined ? told.startsWith("$") : told === path,
          `the path is ${path}, not ${told}`,
        );
      }
    }
    expectEqual(await store.getSession(sessionId), undefined, "nothing was written");
  }),

  storeCase("bytes that are no value are refused", async (store) => {
    const sessionId = newId();
    const wrong: [what: string, bytes: number[]][] = [
      ["no kind", []],
      ["null that is not 0", [0x08, 1]],
      ["NaN", [0x11, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f]],
      ["infinity", [0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x7f]],
      ["half a number", [0x11, 0, 0]],
      ["a text that is cut", [0x1a, 5, 0x61]],
      ["a surrogate in UTF-8", [0x1a, 3, 0xed, 0xa0, 0x80]],
      ["a text that is not UTF-8", [0x1a, 1, 0xff]],
      ["no such field", [0x38, 1]],
      ["no kind within a list", [0x32, 2, 0x0a, 0]],
      ["two kinds", [0x20, 1, 0x1a, 1, 0x61]],
      ["a length without end", [0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]],
    ];
    for (const [what, bytes] of wrong) {
      const value = Uint8Array.from(bytes);
      const { encoded } = store;
      const writes = [
        () => encoded.setState({ sessionId, key: "a", value }),
        () => encoded.commit({ sessionId, changes: [{ kind: "append", key: "a", values: [value] }] }),
        () => encoded.saveSession({ session: { sessionId, state: new Map([["a", value]]) } }),
      ];
      for (const write of writes) {
        const error = await expectReason(write(), "INVALID_VALUE");
        expectTrue((error.metadata["path"] ?? "").startsWith("$"), `the path of ${what}`);
      }
    }
    expectEqual(await store.getSession(sessionId), undefined, "nothing was written");
  }),

  storeCase("an error tells nothing of what is stored or was to be", async (store) => {
    const sessionId = newId();
    const secret = "hunter2";
    await store.saveSession({ sessionId, state: { s: secret, l: [secret], n: 1 }, userId: `user ${secret}` });
    const failing: (() => Promise<unknown>)[] = [
      () => store.setState(sessionId, "s", secret, { ifRevision: 0 }),
      () => store.setState(sessionId, "s", { a: [secret, Number.NaN] }),
      () => store.setState(sessionId, "s", `${secret}\ud800`),
      () => store.commit(sessionId, { changes: [{ kind: "increment", key: "s", delta: 1 }] }),
      () => store.commit(sessionId, { changes: [{ kind: "append", key: "s", values: [secret] }] }),
      () => store.commit(sessionId, { changes: [{ kind: "merge", key: "l", value: { x: secret } }] }),
      () => store.getSession(sessionId, { atRevision: 99 }),
      () => store.restoreSession(sessionId, 99),
      () => store.saveSession({ sessionId, state: { s: `${secret}2` } }, { ifRevision: 0 }),
      () => store.forkSession(sessionId, sessionId),
    ];
    for (const [i, call] of failing.entries()) {
      const error: unknown = await call().then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expectTrue(error instanceof Error, `call ${i} fails`);
      const told = `${error.message} ${JSON.stringify(error)}`;
      expectTrue(!told.includes(secret), `the error of call ${i} holds no value: ${told}`);
    }
  }),
];
