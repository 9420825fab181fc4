import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WorkflowStateError } from "../src/errors.ts";
import { DEFAULT_LIMITS, type Limits } from "../src/store.ts";
import {
  checkCommit,
  checkDeleteSession,
  checkDeleteState,
  checkFork,
  checkGetSession,
  checkGetState,
  checkKey,
  checkListEvents,
  checkListSessions,
  checkListState,
  checkOperation,
  checkOperations,
  checkRestore,
  checkSaveSession,
  checkSessionFilter,
  checkSessionId,
  checkSetState,
  checkWatchSession,
  MAX_TTL_MS,
  ownValue,
  utf8Length,
  validateValue,
} from "../src/validate.ts";
import { decodeValue, encodeValue } from "../src/value.ts";
import { bytes, jsonValues, listBytes, nullBytes, numberBytes, stored, texts } from "./support/values.ts";

const limits = DEFAULT_LIMITS;

function failure(run: () => unknown): WorkflowStateError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(WorkflowStateError);
    return error as WorkflowStateError;
  }
  throw new Error("nothing was refused");
}

describe("the bytes to keep", () => {
  test("are a fresh copy that means the same, with -0 turned to 0", () => {
    fc.assert(
      fc.property(jsonValues, (value) => {
        const given = listBytes(encodeValue(value), numberBytes(-0));
        const before = given.slice();
        const kept = ownValue(given, { ...limits, valueDepth: 33, valueNodes: 20_000 });
        expect(JSON.stringify(decodeValue(kept))).toBe(JSON.stringify([stored(value), 0]));
        expect(given).toEqual(before);
        given.fill(0);
        expect(JSON.stringify(decodeValue(kept))).toBe(JSON.stringify([stored(value), 0]));
      }),
    );
  });

  test("have a buffer of their own, also where they were given as a part of one", () => {
    const network = Buffer.from(bytes(0xff, nullBytes, 0xff));
    const kept = ownValue(network.subarray(1, 3), limits);
    expect(kept).toStrictEqual(new Uint8Array(nullBytes));
    expect(kept.buffer.byteLength).toBe(2);
  });

  test("may be as large as the limit", () => {
    const atLimit = encodeValue("x".repeat((1 << 20) - 4));
    expect(ownValue(atLimit, limits)).toEqual(atLimit);
  });

  test("over the limit are refused before they are read", () => {
    const garbage = new Uint8Array((1 << 20) + 1);
    const metadata = { limit: String(1 << 20), actual: String((1 << 20) + 1) };
    expect(failure(() => ownValue(garbage, limits))).toMatchObject({ reason: "VALUE_TOO_LARGE", metadata });
    expect(failure(() => validateValue(garbage, limits, "value"))).toMatchObject({
      reason: "VALUE_TOO_LARGE",
      metadata: { ...metadata, field: "value" },
    });
  });

  test.each<[string, unknown]>([
    ["undefined", undefined],
    ["null", null],
    ["text", "\u0008\u0000"],
    ["a list", [8, 0]],
    ["a DataView", new DataView(new ArrayBuffer(2))],
    ["words", new Uint16Array(2)],
  ])("must be bytes: %s", (_, given) => {
    const error = failure(() => ownValue(given as Uint8Array, limits, "value"));
    expect(error).toMatchObject({ reason: "INVALID_VALUE", metadata: { path: "$", field: "value" } });
    expect(failure(() => validateValue(given as Uint8Array, limits)).metadata).toEqual({ path: "$" });
  });

  test("that are no value are refused with the path, and the field if it is told", () => {
    const wrong = listBytes(nullBytes, bytes(0x1a, 3, 0x61, 0xff, 0x61));
    expect(failure(() => ownValue(wrong, limits))).toMatchObject({
      reason: "INVALID_VALUE",
      message: "The value at $[1] is not well-formed UTF-8.",
    });
    expect(failure(() => ownValue(wrong, limits)).metadata).toEqual({ path: "$[1]" });
    expect(failure(() => ownValue(wrong, limits, "value")).metadata).toEqual({
      path: "$[1]",
      field: "value",
    });
    expect(failure(() => validateValue(wrong, limits, "value")).metadata).toEqual({
      path: "$[1]",
      field: "value",
    });
  });

  test("must be within the configured depth and number of values", () => {
    const value = encodeValue([[1], 2]);
    expect(ownValue(value, { ...limits, valueDepth: 3, valueNodes: 4 })).toEqual(value);
    for (const less of [{ valueDepth: 2 }, { valueNodes: 3 }]) {
      expect(failure(() => ownValue(value, { ...limits, ...less })).reason).toBe("INVALID_VALUE");
    }
  });

  test("can be checked without a copy, -0 and all", () => {
    const negative = numberBytes(-0);
    validateValue(negative, limits);
    expect(negative).toEqual(numberBytes(-0));
  });
});

