/** Everything that can be read of a store's sessions, to compare before and after they were moved. */
import { WorkflowStateError } from "../../src/errors.ts";
import type { CallContext, EncodedForm, EncodedStore, Event, JsonValue } from "../../src/store.ts";
import type { SessionKey } from "../../src/stores/backend.ts";
import { compareUtf8 } from "../../src/stores/order.ts";
import { encodeValue } from "../../src/value.ts";

/** Ids and keys that are easily lost on the way. */
export const ODD_NAMES: readonly string[] = [
  "plain",
  "__proto__",
  "constructor",
  "nul\u0000inside",
  "\u0000",
  "🛒 astral",
  "\uffff after astral in UTF-16",
  "line\nbreak",
  'quote"back\\slash',
  "\u2028",
  "{tag}",
  "%25",
  "é",
];

/** What {@link fill} wrote. */
export interface Filled {
  readonly sessions: readonly SessionKey[];
  /** Makes all writes that carried a request id once more, on any store; gives their answers. */
  replay(store: EncodedStore): Promise<unknown[]>;
}

/**
 * Writes sessions of all kinds, in two namespaces: with odd ids and keys, with all the given values, with a past, metadata and
 * deadlines, forked, restored, deleted, deleted and made again, expired, and one of which only an answer is remembered.
 */
export async function fill(store: EncodedStore, values: readonly JsonValue[]): Promise<Filled> {
  const sessions: SessionKey[] = [];
  const replays: ((store: EncodedStore) => Promise<unknown>)[] = [];
  const encoded = values.map((value) => encodeValue(value));
  const write = async (run: (store: EncodedStore) => Promise<unknown>): Promise<void> => {
    replays.push(run);
    await run(store);
  };
  for (const namespace of ["", "tenant \u0000 ü"]) {
    const context: CallContext = { namespace };
    const seen = (sessionId: string): string => {
      sessions.push({ namespace, sessionId });
      return sessionId;
    };
    for (const [i, name] of ODD_NAMES.entries()) {
      const sessionId = seen(name);
      const value = (n: number): Uint8Array => encoded[(i + n) % encoded.length] as Uint8Array;
      for (const [n, key] of ODD_NAMES.entries()) {
        await store.setState({ sessionId, key, value: value(n) }, context);
      }
      await write((to) =>
        to.commit(
          {
            sessionId,
            requestId: `r ${name}`,
            changes: [
              { kind: "set", key: "plain", value: value(40) },
              { kind: "delete", key: "__proto__" },
              { kind: "increment", key: "count", delta: 1.5 },
              { kind: "append", key: "list", values: [value(41), value(42)] },
              { kind: "set", key: "brief", value: value(43), ttlMs: 3_600_000 },
            ],
            metadata: {
              workflowId: `w ${name}`,
              userId: "u",
              labels: { __proto__x: "1", "b\u0000": "", a: "é" },
            },
          },
          context,
        ),
      );
      await store.commit({ sessionId, metadata: { ttlMs: 7_200_000, idleTtlMs: 3_600_000 } }, context);
    }
    const many = seen("many values");
    for (const [i, value] of encoded.entries()) {
      await store.setState({ sessionId: many, key: `k${i % 50}`, value }, context);
    }
    const fork = seen("fork");
    await write((to) => to.forkSession({ sessionId: many, newSessionId: fork, requestId: "f" }, context));
    await write((to) => to.restoreSession({ sessionId: "fork", atRevision: 1, requestId: "r" }, context));
    const gone = seen("gone");
    await store.setState({ sessionId: gone, key: "k", value: encoded[0] as Uint8Array }, context);
    await write((to) => to.deleteSession({ sessionId: gone, requestId: "d" }, context));
    const again = seen("made again");
    for (let i = 0; i < 2; i++) {
      const session = { sessionId: again, state: new Map([[`k${i}`, encoded[i] as Uint8Array]]), labels: {} };
      await write((to) => to.saveSession({ session, requestId: `s${i}` }, context));
      if (i === 0) await store.deleteSession({ sessionId: again }, context);
    }
    await store.setState({ sessionId: seen("expired"), key: "k", value: encoded[0] as Uint8Array }, context);
    await store.commit({ sessionId: "expired", metadata: { ttlMs: 1 } }, context);
    await store.setState(
      { sessionId: seen("expired key"), key: "k", value: encoded[0] as Uint8Array },
      context,
    );
    await store.setState(
      { sessionId: "expired key", key: "l", value: encoded[1] as Uint8Array, ttlMs: 1 },
      context,
    );
    const never = seen("never");
    await write((to) => to.deleteState({ sessionId: never, key: "k", requestId: "n" }, context));
  }
  // So that what expires has: noted by whoever looks first, and the same for all who look later.
  await new Promise((resolve) => setTimeout(resolve, 20));
  for (const session of sessions) await store.getSession({ sessionId: session.sessionId }, session);
  return {
    sessions,
    replay: async (to) => {
      const answers: unknown[] = [];
      for (const run of replays) answers.push(comparable(await run(to)));
      return answers;
    },
  };
}

