/** What the lines of an export may be: each that is wrong is refused, by its number, before its session is there. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { exportLines } from "../../src/cli/export-lines.ts";
import { type ImportOptions, importLines } from "../../src/cli/import-lines.ts";
import { answerKeeper } from "../../src/cli/sealing.ts";
import { openBackend } from "../../src/open.ts";
import { DEFAULT_LIMITS } from "../../src/store.ts";
import type { Backend, SessionKey } from "../../src/stores/backend.ts";
import { Keyring } from "../../src/stores/keyring.ts";
import { headsOf, type Moved } from "../../src/stores/moving.ts";
import { packCommit, packSession } from "../../src/stores/packed.ts";
import { encodeValue } from "../../src/value.ts";
import { errorOf } from "../support/failures.ts";
import { gathered } from "../support/gathered.ts";

type Json = Readonly<Record<string, unknown>>;

const HEADER = { format: "workflow-state-export", version: 1 };
const METADATA = { createTime: 1000, labels: { l: "1" } };
const SESSION = {
  type: "session",
  namespace: "",
  sessionId: "s",
  revision: 3,
  born: 0,
  oldest: 1,
  expiredRevision: 0,
  metadataRevision: 1,
  updateTime: 3000,
  activeTime: 3000,
  metadata: METADATA,
};
const ENTRY = { type: "entry", key: "k", revision: 3, updateTime: 3000, value: { a: ["secret"] } };
const OLD = { type: "entry", key: "k", revision: 1, updateTime: 1000, ended: 3, value: 1 };
const OTHER = { type: "entry", key: "l", revision: 2, updateTime: 2000, expireTime: 4e12, value: null };
const event = (revision: number, ...keys: Json[]): Json => ({
  type: "event",
  revision,
  kind: "COMMITTED",
  time: revision * 1000,
  metadata: METADATA,
  keys,
});
const EVENTS = [
  event(1, { key: "k" }),
  event(2, { key: "l" }),
  event(3, { key: "k" }, { key: "m", removed: true }),
];
const REQUEST = {
  type: "request",
  requestId: "r",
  time: 3000,
  fingerprint: "abcdefghijklmnopqrstuvwx",
  revision: 3,
  updateTime: 3000,
  wrote: true,
  kept: "AQID",
};
/** An entry in an answer. */
const KEPT = { key: "k", value: encodeValue("secret"), ttlMs: undefined, expireTime: undefined };
const END = { type: "end", sessions: 1 };
const WHOLE: readonly Json[] = [HEADER, SESSION, OLD, ENTRY, OTHER, ...EVENTS, REQUEST, END];

let folder: string;
let backend: Backend;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "workflow-state-import-"));
  backend = await openBackend(`sqlite:${join(folder, "state.db")}`, {
    retention: { requestRetentionMs: 1e13 },
  });
});

afterAll(async () => {
  await backend.close();
  rmSync(folder, { recursive: true, force: true });
});

const keep = (_: SessionKey, __: string, value: Uint8Array): Uint8Array => value;

function importAll(lines: readonly unknown[], options: Partial<ImportOptions> = {}): Promise<Moved> {
  const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
  async function* chunks(): AsyncGenerator<Uint8Array> {
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length; at += 100) yield bytes.subarray(at, at + 100);
  }
  return importLines(chunks(), backend, {
    limits: DEFAULT_LIMITS,
    seal: keep,
    keep,
    remember: answerKeeper(undefined),
    ...options,
  });
}

/** The whole file with one line in another's place; `undefined`: without that line. */
function instead(of: Json, line: unknown): unknown[] {
  return WHOLE.flatMap((original) => (original === of ? (line === undefined ? [] : [line]) : [original]));
}

test("the file that the others are spoiled from is whole, and comes back as it was", async () => {
  expect(await importAll(WHOLE)).toEqual({ moved: 1, unchanged: 0, conflicts: 0, complete: true });
  const lines = (await gathered(exportLines(backend, {}))).map((line) => JSON.parse(line));
  expect(lines).toEqual(WHOLE);
  const [head] = await headsOf(backend, [{ namespace: "", sessionId: "s" }]);
  // Of the live entries: keys and encoded values.
  expect([head?.entries, head?.bytes]).toEqual([
    2,
    2 + encodeValue(ENTRY.value).length + encodeValue(null).length,
  ]);
});

const without = (record: Json, field: string): Json => {
  const { [field]: _, ...rest } = record;
  return rest;
};