describe("the bytes of a text", () => {
  test("are counted as the platform encodes it", () => {
    fc.assert(fc.property(texts, (text) => utf8Length(text) === new TextEncoder().encode(text).length));
  });

  test("are -1 exactly if it has a lone surrogate", () => {
    const units = fc.array(fc.constantFrom("a", "é", "€", "🛒", "\ud800", "\udbff", "\udc00", "\udfff"));
    fc.assert(
      fc.property(units, (parts) => {
        const text = parts.join("");
        expect(utf8Length(text)).toBe(text.isWellFormed() ? new TextEncoder().encode(text).length : -1);
      }),
    );
  });
});

describe("ids and keys", () => {
  test.each<[string, (text: string, most: Limits, field?: string) => void, string, string]>([
    ["session id", checkSessionId, "INVALID_SESSION_ID", "session_id"],
    ["key", checkKey, "INVALID_KEY", "key"],
  ])("a %s is 1 to so many bytes of well-formed UTF-8", (_, check, reason, field) => {
    const most = { ...limits, sessionIdBytes: 6, keyBytes: 6 };
    for (const text of ["a", "abcdef", "ééé", "€€", "🛒ab", "\u0000", "__proto__".slice(0, 6)])
      check(text, most);
    for (const text of [
      "",
      "abcdefg",
      "éééa",
      "€€€",
      "🛒abc",
      "\ud800",
      "a\udc00",
      1,
      null,
      undefined,
      {},
      ["a"],
    ]) {
      const error = failure(() => check(text as string, most));
      expect(error.reason).toBe(reason);
      expect(error.metadata).toEqual({ field });
      expect(failure(() => check(text as string, most, "other")).metadata).toEqual({ field: "other" });
    }
  });

  test("the limits are those of the contract", () => {
    checkSessionId("s".repeat(256), limits);
    expect(failure(() => checkSessionId("s".repeat(257), limits)).reason).toBe("INVALID_SESSION_ID");
    checkKey("k".repeat(512), limits);
    expect(failure(() => checkKey("k".repeat(513), limits)).reason).toBe("INVALID_KEY");
  });
});

/** A wrong content of a field with what it is refused as. */
type Wrong = readonly [fields: object, reason: string, field: string | undefined];

const ids: Wrong[] = [
  [{ sessionId: "" }, "INVALID_SESSION_ID", "session_id"],
  [{ sessionId: "s".repeat(257) }, "INVALID_SESSION_ID", "session_id"],
  [{ sessionId: "\ud800" }, "INVALID_SESSION_ID", "session_id"],
  [{ sessionId: 7 }, "INVALID_SESSION_ID", "session_id"],
  [{ sessionId: undefined }, "INVALID_SESSION_ID", "session_id"],
];
const keys: Wrong[] = [
  [{ key: "" }, "INVALID_KEY", "key"],
  [{ key: "k".repeat(513) }, "INVALID_KEY", "key"],
  [{ key: "\udc00" }, "INVALID_KEY", "key"],
  [{ key: Symbol("key") }, "INVALID_KEY", "key"],
];
const text = (name: string, field: string, most: number): Wrong[] => [
  [{ [name]: "x".repeat(most + 1) }, "INVALID_REQUEST", field],
  [{ [name]: `${"x".repeat(most - 1)}é` }, "INVALID_REQUEST", field],
  [{ [name]: "\ud800" }, "INVALID_REQUEST", field],
  [{ [name]: 7 }, "INVALID_REQUEST", field],
  [{ [name]: null }, "INVALID_REQUEST", field],
];
const numbers = (name: string, field: string, ...wrong: unknown[]): Wrong[] =>
  [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, "1", 1n, null, ...wrong].map(
    (number) => [{ [name]: number }, "INVALID_REQUEST", field] as const,
  );
