import { create, type DescMessage, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { DurationSchema, TimestampSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ErrorDetailSchema } from "../gen/agenterra/state/v1/state_pb.ts";
import * as service from "../gen/encoded/agenterra/state/v1/service_pb.ts";
import * as state from "../gen/encoded/agenterra/state/v1/state_pb.ts";
import { CODE_OF_REASON, type ErrorReason, WorkflowStateError } from "../src/errors.ts";
import type * as Store from "../src/store.ts";
import type { EncodedForm } from "../src/store.ts";
import { encodeValue } from "../src/value.ts";
import { fromDuration, fromTimestamp, toDuration, toTimestamp } from "../src/wire/nouns.ts";
import {
  errorFromWire,
  errorToWire,
  fromConnectError,
  requestFromWire,
  requestToWire,
  responseFromWire,
  responseToWire,
  toConnectError,
} from "../src/wire.ts";

const value = encodeValue({ name: "tea", count: 2 });
const other = encodeValue(null);
const proto = JSON.parse('{"__proto__":"polluted","plain":"yes"}') as Record<string, string>;

/** Over the wire and back: what a message loses in its bytes would be lost here. */
function sent<D extends DescMessage>(schema: D, message: Message): ReturnType<typeof fromBinary<D>> {
  return fromBinary(schema, toBinary(schema, message as Parameters<typeof toBinary<D>>[1]));
}

const entry: Store.Entry<EncodedForm> = {
  key: "__proto__",
  value,
  revision: 7,
  updateTime: 1_700_000_000_123,
  expireTime: 1_700_000_001_999,
};
const deleted: Store.Entry<EncodedForm> = { key: "gone", revision: 8, updateTime: 5 };
const session: Store.Session<EncodedForm> = {
  sessionId: "s",
  state: new Map([
    ["__proto__", value],
    ["", other],
  ]),
  createTime: 1,
  updateTime: 1_700_000_000_001,
  workflowId: "w",
  userId: "",
  labels: proto,
  revision: Number.MAX_SAFE_INTEGER,
  expireTime: 2_000,
  forkedFrom: { sessionId: "parent", revision: 3 },
};
const bare: Store.Session<EncodedForm> = { sessionId: "s", state: new Map(), labels: {}, revision: 0 };
const event: Store.Event<EncodedForm> = {
  sessionId: "s",
  revision: 9,
  time: 11,
  kind: "SAVED",
  entries: [entry, deleted],
  requestId: "r",
};
const failure = new WorkflowStateError("REVISION_MISMATCH", "Not as it was.", {
  metadata: proto,
  failedChecks: [{ key: "k", ifRevision: 1, actualRevision: 2 }],
});
const filter: Store.SessionFilter<EncodedForm> = {
  workflowId: "w",
  userId: "u",
  sessionIdPrefix: "p",
  labels: proto,
  updatedAfter: 1,
  updatedBefore: 2,
};
const commit: Store.CommitRequest<EncodedForm> = {
  sessionId: "s",
  checks: [{ key: "k", ifRevision: 0 }],
  changes: [
    { kind: "set", key: "a", value, ttlMs: 5 },
    { kind: "set", key: "b", value },
    { kind: "set", key: "b2", value, keepExpiry: true },
    { kind: "delete", key: "c" },
    { kind: "increment", key: "d", delta: -0.5 },
    { kind: "append", key: "e", values: [value, other], maxItems: 3 },
    { kind: "append", key: "f", values: [] },
    { kind: "merge", key: "g", value: other },
  ],
  ifRevision: 0,
  metadata: { workflowId: "", userId: "u", labels: proto, ttlMs: 0, idleTtlMs: 60_000 },
  requestId: "r",
  requestFingerprint: "f",
};
const operations: Store.Operation<EncodedForm>[] = [
  { kind: "getState", sessionId: "s", key: "k", atRevision: 1 },
  { kind: "setState", sessionId: "s", key: "k", value },
  { kind: "deleteState", sessionId: "s", key: "k", ifRevision: 3 },
  { kind: "commit", ...commit },
  { kind: "getSession", sessionId: "s", keyPrefix: "p" },
];

describe("requests survive the wire", () => {
  const cases: readonly [
    string,
    DescMessage,
    (request: never) => Message,
    (message: never) => unknown,
    readonly object[],
  ][] = [
    [
      "getSession",
      service.GetSessionRequestSchema,
      requestToWire.getSession,
      requestFromWire.getSession,
      [{ sessionId: "s" }, { sessionId: "s", atRevision: 0, keyPrefix: "p" }],
    ],
    [
      "saveSession",
      service.SaveSessionRequestSchema,
      requestToWire.saveSession,
      requestFromWire.saveSession,
      [
        { session: { sessionId: "s", state: session.state, labels: {} } },
        {
          session: { sessionId: "s", state: new Map(), workflowId: "w", userId: "", labels: proto },
          ifRevision: 0,
          ttlMs: 0,
          idleTtlMs: 1,
          requestId: "r",
          requestFingerprint: "f",
        },
      ],
    ],
    [
      "deleteSession",
      service.DeleteSessionRequestSchema,
      requestToWire.deleteSession,
      requestFromWire.deleteSession,
      [{ sessionId: "s" }, { sessionId: "s", ifRevision: 4, requestId: "r", requestFingerprint: "f" }],
    ],
    [
      "listSessions",
      service.ListSessionsRequestSchema,
      requestToWire.listSessions,
      requestFromWire.listSessions,
      [{}, { ...filter, view: "FULL", order: "UPDATE_TIME_DESC", pageSize: 3, pageToken: "t" }],
    ],
    [
      "getState",
      service.GetStateRequestSchema,
      requestToWire.getState,
      requestFromWire.getState,
      [
        { sessionId: "s", key: "k" },
        { sessionId: "s", key: "k", atRevision: 1 },
      ],
    ],
    [
      "setState",
      service.SetStateRequestSchema,
      requestToWire.setState,
      requestFromWire.setState,
      [
        { sessionId: "s", key: "k", value },
        {
          sessionId: "s",
          key: "k",
          value,
          ifRevision: 0,
          ttlMs: 1_500,
          requestId: "r",
          requestFingerprint: "f",
        },
      ],
    ],
    [
      "deleteState",
      service.DeleteStateRequestSchema,
      requestToWire.deleteState,
      requestFromWire.deleteState,
      [
        { sessionId: "s", key: "k" },
        { sessionId: "s", key: "k", ifRevision: 0, requestId: "r", requestFingerprint: "f" },
      ],
    ],
    [
      "listState",
      service.ListStateRequestSchema,
      requestToWire.listState,
      requestFromWire.listState,
      [
        { sessionId: "s" },
        {
          sessionId: "s",
          keyPrefix: "p",
          startAfter: "a",
          reverse: true,
          pageSize: 1,
          pageToken: "t",
          atRevision: 2,
        },
      ],
    ],
    [
      "commit",
      service.CommitRequestSchema,
      requestToWire.commit,
      requestFromWire.commit,
      [{ sessionId: "s", changes: [] }, { sessionId: "s", changes: [], metadata: { labels: {} } }, commit],
    ],
    [
      "forkSession",
      service.ForkSessionRequestSchema,
      requestToWire.forkSession,
      requestFromWire.forkSession,
      [
        { sessionId: "s", newSessionId: "n" },
        { sessionId: "s", atRevision: 2, newSessionId: "n", requestId: "r", requestFingerprint: "f" },
        { sessionId: "s", newSessionId: "n", values: session.state },
      ],
    ],
    [
      "restoreSession",
      service.RestoreSessionRequestSchema,
      requestToWire.restoreSession,
      requestFromWire.restoreSession,
      [
        { sessionId: "s", atRevision: 2 },
        { sessionId: "s", atRevision: 2, ifRevision: 0, requestId: "r", requestFingerprint: "f" },
        { sessionId: "s", atRevision: 2, values: session.state },
      ],
    ],
    [
      "listEvents",
      service.ListEventsRequestSchema,
      requestToWire.listEvents,
      requestFromWire.listEvents,
      [{ sessionId: "s" }, { sessionId: "s", afterRevision: 3, pageSize: 1, pageToken: "t", reverse: true }],
    ],
    [
      "watchSession",
      service.WatchSessionRequestSchema,
      requestToWire.watchSession,
      requestFromWire.watchSession,
      [{ sessionId: "s" }, { sessionId: "s", afterRevision: 0, keyPrefix: "p" }],
    ],
    [
      "watchSessions",
      service.WatchSessionsRequestSchema,
      requestToWire.watchSessions,
      requestFromWire.watchSessions,
      [{}, filter],
    ],
  ];

  test.each(cases)("%s", (_, schema, toWire, fromWire, requests) => {
    for (const request of requests) {
      expect(fromWire(sent(schema, toWire(request as never)) as never)).toStrictEqual(request);
    }
  });

  test("batch and pipeline", () => {
    const message = sent(service.BatchRequestSchema, requestToWire.batch(operations));
    expect(requestFromWire.batch(message)).toStrictEqual({ operations, refused: new Map() });
    const piped = sent(service.PipelineRequestSchema, requestToWire.pipeline(operations));
    expect(requestFromWire.batch(piped).operations).toStrictEqual(operations);
  });

  test("counts beyond int32 mean the same as the largest", () => {
    const page = sent(
      service.ListStateRequestSchema,
      requestToWire.listState({ sessionId: "s", pageSize: 2 ** 40 }),
    );
    expect(page.pageSize).toBe(2 ** 31 - 1);
  });
});

describe("answers survive the wire", () => {
  test("sessions", () => {
    for (const answer of [session, bare]) {
      const saved = sent(service.SaveSessionResponseSchema, responseToWire.saveSession(answer));
      expect(responseFromWire.saveSession(saved)).toStrictEqual(answer);
      const read = sent(service.GetSessionResponseSchema, responseToWire.getSession(answer));
      expect(responseFromWire.getSession(read)).toStrictEqual(answer);
      const forked = sent(service.ForkSessionResponseSchema, responseToWire.forkSession(answer));
      expect(responseFromWire.forkSession(forked)).toStrictEqual(answer);
      const restored = sent(service.RestoreSessionResponseSchema, responseToWire.restoreSession(answer));
      expect(responseFromWire.restoreSession(restored)).toStrictEqual(answer);
    }
    const none = sent(service.GetSessionResponseSchema, responseToWire.getSession(undefined));
    expect(responseFromWire.getSession(none)).toBeUndefined();
    const listing = { sessions: [session, bare], nextPageToken: "t" };
    const listed = sent(service.ListSessionsResponseSchema, responseToWire.listSessions(listing));
    expect(responseFromWire.listSessions(listed)).toStrictEqual(listing);
    const gone = sent(service.DeleteSessionResponseSchema, responseToWire.deleteSession(true));
    expect(responseFromWire.deleteSession(gone)).toBe(true);
  });

  test("entries", () => {
    const read = sent(service.GetStateResponseSchema, responseToWire.getState(entry));
    expect(responseFromWire.getState(read)).toStrictEqual(entry);
    const none = sent(service.GetStateResponseSchema, responseToWire.getState(undefined));
    expect(responseFromWire.getState(none)).toBeUndefined();
    const written = sent(service.SetStateResponseSchema, responseToWire.setState(entry));
    expect(responseFromWire.setState(written)).toStrictEqual(entry);
    const removed = { deleted: true, revision: 4 };
    const removal = sent(service.DeleteStateResponseSchema, responseToWire.deleteState(removed));
    expect(responseFromWire.deleteState(removal)).toStrictEqual(removed);
    const listing = { entries: [entry], nextPageToken: "t" };
    const listed = sent(service.ListStateResponseSchema, responseToWire.listState(listing));
    expect(responseFromWire.listState(listed)).toStrictEqual(listing);
    for (const answer of [
      { revision: 3, updateTime: 9, entries: [entry, deleted] },
      { revision: 0, entries: [] },
    ]) {
      const done = sent(service.CommitResponseSchema, responseToWire.commit(answer));
      expect(responseFromWire.commit(done)).toStrictEqual(answer);
    }
  });

  test("events and watches", () => {
    const { requestId: _, ...anonymous } = event;
    const kinds = ["COMMITTED", "SAVED", "DELETED", "EXPIRED", "FORKED", "RESTORED"] as const;
    const listing = { events: [anonymous, ...kinds.map((kind) => ({ ...event, kind }))], nextPageToken: "" };
    const listed = sent(service.ListEventsResponseSchema, responseToWire.listEvents(listing));
    expect(responseFromWire.listEvents(listed)).toStrictEqual(listing);
    const messages: Store.WatchMessage<EncodedForm>[] = [
      { kind: "snapshot", snapshot: bare },
      { kind: "event", event },
      { kind: "progress", revision: 5 },
    ];
    for (const message of messages) {
      const watched = sent(service.WatchSessionResponseSchema, responseToWire.watchSession(message));
      expect(responseFromWire.watchSession(watched)).toStrictEqual(message);
    }
    const change = { session: bare, kind: "EXPIRED" } as const;
    const changed = sent(service.WatchSessionsResponseSchema, responseToWire.watchSessions(change));
    expect(responseFromWire.watchSessions(changed)).toStrictEqual(change);
  });

  test("results of a batch, errors too", () => {
    const results: Store.Result<EncodedForm>[] = [
      { kind: "getState", entry: undefined },
      { kind: "getState", entry },
      { kind: "setState", entry },
      { kind: "deleteState", deleted: false, revision: 0 },
      { kind: "commit", revision: 1, updateTime: 2, entries: [deleted] },
      { kind: "getSession", session },
      { kind: "getSession", session: undefined },
      { kind: "error", error: failure },
    ];
    const batch = sent(service.BatchResponseSchema, responseToWire.batch(results));
    expect(responseFromWire.batch(batch)).toEqual(results);
    const piped = sent(service.PipelineResponseSchema, responseToWire.pipeline(results));
    const [error] = responseFromWire.batch(piped).slice(-1);
    expect(error).toMatchObject({
      error: { reason: "REVISION_MISMATCH", message: "Not as it was.", failedChecks: failure.failedChecks },
    });
  });

  test("what a newer service says is passed over where it can be, and else no answer", () => {
    expect(responseFromWire.watchSession(create(service.WatchSessionResponseSchema))).toBeUndefined();
    const kind = 99 as state.EventKind;
    const newer = create(service.ListEventsResponseSchema, { events: [{ kind, entries: [{}] }] });
    expect(responseFromWire.listEvents(newer).events).toMatchObject([
      { kind: "COMMITTED", time: 0, entries: [{ updateTime: 0 }] },
    ]);
    expect(errorFromWire(create(state.ErrorDetailSchema, { message: "new" })).reason).toBe("OUTCOME_UNKNOWN");
    expect(() => responseFromWire.setState(create(service.SetStateResponseSchema))).toThrow(/lacks a field/);
    const empty = create(service.BatchResponseSchema, { results: [{}] });
    expect(() => responseFromWire.batch(empty)).toThrow(/lacks a field/);
  });
});

describe("durations and times", () => {
  test("every millisecond survives", () => {
    fc.assert(
      fc.property(fc.integer({ min: -62_135_596_800_000, max: 253_402_300_799_999 }), (ms) => {
        expect(fromTimestamp(toTimestamp(ms) as never)).toBe(ms);
      }),
    );
    fc.assert(
      fc.property(fc.maxSafeNat(), (ms) => {
        expect(fromDuration(toDuration(ms) as never)).toBe(ms);
      }),
    );
    expect(toTimestamp(undefined)).toBeUndefined();
    expect(toDuration(undefined)).toBeUndefined();
  });

  test.each([
    [0n, 1, 1],
    [0n, 0, 0],
    [1n, 1_000_001, 1_002],
    [-1n, 0, -1_000],
    [0n, -1, -1],
    [-1n, -500_000, -1_001],
    [1n, -1, Number.NaN],
    [-1n, 1, Number.NaN],
    [0n, 1_000_000_000, Number.NaN],
    [2n ** 62n, 0, 2 ** 62 * 1000],
  ])(
    "a duration of %d s and %d ns is %d ms: rounded up, never to none, refusable if negative or invalid",
    (seconds, nanos, ms) => {
      expect(fromDuration(create(DurationSchema, { seconds, nanos }))).toBe(ms);
    },
  );

  test.each([
    [1n, 1_500_000, 1_001, 1_002],
    [-1n, 500_000, -1_000, -999],
    [0n, -1, Number.NaN, Number.NaN],
    [0n, 1_000_000_000, Number.NaN, Number.NaN],
    [253_402_300_800n, 0, Number.NaN, Number.NaN],
    [-62_135_596_801n, 0, Number.NaN, Number.NaN],
  ])(
    "a time of %d s and %d ns is %d ms as a lower bound, %d as an upper",
    (seconds, nanos, after, before) => {
      const time = create(TimestampSchema, { seconds, nanos });
      const message = create(service.WatchSessionsRequestSchema, { updatedAfter: time, updatedBefore: time });
      expect(requestFromWire.watchSessions(message)).toEqual({ updatedAfter: after, updatedBefore: before });
    },
  );
});

describe("what only a message can say", () => {
  test("a missing value, an unset change and operation, and unknown enum values reach the validator", () => {
    const set = requestFromWire.setState(create(service.SetStateRequestSchema, { sessionId: "s", key: "k" }));
    expect(set).toStrictEqual({ sessionId: "s", key: "k", value: undefined });
    const { changes } = requestFromWire.commit(
      create(service.CommitRequestSchema, { changes: [{}, { change: { case: "merge", value: {} } }] }),
    );
    expect(changes).toStrictEqual([{ kind: undefined }, { kind: "merge", key: "", value: undefined }]);
    const batch = requestFromWire.batch(create(service.BatchRequestSchema, { operations: [{}] }));
    expect(batch.operations).toStrictEqual([{ kind: undefined }]);
    const listing = create(service.ListSessionsRequestSchema, { view: 9 as never, order: 9 as never });
    expect(requestFromWire.listSessions(listing)).toStrictEqual({ view: "9", order: "9" });
  });

  test("revisions beyond 2^53 and negative ones stay refusable", () => {
    const message = create(service.GetStateRequestSchema, { atRevision: 2n ** 62n });
    expect(Number.isSafeInteger(requestFromWire.getState(message).atRevision)).toBe(false);
    const negative = create(service.GetStateRequestSchema, { atRevision: -1n });
    expect(requestFromWire.getState(negative).atRevision).toBe(-1);
  });

  test("of two entries with one name the last counts", () => {
    const labels = [
      { key: "a", value: "1" },
      { key: "a", value: "2" },
    ];
    const { labels: record } = requestFromWire.watchSessions(
      create(service.WatchSessionsRequestSchema, { labels }),
    );
    expect(record).toStrictEqual({ a: "2" });
  });

  test("a save without a session is refused", () => {
    const message = create(service.SaveSessionRequestSchema);
    expect(() => requestFromWire.saveSession(message)).toThrow(
      expect.objectContaining({ reason: "INVALID_REQUEST", metadata: { field: "session" } }),
    );
  });

  test("labels that are given and cleared refuse their operation, and no other of the batch", () => {
    const metadata = { labels: [{ key: "a", value: "b" }], clearLabels: true };
    const message = create(service.BatchRequestSchema, {
      operations: [
        { operation: { case: "getState", value: { key: "first" } } },
        { operation: { case: "commit", value: { metadata } } },
        { operation: { case: "getState", value: { key: "last" } } },
      ],
    });
    const { operations: accepted, refused } = requestFromWire.batch(message);
    expect(accepted).toMatchObject([{ key: "first" }, { key: "last" }]);
    expect([...refused.keys()]).toEqual([1]);
    expect(refused.get(1)).toMatchObject({
      reason: "INVALID_REQUEST",
      metadata: { field: "metadata.clear_labels" },
    });
  });

  test("a broken message is no refusal", () => {
    const operations = [{ operation: { case: "commit", value: undefined } }] as never;
    expect(() => requestFromWire.batch({ operations })).toThrow(TypeError);
  });
});

describe("errors", () => {
  const reasons = Object.keys(CODE_OF_REASON) as ErrorReason[];

  test.each(reasons)("%s keeps its reason, code, text and facts through a status", (reason) => {
    const error = new WorkflowStateError(reason, "What was wrong.", {
      metadata: proto,
      failedChecks: [{ key: "", ifRevision: 1, actualRevision: 0 }],
    });
    const status = toConnectError(error);
    const name = error.code.toLowerCase().replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase());
    expect(Code[status.code]?.toLowerCase()).toBe(name.toLowerCase());
    expect(status.findDetails(ErrorDetailSchema)).toHaveLength(1);
    const back = fromConnectError(status, { write: true });
    expect(back).toMatchObject({
      reason,
      message: "What was wrong.",
      metadata: proto,
      failedChecks: error.failedChecks,
      cause: status,
    });
    expect(errorFromWire(sent(state.ErrorDetailSchema, errorToWire(error)))).toMatchObject({ reason });
  });

  test("an unknown failure says nothing about itself, and is told once", () => {
    const told: unknown[] = [];
    const secret = new Error("password=hunter2");
    const status = toConnectError(secret, (error) => told.push(error));
    expect(status.code).toBe(Code.Internal);
    expect(status.rawMessage).not.toContain("hunter2");
    expect(told).toEqual([secret]);
    expect(toConnectError("thrown text").code).toBe(Code.Internal);
  });

  test("aborts are told apart, and a status stays", () => {
    expect(toConnectError(new DOMException("", "AbortError")).code).toBe(Code.Canceled);
    expect(toConnectError(new DOMException("", "TimeoutError")).code).toBe(Code.DeadlineExceeded);
    expect(toConnectError(new ConnectError("slow", Code.DeadlineExceeded)).rawMessage).toBe(
      "The deadline passed.",
    );
    const status = new ConnectError("malformed", Code.InvalidArgument);
    expect(toConnectError(status)).toBe(status);
  });

  test.each([
    [Code.InvalidArgument, "INVALID_REQUEST", "INVALID_REQUEST"],
    [Code.ResourceExhausted, "REQUEST_TOO_LARGE", "REQUEST_TOO_LARGE"],
    [Code.Unauthenticated, "UNAUTHENTICATED", "UNAUTHENTICATED"],
    [Code.PermissionDenied, "PERMISSION_DENIED", "PERMISSION_DENIED"],
    [Code.Unimplemented, "INVALID_REQUEST", "INVALID_REQUEST"],
    [Code.NotFound, "INVALID_REQUEST", "INVALID_REQUEST"],
    [Code.Unavailable, "STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"],
    [Code.DeadlineExceeded, "STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"],
    [Code.Internal, "STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"],
  ] as const)("status %d without a detail is %s for a read, %s for a write", (code, read, write) => {
    const error = new ConnectError("said", code);
    expect(fromConnectError(error, { write: false })).toMatchObject({ reason: read, cause: error });
    expect(fromConnectError(error, { write: true })).toMatchObject({ reason: write, cause: error });
  });

  test("a connection that was never made wrote nothing", () => {
    const refused = Object.assign(new Error("connect"), { code: "ECONNREFUSED" });
    const status = new ConnectError(
      "x",
      Code.Unavailable,
      undefined,
      undefined,
      new Error("x", { cause: refused }),
    );
    expect(fromConnectError(status, { write: true }).reason).toBe("STORE_UNAVAILABLE");
    const circle = new Error("circle");
    circle.cause = circle;
    expect(fromConnectError(circle, { write: true }).reason).toBe("OUTCOME_UNKNOWN");
    expect(fromConnectError("thrown text", { write: true }).reason).toBe("OUTCOME_UNKNOWN");
    expect(fromConnectError(failure, { write: true })).toBe(failure);
  });
});
