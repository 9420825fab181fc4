import { create } from "@bufbuild/protobuf";
import { ListValueSchema, NullValue, StructSchema, type Value, ValueSchema } from "@bufbuild/protobuf/wkt";
import { type Client, createClient } from "@connectrpc/connect";
import fc from "fast-check";
import { afterAll, beforeAll, describe, test } from "vitest";
import { WorkflowStateService } from "../gen/agenterra/state/v1/service_pb.ts";
import { type Entry as RawEntry, SessionView } from "../gen/agenterra/state/v1/state_pb.ts";
import { expectEqual, newId } from "../src/conformance/harness.ts";
import { DEFAULT_LIMITS, type JsonValue, type Operation, type WorkflowStateStore } from "../src/store.ts";
import { memoryStore } from "../src/stores/memory.ts";
import { jsonValues, stored } from "./support/values.ts";
import { nameOf, openRemote, serve, transportTo, WIRES, type Wire } from "./support/wires.ts";

/** What was read, and from where. */
type Reading = readonly [where: string, value: JsonValue | undefined];

/** A client of the service: how it writes a value, and every way it reads one. */
interface Reader {
  /** Writes a value, now one way and now another. */
  write(sessionId: string, value: JsonValue, turn: number): Promise<Reading[]>;
  read(sessionId: string): Promise<Reading[]>;
}

const KEY = "k";

/** Our own client. */
function ourReader(store: WorkflowStateStore): Reader {
  const value = (entry: { readonly value?: JsonValue | undefined } | undefined): JsonValue | undefined =>
    entry?.value;
  const ways = [
    async (sessionId: string, value: JsonValue): Promise<Reading[]> => [
      ["SetState", (await store.setState(sessionId, KEY, value)).value],
    ],
    async (sessionId: string, value: JsonValue): Promise<Reading[]> => {
      const { entries } = await store.commit(sessionId, { changes: [{ kind: "set", key: KEY, value }] });
      return [["Commit", entries[0]?.value]];
    },
    async (sessionId: string, value: JsonValue): Promise<Reading[]> => [
      ["SaveSession", (await store.saveSession({ sessionId, state: { [KEY]: value } })).state[KEY]],
    ],
    async (sessionId: string, value: JsonValue): Promise<Reading[]> => {
      const [result] = await store.batch([{ kind: "setState", sessionId, key: KEY, value }]);
      return [["Batch of a set", result?.kind === "setState" ? result.entry.value : undefined]];
    },
    async (sessionId: string, value: JsonValue): Promise<Reading[]> => {
      const operation: Operation = {
        kind: "commit",
        sessionId,
        changes: [
          { kind: "set", key: KEY, value: {} },
          { kind: "set", key: KEY, value },
        ],
      };
      const [result] = await piped(store, [operation]);
      return [["Pipeline of a commit", result?.kind === "commit" ? result.entries[0]?.value : undefined]];
    },
  ];
  return {
    write: (sessionId, written, turn) =>
      (ways[turn % ways.length] ?? ways[0])?.(sessionId, written) ?? Promise.reject(),
    async read(sessionId) {
      const { revision = 0 } = (await store.getEntry(sessionId, KEY)) ?? {};
      const readings: Reading[] = [
        ["GetState", await store.getState(sessionId, KEY)],
        ["GetState of the past", await store.getState(sessionId, KEY, { atRevision: revision })],
        ["GetSession", (await store.getSession(sessionId))?.state[KEY]],
        ["ListState", value((await store.listState(sessionId)).entries[0])],
        [
          "ListState of the past",
          value((await store.listState(sessionId, { atRevision: revision })).entries[0]),
        ],
      ];
      const { sessions } = await store.listSessions({ sessionIdPrefix: sessionId, view: "FULL" });
      readings.push(["ListSessions", sessions[0]?.state[KEY]]);
      const { events } = await store.listEvents(sessionId, { reverse: true });
      readings.push(["ListEvents", value(events.flatMap(({ entries }) => entries)[0])]);
      const [state, session] = await store.batch([
        { kind: "getState", sessionId, key: KEY },
        { kind: "getSession", sessionId },
      ]);
      readings.push(["Batch of a get", state?.kind === "getState" ? state.entry?.value : undefined]);
      readings.push([
        "Batch of a session",
        session?.kind === "getSession" ? session.session?.state[KEY] : undefined,
      ]);
      const [pipedSession] = await piped(store, [{ kind: "getSession", sessionId }]);
      const through = pipedSession?.kind === "getSession" ? pipedSession.session?.state[KEY] : undefined;
      readings.push(["Pipeline of a session", through]);
      for await (const message of store.watchSession(sessionId)) {
        readings.push([
          "WatchSession's snapshot",
          message.kind === "snapshot" ? message.snapshot.state[KEY] : undefined,
        ]);
        break;
      }
      for await (const message of store.watchSession(sessionId, { afterRevision: revision - 1 })) {
        if (message.kind === "progress") continue;
        readings.push([
          "WatchSession's event",
          message.kind === "event" ? value(message.event.entries[0]) : undefined,
        ]);
        break;
      }
      readings.push(["ForkSession", (await store.forkSession(sessionId, newId("fork"))).state[KEY]]);
      readings.push(["RestoreSession", (await store.restoreSession(sessionId, revision)).state[KEY]]);
      return readings;
    },
  };
}