const ttl = (name: string, field: string): Wrong[] => numbers(name, field, MAX_TTL_MS + 1);
const flag = (name: string): Wrong[] => [[{ [name]: 1 }, "INVALID_REQUEST", name]];
const page: Wrong[] = [
  ...numbers("pageSize", "page_size"),
  [{ pageToken: 7 }, "INVALID_PAGE_TOKEN", undefined],
  [{ pageToken: null }, "INVALID_PAGE_TOKEN", undefined],
];
const labels = (name: string, field: string): Wrong[] => [
  [{ [name]: null }, "INVALID_REQUEST", field],
  [{ [name]: "a=b" }, "INVALID_REQUEST", field],
  [{ [name]: ["x"] }, "INVALID_REQUEST", field],
  [{ [name]: new Map([["name", "x"]]) }, "INVALID_REQUEST", field],
  [{ [name]: new URLSearchParams("name=x") }, "INVALID_REQUEST", field],
  [{ [name]: { "": "x" } }, "INVALID_REQUEST", field],
  [{ [name]: { ["n".repeat(129)]: "x" } }, "INVALID_REQUEST", field],
  [{ [name]: { "\ud800": "x" } }, "INVALID_REQUEST", field],
  [{ [name]: { name: "x".repeat(257) } }, "INVALID_REQUEST", field],
  [{ [name]: { name: "\udc00" } }, "INVALID_REQUEST", field],
  [{ [name]: { name: 7 } }, "INVALID_REQUEST", field],
  [{ [name]: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [i, "x"])) }, "INVALID_REQUEST", field],
];
const filter: Wrong[] = [
  ...text("workflowId", "workflow_id", 256),
  ...text("userId", "user_id", 256),
  ...text("sessionIdPrefix", "session_id_prefix", 256),
  ...labels("labels", "labels"),
  ...[0.5, Number.NaN, "2026-01-01", new Date(0), null].flatMap((time): Wrong[] => [
    [{ updatedAfter: time }, "INVALID_REQUEST", "updated_after"],
    [{ updatedBefore: time }, "INVALID_REQUEST", "updated_before"],
  ]),
];
const requestId: Wrong[] = [
  ...text("requestId", "request_id", 128),
  ...text("requestFingerprint", "request_fingerprint", 128).map(
    ([fields, reason, field]): Wrong => [{ requestId: "r", ...fields }, reason, field],
  ),
  [{ requestFingerprint: "f" }, "INVALID_REQUEST", "request_fingerprint"],
  [{ requestId: "", requestFingerprint: "f" }, "INVALID_REQUEST", "request_fingerprint"],
];
const values: Wrong[] = [
  ...[null, {}, [], "x"].map((wrong): Wrong => [{ values: wrong }, "INVALID_REQUEST", "values"]),
  [{ values: new Map([["", nullBytes]]) }, "INVALID_KEY", "values"],
  [{ values: new Map([["k".repeat(513), nullBytes]]) }, "INVALID_KEY", "values"],
];

const manyLabels = Object.fromEntries(
  Array.from({ length: 64 }, (_, i) => [`${i}`.padEnd(128, "n"), "x".repeat(256)]),
);
const value = nullBytes;
const longest = {
  sessionId: "s".repeat(256),
  key: "k".repeat(512),
  revision: Number.MAX_SAFE_INTEGER,
  requestId: "r".repeat(128),
  owner: "o".repeat(256),
};