/** All that reads give of sessions: listed, as they are, as they were at every revision, and what their events say. */
export async function readAll(store: EncodedStore, sessions: readonly SessionKey[]): Promise<unknown> {
  const namespaces = [...new Set(sessions.map(({ namespace }) => namespace))];
  const listings = [];
  for (const namespace of namespaces) {
    for (const order of ["ID", "UPDATE_TIME_DESC"] as const) {
      listings.push(
        await pages(
          (pageToken) => store.listSessions({ order, view: "FULL", pageSize: 7, pageToken }, { namespace }),
          "sessions",
        ),
      );
    }
    listings.push(
      await pages(
        (pageToken) => store.listSessions({ labels: { a: "é" }, userId: "u", pageToken }, { namespace }),
        "sessions",
      ),
    );
  }
  const details = [];
  for (const { namespace, sessionId } of sessions) {
    const context = { namespace };
    const events = await outcome(
      pages((pageToken) => store.listEvents({ sessionId, pageSize: 3, pageToken }, context), "events"),
    );
    const revisions = Array.isArray(events)
      ? events.map((event) => (event as Event<EncodedForm>).revision)
      : [];
    const last = revisions.at(-1) ?? 0;
    const past = [];
    for (const atRevision of [Math.max(0, (revisions[0] ?? 0) - 1), ...revisions, last + 1]) {
      past.push(await outcome(store.getSession({ sessionId, atRevision }, context)));
    }
    const entries = await pages(
      (pageToken) => store.listState({ sessionId, pageSize: 5, pageToken }, context),
      "entries",
    );
    details.push({
      sessionId,
      now: await outcome(store.getSession({ sessionId }, context)),
      entries,
      events,
      past,
    });
  }
  return comparable({ listings, details });
}

async function pages<Name extends string>(
  page: (
    pageToken: string,
  ) => Promise<{ readonly [N in Name]: readonly unknown[] } & { readonly nextPageToken: string }>,
  name: Name,
): Promise<unknown[]> {
  const all: unknown[] = [];
  let token = "";
  do {
    const answer = await page(token);
    all.push(...answer[name]);
    token = answer.nextPageToken;
  } while (token !== "");
  return all;
}

async function outcome(call: Promise<unknown>): Promise<unknown> {
  try {
    return await call;
  } catch (error) {
    if (!WorkflowStateError.is(error)) throw error;
    return { reason: error.reason, metadata: error.metadata };
  }
}

/** Plain data: maps by their keys in order, bytes as hex, and nothing that is undefined. */
function comparable(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  if (value instanceof Map) return [...value].sort(([a], [b]) => compareUtf8(a, b)).map(comparable);
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return Object.fromEntries(members.map(([name, member]) => [name, comparable(member)]));
}