const WRONG: [what: string, lines: unknown[], line: number, message: RegExp][] = [
  ["no header", instead(HEADER, undefined), 1, /no export/],
  ["a header of another format", instead(HEADER, { ...HEADER, format: "secret" }), 1, /no export/],
  ["a header with more", instead(HEADER, { ...HEADER, secret: 1 }), 1, /not known here/],
  ["a version that is none", instead(HEADER, { ...HEADER, version: "1" }), 1, /version must be/],
  ["a line that is no object", instead(ENTRY, ["secret"]), 4, /no JSON object/],
  ["a line of no type", instead(ENTRY, without(ENTRY, "type")), 4, /type is missing/],
  ["a line of another type", instead(ENTRY, { ...ENTRY, type: "secret" }), 4, /type must be session, entry/],
  ["an entry before any session", instead(SESSION, undefined), 2, /type must be session, before/],
  ["a field that is not known", instead(ENTRY, { ...ENTRY, secret: 1 }), 4, /not known here/],
  ["a session without an id", instead(SESSION, without(SESSION, "sessionId")), 2, /sessionId is missing/],
  ["a session with an empty id", instead(SESSION, { ...SESSION, sessionId: "" }), 2, /session id is empty/],
  [
    "a session with a long id",
    instead(SESSION, { ...SESSION, sessionId: "x".repeat(257) }),
    2,
    /longer than 256/,
  ],
  ["an id with a lone surrogate", instead(SESSION, { ...SESSION, sessionId: "\ud800" }), 2, /must be text/],
  [
    "a revision that is none",
    instead(SESSION, { ...SESSION, revision: 1.5 }),
    2,
    /revision must be a whole number/,
  ],
  [
    "a revision beyond what is exact",
    instead(SESSION, { ...SESSION, revision: 2 ** 53 }),
    2,
    /revision must be/,
  ],
  ["a session born after its revision", instead(SESSION, { ...SESSION, born: 4 }), 2, /born must not/],
  ["an oldest revision before its birth", instead(SESSION, { ...SESSION, born: 2 }), 2, /oldest must be/],
  ["an oldest revision in the future", instead(SESSION, { ...SESSION, oldest: 5 }), 2, /oldest must be/],
  [
    "an expiry in the future",
    instead(SESSION, { ...SESSION, expiredRevision: 4 }),
    2,
    /expiredRevision must/,
  ],
  [
    "metadata of the future",
    instead(SESSION, { ...SESSION, metadataRevision: 4 }),
    2,
    /metadataRevision must/,
  ],
  [
    "metadata that is none",
    instead(SESSION, { ...SESSION, metadata: "secret" }),
    2,
    /metadata must be an object/,
  ],
  [
    "labels that are none",
    instead(SESSION, { ...SESSION, metadata: { ...METADATA, labels: ["secret"] } }),
    2,
    /metadata\.labels must/,
  ],
  [
    "a label without text",
    instead(SESSION, { ...SESSION, metadata: { ...METADATA, labels: { a: 1 } } }),
    2,
    /metadata\.labels/,
  ],
  [
    "a workflow id that is too long",
    instead(SESSION, { ...SESSION, metadata: { ...METADATA, workflowId: "x".repeat(257) } }),
    2,
    /workflow_id is longer/,
  ],
  [
    "an idle ttl that is none",
    instead(SESSION, { ...SESSION, metadata: { ...METADATA, idleTtlMs: -1 } }),
    2,
    /metadata\.idleTtlMs must/,
  ],
  [
    "metadata with more",
    instead(SESSION, { ...SESSION, metadata: { ...METADATA, secret: 1 } }),
    2,
    /not known here/,
  ],
  [
    "a fork of nothing",
    instead(SESSION, { ...SESSION, metadata: { ...METADATA, forkedFrom: { sessionId: "", revision: 1 } } }),
    2,
    /session id is empty/,
  ],
  ["an entry without a key", instead(ENTRY, { ...ENTRY, key: "" }), 4, /key is empty/],
  ["an entry without a value", instead(ENTRY, without(ENTRY, "value")), 4, /value is missing/],
  [
    "a value that is too deep",
    instead(ENTRY, { ...ENTRY, value: JSON.parse(`${"[".repeat(33)}"secret"${"]".repeat(33)}`) }),
    4,
    /deeper than 32/,
  ],
  [
    "a value that is too large",
    instead(ENTRY, { ...ENTRY, value: "x".repeat(DEFAULT_LIMITS.valueBytes) }),
    4,
    /larger than/,
  ],
  [
    "an encrypted value that is none",
    instead(ENTRY, { ...without(ENTRY, "value"), sealed: 1 }),
    4,
    /sealed must be text/,
  ],
  ["a value both ways", instead(ENTRY, { ...ENTRY, sealed: "wse1:secret" }), 4, /not known here/],
  ["an entry of the future", instead(ENTRY, { ...ENTRY, revision: 4 }), 4, /after its session's revision/],
  [
    "an entry that ended in the future",
    instead(OLD, { ...OLD, ended: 4 }),
    3,
    /after its session's revision/,
  ],
  ["an entry that ended before it was", instead(OLD, { ...OLD, ended: 1 }), 3, /ended must be/],
  ["an entry twice", [...WHOLE.slice(0, 4), ENTRY, ...WHOLE.slice(4)], 5, /there twice/],
  ["two entries of a key", instead(OLD, without(OLD, "ended")), 4, /there twice/],
  [
    "a live entry of a dead session",
    instead(SESSION, without(SESSION, "metadata")),
    4,
    /must have ended too/,
  ],
  ["an event that is missing", instead(EVENTS[1] as Json, undefined), 7, /all revisions from oldest on/],
  ["events that end too early", instead(EVENTS[2] as Json, undefined), 2, /events end before/],
  ["an event of no kind", instead(EVENTS[0] as Json, { ...EVENTS[0], kind: "SECRET" }), 6, /kind must be/],
  [
    "an event without keys",
    instead(EVENTS[0] as Json, { ...EVENTS[0], keys: "secret" }),
    6,
    /keys must be a list/,
  ],
  [
    "an event with a key that is none",
    instead(EVENTS[0] as Json, { ...EVENTS[0], keys: [{ key: 1 }] }),
    6,
    /keys\.key must be text/,
  ],
  [
    "an event with a flag that is none",
    instead(EVENTS[0] as Json, { ...EVENTS[0], keys: [{ key: "k", removed: 1 }] }),
    6,
    /keys\.removed must be/,
  ],
  ["an event of an entry that is not there", instead(OLD, undefined), 5, /must name entries that are there/],
  [
    "an end that is none",
    instead(EVENTS[2] as Json, { ...EVENTS[2], ended: true }),
    8,
    /must end the session exactly if/,
  ],
  [
    "a request id that is too long",
    instead(REQUEST, { ...REQUEST, requestId: "x".repeat(129) }),
    9,
    /requestId must have 1 to 128/,
  ],
  [
    "a fingerprint that is none",
    instead(REQUEST, { ...REQUEST, fingerprint: "secret" }),
    9,
    /fingerprint must have 24/,
  ],
  [
    "an answer that is no base64",
    instead(REQUEST, { ...REQUEST, kept: "secret!" }),
    9,
    /kept must be base64/,
  ],
  [
    "an answer that wrote nobody knows what",
    instead(REQUEST, { ...REQUEST, wrote: "yes" }),
    9,
    /wrote must be/,
  ],
  ["a request id twice", instead(REQUEST, REQUEST).toSpliced(9, 0, REQUEST), 10, /same request id/],
  [
    "another number of sessions",
    instead(END, { ...END, sessions: 2 }),
    10,
    /says 2 sessions, and there are 1/,
  ],
  ["no end", instead(END, undefined), 10, /file ends here/],
  ["more after the end", [...WHOLE, SESSION], 11, /comes after the end/],
];

describe("a file is refused that has", () => {
  test.each(WRONG)("%s", async (_, lines, number, message) => {
    const error = await errorOf(importAll(lines, { overwrite: true }));
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(new RegExp(`^Line ${number}: `));
    expect(error.metadata["line"]).toBe(String(number));
    expect(`${error.message} ${JSON.stringify(error.metadata)}`).not.toMatch(/secret/i);
  });

  test("more entries than a session may have", async () => {
    const error = await errorOf(
      importAll(WHOLE, { limits: { ...DEFAULT_LIMITS, entries: 1 }, overwrite: true }),
    );
    expect([error.reason, error.metadata["line"]]).toEqual(["TOO_MANY_ENTRIES", "2"]);
  });
});

test.each([
  ["nothing", undefined],
  ["what is no answer", Uint8Array.from([1, 2, 3])],
  ["what ends too early", packCommit({ entries: [], whole: true }).subarray(0, 9)],
  ["a plain value", packCommit({ entries: [KEPT], whole: true })],
  ["a part of an answer", packCommit({ entries: [], whole: false })],
  ["a session without values", packSession({ sessionId: "s", state: new Map(), labels: {} } as never)],
  [
    "a session that says it is whole, with a plain value",
    packSession({ sessionId: "s", state: new Map([["k", KEPT.value]]), labels: {} } as never, true),
  ],
])(
  "of a remembered answer that keeps %s, only its id and its outcome are imported with keys",
  async (what, kept) => {
    const remember = answerKeeper(new Keyring([{ key: new Uint8Array(32) }]));
    const request = { ...without(REQUEST, "kept"), kept: kept && Buffer.from(kept).toString("base64") };
    const sessionId = `answer that keeps ${what}`;
    const lines = instead(REQUEST, request).map((line) =>
      line === SESSION ? { ...SESSION, sessionId } : line,
    );
    expect(await importAll(lines, { remember })).toMatchObject({ moved: 1 });
    const exported = (await gathered(exportLines(backend, {}))).map((line) => JSON.parse(line) as Json);
    const imported = exported
      .slice(exported.findIndex((line) => line["sessionId"] === sessionId))
      .find(({ type }) => type === "request");
    const fingerprint = imported?.["fingerprint"] as string;
    expect(fingerprint).toMatch(/^[\w-]{24}$/);
    expect(fingerprint).not.toBe(REQUEST.fingerprint);
    expect(imported).toEqual({ ...without(REQUEST, "kept"), fingerprint });
  },
);

test("lines of sessions that are left alone are checked too", async () => {
  await importAll(WHOLE);
  const error = await errorOf(importAll(instead(REQUEST, { ...REQUEST, wrote: 1 })));
  expect(error.metadata["line"]).toBe("9");
});

test("a session too large to be sorted is exported as it comes, and can be imported", async () => {
  const large = "x".repeat(1_000_000);
  const entries = Array.from({ length: 18 }, (_, i) => ({ ...OTHER, key: `l${i}`, value: large }));
  const written = event(2, ...entries.map(({ key }) => ({ key })));
  const session = { ...SESSION, sessionId: "too large" };
  const lines = [HEADER, session, OLD, ENTRY, ...entries, EVENTS[0], written, EVENTS[2], END];
  expect(await importAll(lines)).toMatchObject({ moved: 1 });
  const exported = (await gathered(exportLines(backend, {}))).map((line) => JSON.parse(line) as Json);
  const start = exported.findIndex(({ sessionId }) => sessionId === "too large");
  const own = exported.slice(start, start + lines.length - 2);
  expect(own[0]).toEqual(session);
  expect(own).toEqual(expect.arrayContaining(lines.slice(1, -1)));
  expect(await importAll([HEADER, ...own, END], { overwrite: true })).toMatchObject({ unchanged: 1 });
});

test("a session larger than what is gathered comes whole, or not at all", async () => {
  const large = "x".repeat(700_000);
  const entries = Array.from({ length: 5 }, (_, i) => ({
    ...OTHER,
    key: `l${i}`,
    revision: 2,
    value: large,
  }));
  const lines: Json[] = [HEADER];
  for (const sessionId of ["large 1", "large 2", "small"]) {
    lines.push({ ...SESSION, sessionId }, OLD, ENTRY, ...entries, EVENTS[0] as Json);
    lines.push(event(2, ...entries.map(({ key }) => ({ key }))), EVENTS[2] as Json);
  }
  const keys = ["large 1", "large 2", "small"].map((sessionId) => ({ namespace: "", sessionId }));
  const error = await errorOf(
    importAll([...lines.toSpliced(5, 1, { ...entries[2], key: "" }), { ...END, sessions: 3 }]),
  );
  expect(error.metadata["line"]).toBe("6");
  expect(await headsOf(backend, keys)).toEqual([undefined, undefined, undefined]);
  expect(await importAll([...lines, { ...END, sessions: 3 }])).toMatchObject({ moved: 3, complete: true });
  expect((await headsOf(backend, keys)).map((head) => head?.entries)).toEqual([6, 6, 6]);
  expect(await importAll([...lines, { ...END, sessions: 3 }])).toMatchObject({ moved: 0, unchanged: 3 });
});