/** Each check with the least and the most it takes, and with everything it refuses, one field at a time. */
const checks: [string, (request: never, most: Limits) => void, object[], Wrong[]][] = [
  [
    "getSession",
    checkGetSession,
    [
      { sessionId: "s" },
      { sessionId: longest.sessionId, atRevision: longest.revision, keyPrefix: longest.key },
    ],
    [...ids, ...numbers("atRevision", "at_revision"), ...text("keyPrefix", "key_prefix", 512)],
  ],
  [
    "saveSession",
    checkSaveSession,
    [
      { session: { sessionId: "s", state: new Map() } },
      {
        session: {
          sessionId: longest.sessionId,
          state: new Map([[longest.key, value]]),
          workflowId: longest.owner,
          userId: longest.owner,
          labels: manyLabels,
        },
        ifRevision: 0,
        ttlMs: MAX_TTL_MS,
        idleTtlMs: 0,
        requestId: longest.requestId,
      },
    ],
    [
      ...[undefined, null, "s"].map((session): Wrong => [{ session }, "INVALID_REQUEST", "session"]),
      ...ids.map(
        ([fields, reason]): Wrong => [
          { session: { state: new Map(), ...fields } },
          reason,
          "session.session_id",
        ],
      ),
      ...[undefined, {}, [], "x"].map(
        (state): Wrong => [{ session: { sessionId: "s", state } }, "INVALID_REQUEST", "session.state"],
      ),
      [{ session: { sessionId: "s", state: new Map([["", value]]) } }, "INVALID_KEY", "session.state"],
      [{ session: { sessionId: "s", state: new Map([[7, value]]) } }, "INVALID_KEY", "session.state"],
      [
        {
          session: {
            sessionId: "s",
            state: new Map(Array.from({ length: 10_001 }, (_, i) => [`${i}`, value])),
          },
        },
        "TOO_MANY_ENTRIES",
        "session.state",
      ],
      ...[
        ...text("workflowId", "session.workflow_id", 256),
        ...text("userId", "session.user_id", 256),
        ...labels("labels", "session.labels"),
      ].map(
        ([fields, reason, field]): Wrong => [
          { session: { sessionId: "s", state: new Map(), ...fields } },
          reason,
          field,
        ],
      ),
      ...numbers("ifRevision", "if_revision"),
      ...ttl("ttlMs", "ttl"),
      ...ttl("idleTtlMs", "idle_ttl"),
      ...requestId,
    ],
  ],
  [
    "deleteSession",
    checkDeleteSession,
    [
      { sessionId: "s" },
      { sessionId: longest.sessionId, ifRevision: 0, requestId: "", requestFingerprint: "" },
      { sessionId: "s", requestId: "r", requestFingerprint: longest.requestId },
    ],
    [...ids, ...numbers("ifRevision", "if_revision"), ...requestId],
  ],
  [
    "listSessions",
    checkListSessions,
    [
      {},
      {
        workflowId: longest.owner,
        userId: "",
        sessionIdPrefix: longest.sessionId,
        labels: manyLabels,
        updatedAfter: -1,
        updatedBefore: Date.now(),
        view: "FULL",
        order: "UPDATE_TIME_DESC",
        pageSize: 1_000_000,
        pageToken: "t",
      },
      { view: "IDS", order: "ID" },
      { view: "METADATA", pageSize: 0, pageToken: "", sessionIdPrefix: "", labels: {} },
    ],
    [
      ...filter,
      ...["ids", "", 1, null].map((view): Wrong => [{ view }, "INVALID_REQUEST", "view"]),
      ...["id", "", 1, null].map((order): Wrong => [{ order }, "INVALID_REQUEST", "order"]),
      ...page,
    ],
  ],
  ["watchSessions", checkSessionFilter, [{}, { workflowId: longest.owner, updatedAfter: 0 }], filter],
  [
    "getState",
    checkGetState,
    [
      { sessionId: "s", key: "k" },
      { sessionId: longest.sessionId, key: longest.key, atRevision: 0 },
    ],
    [...ids, ...keys, ...numbers("atRevision", "at_revision")],
  ],
  [
    "setState",
    checkSetState,
    [
      { sessionId: "s", key: "k", value },
      {
        sessionId: longest.sessionId,
        key: longest.key,
        value,
        ifRevision: longest.revision,
        ttlMs: MAX_TTL_MS,
        requestId: longest.requestId,
      },
    ],
    [...ids, ...keys, ...numbers("ifRevision", "if_revision"), ...ttl("ttlMs", "ttl"), ...requestId],
  ],
  [
    "deleteState",
    checkDeleteState,
    [
      { sessionId: "s", key: "k" },
      { sessionId: "s", key: longest.key, ifRevision: 1, requestId: "r" },
    ],
    [...ids, ...keys, ...numbers("ifRevision", "if_revision"), ...requestId],
  ],
  [
    "listState",
    checkListState,
    [
      { sessionId: "s" },
      {
        sessionId: "s",
        keyPrefix: longest.key,
        startAfter: longest.key,
        reverse: true,
        pageSize: 1,
        pageToken: "t",
        atRevision: 1,
      },
      { sessionId: "s", keyPrefix: "", startAfter: "", reverse: false },
    ],
    [
      ...ids,
      ...text("keyPrefix", "key_prefix", 512),
      ...text("startAfter", "start_after", 512),
      ...flag("reverse"),
      ...numbers("atRevision", "at_revision"),
      ...page,
    ],
  ],
  [
    "commit",
    checkCommit,
    [
      { sessionId: "s" },
      { sessionId: "s", checks: [], changes: [], metadata: {} },
      {
        sessionId: "s",
        checks: new Array(1_000).fill({ key: longest.key, ifRevision: 0 }),
        changes: new Array(128).fill({ kind: "delete", key: longest.key }),
        ifRevision: 0,
        metadata: {
          workflowId: longest.owner,
          userId: "",
          labels: manyLabels,
          ttlMs: 0,
          idleTtlMs: MAX_TTL_MS,
        },
        requestId: longest.requestId,
      },
      {
        sessionId: "s",
        changes: [
          { kind: "set", key: "k", value },
          { kind: "set", key: "k", value, ttlMs: 1 },
          { kind: "set", key: "k", value, ttlMs: 1, keepExpiry: false },
          { kind: "set", key: "k", value, ttlMs: 0, keepExpiry: true },
          { kind: "increment", key: "k", delta: -0.5 },
          { kind: "append", key: "k", values: [] },
          { kind: "append", key: "k", values: [value], maxItems: 0 },
          { kind: "merge", key: "k", value },
        ],
      },
    ],
    [
      ...ids,
      ...[null, {}, "x", 7].flatMap((list): Wrong[] => [
        [{ checks: list }, "INVALID_REQUEST", "checks"],
        [{ changes: list }, "INVALID_REQUEST", "changes"],
      ]),
      [{ checks: new Array(1_001).fill({ key: "k", ifRevision: 0 }) }, "REQUEST_TOO_LARGE", "checks"],
      [{ changes: new Array(129).fill({ kind: "delete", key: "k" }) }, "REQUEST_TOO_LARGE", "changes"],
      ...[undefined, null, "k"].flatMap((item): Wrong[] => [
        [{ checks: [{ key: "k", ifRevision: 0 }, item] }, "INVALID_REQUEST", "checks[1]"],
        [{ changes: [{ kind: "delete", key: "k" }, item] }, "INVALID_REQUEST", "changes[1]"],
      ]),
      ...keys.flatMap(([fields]): Wrong[] => [
        [
          {
            checks: [
              { key: "k", ifRevision: 0 },
              { ifRevision: 0, ...fields },
            ],
          },
          "INVALID_KEY",
          "checks[1].key",
        ],
        [
          {
            changes: [
              { kind: "delete", key: "k" },
              { kind: "delete", ...fields },
            ],
          },
          "INVALID_KEY",
          "changes[1].key",
        ],
      ]),
      ...[
        ...numbers("ifRevision", "checks[0].if_revision"),
        [{}, "INVALID_REQUEST", "checks[0].if_revision"] as const,
      ].map(([fields, reason, field]): Wrong => [{ checks: [{ key: "k", ...fields }] }, reason, field]),
      ...ttl("ttlMs", "changes[0].set.ttl").map(
        ([fields, reason, field]): Wrong => [
          { changes: [{ kind: "set", key: "k", value, ...fields }] },
          reason,
          field,
        ],
      ),
      ...[{ keepExpiry: 1 }, { keepExpiry: null }, { keepExpiry: true, ttlMs: 1 }].map(
        (fields): Wrong => [
          { changes: [{ kind: "set", key: "k", value, ...fields }] },
          "INVALID_REQUEST",
          "changes[0].set.keep_expiry",
        ],
      ),
      ...[Number.NaN, Number.POSITIVE_INFINITY, "1", undefined].map(
        (delta): Wrong => [
          { changes: [{ kind: "increment", key: "k", delta }] },
          "INVALID_VALUE",
          "changes[0].increment.delta",
        ],
      ),
      ...[undefined, null, value, {}].map(
        (values): Wrong => [
          { changes: [{ kind: "append", key: "k", values }] },
          "INVALID_REQUEST",
          "changes[0].append.values",
        ],
      ),
      ...numbers("maxItems", "changes[0].append.max_items").map(
        ([fields, reason, field]): Wrong => [
          { changes: [{ kind: "append", key: "k", values: [], ...fields }] },
          reason,
          field,
        ],
      ),
      ...[undefined, "", "Set", 1].map(
        (kind): Wrong => [{ changes: [{ kind, key: "k" }] }, "INVALID_REQUEST", "changes[0]"],
      ),
      // As a change of no kind comes from the wire.
      [{ changes: [{ kind: undefined }] }, "INVALID_REQUEST", "changes[0]"],
      ...numbers("ifRevision", "if_revision"),
      ...[null, "x"].map((metadata): Wrong => [{ metadata }, "INVALID_REQUEST", "metadata"]),
      ...[
        ...text("workflowId", "metadata.workflow_id", 256),
        ...text("userId", "metadata.user_id", 256),
        ...labels("labels", "metadata.labels"),
        ...ttl("ttlMs", "metadata.ttl"),
        ...ttl("idleTtlMs", "metadata.idle_ttl"),
      ].map(([metadata, reason, field]): Wrong => [{ metadata }, reason, field]),
      ...requestId,
    ],
  ],
  [
    "forkSession",
    checkFork,
    [
      { sessionId: "s", newSessionId: "t" },
      { sessionId: "s", newSessionId: longest.sessionId, atRevision: 0, requestId: "r" },
      { sessionId: "s", newSessionId: "t", values: new Map([[longest.key, value]]) },
    ],
    [
      ...ids,
      ...ids.map(
        ([fields, reason]): Wrong => [{ newSessionId: Object.values(fields)[0] }, reason, "new_session_id"],
      ),
      ...numbers("atRevision", "at_revision"),
      ...values,
      ...requestId,
    ],
  ],
  [
    "restoreSession",
    checkRestore,
    [
      { sessionId: "s", atRevision: 1 },
      { sessionId: "s", atRevision: longest.revision, ifRevision: 0, requestId: "r" },
      { sessionId: "s", atRevision: 1, values: new Map() },
    ],
    [
      ...ids,
      ...numbers("atRevision", "at_revision", 0, undefined),
      ...numbers("ifRevision", "if_revision"),
      ...values,
      ...requestId,
    ],
  ],
  [
    "listEvents",
    checkListEvents,
    [{ sessionId: "s" }, { sessionId: "s", afterRevision: 0, reverse: true, pageSize: 5, pageToken: "t" }],
    [...ids, ...numbers("afterRevision", "after_revision"), ...flag("reverse"), ...page],
  ],
  [
    "watchSession",
    checkWatchSession,
    [{ sessionId: "s" }, { sessionId: "s", afterRevision: longest.revision, keyPrefix: longest.key }],
    [...ids, ...numbers("afterRevision", "after_revision"), ...text("keyPrefix", "key_prefix", 512)],
  ],
];

