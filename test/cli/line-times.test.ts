/** How late the times of an import may be: each so that a service can say it, and so can every write after it. */
import { describe, expect, test } from "vitest";
import { importLines } from "../../src/cli/import-lines.ts";
import { answerKeeper } from "../../src/cli/sealing.ts";
import { openBackend, openEncodedStore } from "../../src/open.ts";
import { startServer } from "../../src/server.ts";
import { DEFAULT_LIMITS } from "../../src/store.ts";
import type { SessionKey } from "../../src/stores/backend.ts";
import { MAX_TTL_MS } from "../../src/validate.ts";
import { freshUrl } from "../support/cli-stores.ts";
import { errorOf } from "../support/failures.ts";

/** 9999-12-31T23:59:59.999Z: what a google.protobuf.Timestamp can say at most. */
const LAST = 253_402_300_799_999;
/** The last time of a write: the longest ttl from then on ends in time. */
const LAST_WRITE = LAST - MAX_TTL_MS;

type Json = Record<string, unknown>;

/** The lines of a session of two keys, with its times as given. */
function linesOf(times: Readonly<Record<string, number>> = {}): Json[] {
  const time = (name: string): number => times[name] ?? 1_000;
  const metadata = (at: string): Json => ({
    createTime: time(`${at}.createTime`),
    labels: { stage: "open" },
    expireTime: times[`${at}.expireTime`] ?? 4e12,
  });
  return [
    { format: "workflow-state-export", version: 1 },
    {
      ...{ type: "session", namespace: "", sessionId: "s", revision: 1, born: 0, oldest: 1 },
      ...{ expiredRevision: 0, metadataRevision: 1 },
      updateTime: time("session.updateTime"),
      activeTime: time("session.activeTime"),
      metadata: metadata("session.metadata"),
    },
    {
      ...{ type: "entry", key: "k", revision: 1, value: 1 },
      updateTime: time("entry.updateTime"),
      expireTime: times["entry.expireTime"] ?? 4e12,
    },
    {
      ...{ type: "event", revision: 1, kind: "COMMITTED", keys: [{ key: "k" }] },
      time: time("event.time"),
      expireTime: times["event.expireTime"] ?? 4e12,
      metadata: metadata("event.metadata"),
    },
    {
      ...{
        type: "request",
        requestId: "r",
        fingerprint: "abcdefghijklmnopqrstuvwx",
        revision: 1,
        wrote: true,
      },
      time: time("request.time"),
      updateTime: time("request.updateTime"),
    },
    { type: "end", sessions: 1 },
  ];
}

const keep = (_: SessionKey, __: string, value: Uint8Array): Uint8Array => value;

/** Imports lines into a new store, and gives its URL. */
async function imported(lines: readonly Json[]): Promise<string> {
  const url = freshUrl();
  const backend = await openBackend(url);
  async function* chunks(): AsyncGenerator<Uint8Array> {
    yield new TextEncoder().encode(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  }
  try {
    await importLines(chunks(), backend, {
      limits: DEFAULT_LIMITS,
      seal: keep,
      keep,
      remember: answerKeeper(undefined),
    });
  } finally {
    await backend.close();
  }
  return url;
}

/** Serves a store, and gives what calls in JSON answer: each a method with its request. */
async function answers(url: string, calls: readonly [method: string, request: Json][]): Promise<Json[]> {
  const store = await openEncodedStore(url);
  const server = await startServer({ store, listen: { port: 0 } });
  try {
    const said: Json[] = [];
    for (const [method, request] of calls) {
      const response = await fetch(`${server.url}/agenterra.state.v1.WorkflowStateService/${method}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(request),
      });
      const json = (await response.json()) as Json;
      expect([method, response.status, json]).toMatchObject([method, 200, {}]);
      said.push(json);
    }
    return said;
  } finally {
    await server.close({ now: true });
    await store.close();
  }
}

const TIMES: [name: string, line: number, last: number][] = [
  ["session.updateTime", 2, LAST_WRITE],
  ["session.activeTime", 2, LAST_WRITE],
  ["session.metadata.createTime", 2, LAST_WRITE],
  ["session.metadata.expireTime", 2, LAST],
  ["entry.updateTime", 3, LAST_WRITE],
  ["entry.expireTime", 3, LAST],
  ["event.time", 4, LAST_WRITE],
  ["event.expireTime", 4, LAST],
  ["event.metadata.createTime", 4, LAST_WRITE],
  ["event.metadata.expireTime", 4, LAST],
  ["request.time", 5, LAST_WRITE],
  ["request.updateTime", 5, LAST_WRITE],
];

describe("of an import", () => {
  test.each(TIMES)(
    "%s is refused, with its line, where it is too late to be said",
    async (name, line, last) => {
      const field = name.slice(name.indexOf(".") + 1);
      const error = await errorOf(imported(linesOf({ [name]: last + 1 })));
      expect([error.reason, error.metadata["line"]]).toEqual(["INVALID_REQUEST", String(line)]);
      expect(error.message).toBe(`Line ${line}: ${field} must be a whole number from 0 to ${last}.`);
      await expect(imported(linesOf({ [name]: 1.5 }))).rejects.toThrow(`Line ${line}: ${field} must be`);
    },
  );

  test("all times may be the last ones: everything is still answered, and can be written", async () => {
    const url = await imported(linesOf(Object.fromEntries(TIMES.map(([name, , last]) => [name, last]))));
    const ttl = `${MAX_TTL_MS / 1000}s`;
    const said = await answers(url, [
      ["ListSessions", {}],
      ["GetSession", { sessionId: "s" }],
      ["ListEvents", { sessionId: "s" }],
      ["SetState", { sessionId: "s", key: "l", value: 2, ttl }],
      ["Commit", { sessionId: "s", metadata: { ttl, idleTtl: ttl } }],
      ["GetSession", { sessionId: "s" }],
      ["ListSessions", {}],
      ["ListState", { sessionId: "s" }],
    ]);
    expect(said[0]).toMatchObject({ sessions: [{ sessionId: "s", expireTime: "9999-12-31T23:59:59.999Z" }] });
    expect(said.at(-2)).toMatchObject({ sessions: [{ expireTime: "9999-12-31T23:59:59.999Z" }] });
  });
});