async function piped(store: WorkflowStateStore, operations: Operation[]) {
  async function* batches(): AsyncGenerator<Operation[]> {
    yield operations;
  }
  for await (const results of store.pipeline(batches())) return results;
  throw new Error("the pipeline answered nothing");
}

/** A client as anyone would generate it from the public schema. */
function rawReader(client: Client<typeof WorkflowStateService>, duplex: boolean): Reader {
  const value = (entry: RawEntry | undefined): JsonValue | undefined =>
    entry?.value && fromValue(entry.value);
  const inState = (state: Record<string, Value> | undefined): JsonValue | undefined =>
    state?.[KEY] && fromValue(state[KEY]);
  const ways = [
    async (sessionId: string, written: Value): Promise<Reading[]> => [
      ["SetState", value((await client.setState({ sessionId, key: KEY, value: written })).entry)],
    ],
    async (sessionId: string, written: Value): Promise<Reading[]> => {
      const change = { case: "set" as const, value: { key: KEY, value: written } };
      return [["Commit", value((await client.commit({ sessionId, changes: [{ change }] })).entries[0])]];
    },
    async (sessionId: string, written: Value): Promise<Reading[]> => {
      const { session } = await client.saveSession({ session: { sessionId, state: { [KEY]: written } } });
      return [["SaveSession", inState(session?.state)]];
    },
    async (sessionId: string, written: Value): Promise<Reading[]> => {
      const operation = { case: "setState" as const, value: { sessionId, key: KEY, value: written } };
      const { results } = await client.batch({ operations: [{ operation }] });
      const result = results[0]?.result;
      return [["Batch of a set", result?.case === "setState" ? value(result.value.entry) : undefined]];
    },
  ];
  return {
    write: (sessionId, written, turn) =>
      (ways[turn % ways.length] ?? ways[0])?.(sessionId, toValue(written)) ?? Promise.reject(),
    async read(sessionId) {
      const { entry } = await client.getState({ sessionId, key: KEY });
      const revision = entry?.revision ?? 0n;
      const readings: Reading[] = [["GetState", value(entry)]];
      readings.push(["GetSession", inState((await client.getSession({ sessionId })).session?.state)]);
      readings.push(["ListState", value((await client.listState({ sessionId })).entries[0])]);
      const { sessions } = await client.listSessions({ sessionIdPrefix: sessionId, view: SessionView.FULL });
      readings.push(["ListSessions", inState(sessions[0]?.state)]);
      const { events } = await client.listEvents({ sessionId, reverse: true });
      readings.push(["ListEvents", value(events.flatMap(({ entries }) => entries)[0])]);
      const operations = [{ operation: { case: "getSession" as const, value: { sessionId } } }];
      const result = (await client.batch({ operations })).results[0]?.result;
      readings.push([
        "Batch",
        result?.case === "getSession" ? inState(result.value.session?.state) : undefined,
      ]);
      if (duplex) {
        const requests = async function* (): AsyncGenerator<{ operations: typeof operations }> {
          yield { operations };
        };
        for await (const { results } of client.pipeline(requests())) {
          const through = results[0]?.result;
          const session = through?.case === "getSession" ? through.value.session : undefined;
          readings.push(["Pipeline", inState(session?.state)]);
        }
      }
      const ended = new AbortController();
      for await (const { message } of client.watchSession({ sessionId }, { signal: ended.signal })) {
        readings.push([
          "WatchSession's snapshot",
          message.case === "snapshot" ? inState(message.value.state) : undefined,
        ]);
        break;
      }
      const afterRevision = revision - 1n;
      for await (const { message } of client.watchSession(
        { sessionId, afterRevision },
        { signal: ended.signal },
      )) {
        if (message.case === "progress") continue;
        readings.push([
          "WatchSession's event",
          message.case === "event" ? value(message.value.entries[0]) : undefined,
        ]);
        break;
      }
      ended.abort();
      const { session: fork } = await client.forkSession({ sessionId, newSessionId: newId("fork") });
      readings.push(["ForkSession", inState(fork?.state)]);
      const { session: restored } = await client.restoreSession({ sessionId, atRevision: revision });
      readings.push(["RestoreSession", inState(restored?.state)]);
      return readings;
    },
  };
}