describe.each(checks)("a request of %s", (_, check, right, wrong) => {
  const run = (request: unknown): void => check(request as never, limits);

  test("passes with the least and the most that may be in it", () => {
    for (const request of right) run(request);
    // A field that is there but undefined is absent.
    const fields = right.flatMap((request) => Object.keys(request));
    run({ ...Object.fromEntries(fields.map((name) => [name, undefined])), ...right[0] });
  });

  test("is refused for each wrong field, with its name", () => {
    const [least] = right;
    for (const [fields, reason, field] of wrong) {
      const error = failure(() => run({ ...least, ...fields }));
      const found = { fields, reason: error.reason, field: error.metadata["field"] };
      expect(found).toEqual({ fields, reason, field });
    }
  });

  test("must be an object", () => {
    for (const request of [undefined, null, 7, "s", true]) {
      expect(failure(() => run(request))).toMatchObject({
        reason: "INVALID_REQUEST",
        metadata: { field: "request" },
      });
    }
  });

  test("is refused with a typed error whatever is in it", () => {
    const anything = fc.oneof(
      fc.anything(),
      fc.constantFrom<unknown>(Symbol("s"), 1n, null, () => 1),
    );
    const request = fc.dictionary(
      fc.constantFrom(
        ...[
          "sessionId",
          "key",
          "value",
          "session",
          "state",
          "labels",
          "checks",
          "changes",
          "metadata",
          "ttlMs",
        ],
        ...["requestFingerprint", "values"],
        ...["ifRevision", "atRevision", "requestId", "pageSize", "pageToken", "newSessionId", "view", "kind"],
      ),
      anything,
    );
    fc.assert(
      fc.property(request, fc.boolean(), (fields, whole) => {
        try {
          run(whole ? fields : { ...right[0], ...fields });
        } catch (error) {
          expect(error).toBeInstanceOf(WorkflowStateError);
        }
      }),
    );
  });
});

describe("what is over a limit says by how much", () => {
  test.each<[string, () => void, object]>([
    [
      "checks",
      () => checkCommit({ sessionId: "s", checks: new Array(6) }, { ...limits, checks: 5 }),
      { field: "checks", limit: "5", actual: "6" },
    ],
    [
      "changes",
      () => checkCommit({ sessionId: "s", changes: new Array(6) }, { ...limits, changes: 5 }),
      { field: "changes", limit: "5", actual: "6" },
    ],
    [
      "operations",
      () => checkOperations(new Array(257), limits),
      { field: "operations", limit: "256", actual: "257" },
    ],
    [
      "entries",
      () =>
        checkSaveSession(
          {
            session: {
              sessionId: "s",
              state: new Map([
                ["a", value],
                ["b", value],
              ]),
            },
          },
          { ...limits, entries: 1 },
        ),
      { field: "session.state", limit: "1", actual: "2" },
    ],
  ])("%s", (_, run, metadata) => {
    expect(failure(run).metadata).toEqual(metadata);
  });
});

describe("a batch", () => {
  test("has at most so many operations, none included", () => {
    checkOperations([], limits);
    checkOperations(new Array(256), limits);
    for (const operations of [undefined, null, {}, "x"]) {
      const error = failure(() => checkOperations(operations as never, limits));
      expect(error).toMatchObject({ reason: "INVALID_REQUEST", metadata: { field: "operations" } });
    }
  });

  test.each<[string, object]>([
    ["getState", { key: "k" }],
    ["setState", { key: "k", value }],
    ["deleteState", { key: "k" }],
    ["commit", {}],
    ["getSession", {}],
  ])("has each operation checked as its request: %s", (kind, fields) => {
    checkOperation({ kind, sessionId: "s", ...fields } as never, limits);
    const error = failure(() => checkOperation({ kind, sessionId: "", ...fields } as never, limits));
    expect(error.reason).toBe("INVALID_SESSION_ID");
  });

  test.each([undefined, null, 7, {}, { kind: "saveSession" }, { kind: "" }])(
    "has no other operation: %j",
    (operation) => {
      expect(failure(() => checkOperation(operation as never, limits))).toMatchObject({
        reason: "INVALID_REQUEST",
        metadata: { field: "operation" },
      });
    },
  );
});

test("no message shows what a field holds", () => {
  const secret = "sEcReT";
  const long = secret.repeat(100);
  for (const run of [
    () => checkSessionId(long, limits),
    () => checkKey(long, limits),
    () => checkSetState({ sessionId: "s", key: "k", value, requestId: long }, limits),
    () => checkSessionFilter({ labels: { name: long } }, limits),
    () => checkSessionFilter({ labels: { [long]: "x" } }, limits),
    () => checkListSessions({ view: secret as never }, limits),
    () => checkCommit({ sessionId: "s", changes: [{ kind: secret, key: "k" } as never] }, limits),
    () => ownValue(listBytes(bytes(0x1a, 7, secret, 0xff)), limits),
  ]) {
    const error = failure(run);
    expect(`${error.message} ${JSON.stringify(error.metadata)}`).not.toContain(secret);
  }
});