/** A value as messages of the public schema. */
function toValue(json: JsonValue): Value {
  const kind = ((): Value["kind"] => {
    switch (typeof json) {
      case "number":
        return { case: "numberValue", value: json };
      case "string":
        return { case: "stringValue", value: json };
      case "boolean":
        return { case: "boolValue", value: json };
      default:
        break;
    }
    if (json === null) return { case: "nullValue", value: NullValue.NULL_VALUE };
    if (isList(json))
      return { case: "listValue", value: create(ListValueSchema, { values: json.map(toValue) }) };
    const struct = create(StructSchema);
    for (const [name, member] of Object.entries(json)) define(struct.fields, name, toValue(member));
    return { case: "structValue", value: struct };
  })();
  const value = create(ValueSchema);
  value.kind = kind;
  return value;
}

/** The plain JSON of a message of the public schema. */
function fromValue({ kind }: Value): JsonValue {
  switch (kind.case) {
    case "nullValue":
      return null;
    case "numberValue":
    case "stringValue":
    case "boolValue":
      return kind.value;
    case "listValue":
      return kind.value.values.map(fromValue);
    case "structValue": {
      const json: Record<string, JsonValue> = {};
      for (const [name, member] of Object.entries(kind.value.fields)) define(json, name, fromValue(member));
      return json;
    }
    default:
      throw new Error("a value without a kind");
  }
}

function isList(json: JsonValue): json is readonly JsonValue[] {
  return Array.isArray(json);
}

function define<T>(object: Record<string, T>, name: string, value: T): void {
  Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
}

/** Nested so deep, of nothing but objects or nothing but lists. */
function nested(levels: number, wrap: (inner: JsonValue) => JsonValue): JsonValue {
  let value: JsonValue = "x";
  for (let i = 1; i < levels; i += 1) value = wrap(value);
  return value;
}

const { valueBytes, valueDepth, valueNodes, keyBytes } = DEFAULT_LIMITS;
const many = <T>(count: number, make: (i: number) => T): T[] =>
  Array.from({ length: count }, (_, i) => make(i));

/** Values that go to the limits, each another way. */
const SHAPES: Record<string, JsonValue> = {
  "the deepest objects": nested(valueDepth, (inner) => ({ "": inner })),
  "the deepest lists": nested(valueDepth, (inner) => [inner]),
  "the deepest of both, and wide": nested(valueDepth, (inner) => ({ a: [], b: inner, c: null })),
  "the most nodes in an object": Object.fromEntries(many(valueNodes - 1, (i) => [`m${i}`, i])),
  "the most empty lists": many(valueNodes - 1, () => []),
  "the longest text of four-byte characters": "😀".repeat((valueBytes - 4) / 4),
  // In JSON each of these takes six bytes: an answer that is larger than a request may be.
  "the longest text of control characters": "\u0001".repeat(valueBytes - 4),
  "the longest name": { ["n".repeat(valueBytes - 30)]: 1 },
  "long names that look like numbers": Object.fromEntries(
    many(100, (i) => [String(i).repeat(keyBytes / 4), i]),
  ),
  numbers: [
    0,
    5e-324,
    2.2250738585072014e-308,
    1.7976931348623157e308,
    1 / 3,
    2 ** 53 + 2,
    -1e21,
    1e-7,
    123456789012345680,
  ],
  names: {
    ["__proto__"]: { ["__proto__"]: [] },
    constructor: 1,
    "": 2,
    "10": 3,
    "9": 4,
    "a.b": 5,
    "😀": 6,
    "\u0000": 7,
    "\\": 8,
    '"': 9,
  },
  "texts that look like other things": [
    "NaN",
    "Infinity",
    "-Infinity",
    "null",
    "1",
    "true",
    "",
    "{}",
    "\ufeffx",
    "\u2028",
  ],
};

describe.each(WIRES.map((wire) => [nameOf(wire), wire] as const))("%s", (_, wire: Wire) => {
  const memory = memoryStore();
  const closing: (() => unknown)[] = [() => memory.close()];
  const readers: Reader[] = [];

  beforeAll(async () => {
    const server = await serve(memory);
    const store = await openRemote(server.url, wire);
    const { transport, duplex, disconnect } = transportTo(server.url, wire);
    closing.push(server.close, disconnect, () => store.close());
    readers.push(ourReader(store), rawReader(createClient(WorkflowStateService, transport), duplex));
  });

  afterAll(async () => {
    for (const close of closing.reverse()) await close();
  });

  /** One client writes, and both read; each turn another, in another way. */
  async function readsBack(value: JsonValue, turn: number): Promise<void> {
    const expected = stored(value);
    const sessionId = newId();
    const writer = readers[turn % readers.length];
    for (const [where, read] of (await writer?.write(sessionId, value, turn >> 1)) ?? []) {
      expectEqual(read, expected, `the answer of ${where} to client ${turn % readers.length}`);
    }
    await readEveryWay(sessionId, expected);
    await memory.deleteSession({ sessionId });
  }

  async function readEveryWay(sessionId: string, expected: JsonValue): Promise<void> {
    for (const [i, reader] of readers.entries()) {
      for (const [where, read] of await reader.read(sessionId)) {
        expectEqual(read, expected, `what client ${i} reads by ${where}`);
      }
    }
  }

  test.each(Object.entries(SHAPES))("%s", { timeout: 180_000 }, async (name, value) => {
    if (wire.codec === "json" && name === "the longest text of control characters") {
      // Too large to be sent as JSON; what others sent can be read.
      const sessionId = newId();
      await memory.setState({ sessionId, key: KEY, value: textBytes(value as string) });
      await readEveryWay(sessionId, value);
      return;
    }
    await readsBack(value, Object.keys(SHAPES).indexOf(name));
  });

  test("any values", async () => {
    let turn = 0;
    // Many in one, as a journey takes its time.
    const values = fc.array(jsonValues, { minLength: 5, maxLength: 20, size: "max" });
    await fc.assert(
      fc.asyncProperty(values, async (each) => {
        turn += 1;
        await readsBack(each, turn);
      }),
      { numRuns: 8 },
    );
  });
});

/** The encoded value of a long text. */
function textBytes(text: string): Uint8Array {
  const utf8 = new TextEncoder().encode(text);
  const head = [0x1a, (utf8.length & 0x7f) | 0x80, ((utf8.length >> 7) & 0x7f) | 0x80, utf8.length >> 14];
  const bytes = new Uint8Array(head.length + utf8.length);
  bytes.set(head);
  bytes.set(utf8, head.length);
  return bytes;
}
