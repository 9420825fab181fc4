/** What the cases share: listings read page by page, streams message by message, time as it passes, texts of a size. */
import type {
  CallOptions,
  Entry,
  Event,
  JsonValue,
  Session,
  SessionChange,
  SessionFilter,
  WatchMessage,
  WatchSessionRequest,
  WorkflowStateStore,
} from "../store.ts";
import { type ConformanceHarness, expectDefined, expectTrue } from "./harness.ts";

/** The session, which must be there. */
export async function mustGet(store: WorkflowStateStore, sessionId: string): Promise<Session> {
  return expectDefined(await store.getSession(sessionId), "the session");
}

/** All entries of a session, page by page. */
export async function allEntries(
  store: WorkflowStateStore,
  sessionId: string,
  options: Parameters<WorkflowStateStore["listState"]>[1] = {},
): Promise<Entry[]> {
  return allPages(
    (pageToken) => store.listState(sessionId, { ...options, pageToken }),
    (page) => page.entries,
  );
}

/** All sessions that match, page by page. */
export async function allSessions(
  store: WorkflowStateStore,
  request: Parameters<WorkflowStateStore["listSessions"]>[0] = {},
): Promise<Session[]> {
  return allPages(
    (pageToken) => store.listSessions({ ...request, pageToken }),
    (page) => page.sessions,
  );
}

/** All events of a session, page by page. */
export async function allEvents(
  store: WorkflowStateStore,
  sessionId: string,
  options: Parameters<WorkflowStateStore["listEvents"]>[1] = {},
): Promise<Event[]> {
  return allPages(
    (pageToken) => store.listEvents(sessionId, { ...options, pageToken }),
    (page) => page.events,
  );
}

async function allPages<P extends { readonly nextPageToken: string }, T>(
  read: (pageToken: string) => Promise<P>,
  items: (page: P) => readonly T[],
): Promise<T[]> {
  const all: T[] = [];
  let pageToken = "";
  do {
    const page = await read(pageToken);
    all.push(...items(page));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return all;
}

/** The state that a session's events leave, applied one by one to what was before. */
export function applyEvent(state: Map<string, JsonValue>, event: Event): void {
  const whole = event.kind === "DELETED" || (event.kind === "EXPIRED" && event.entries.length === 0);
  if (whole || event.kind === "FORKED") {
    state.clear();
  }
  for (const { key, value } of event.entries) {
    if (value === undefined) {
      state.delete(key);
    } else {
      state.set(key, value);
    }
  }
}

/** What an event says, without its times: to compare. Its entries by key; deleted ones are `undefined` among them. */
export function summary(event: Event): {
  readonly kind: string;
  readonly revision: number;
  readonly entries: (readonly [key: string, value: JsonValue | undefined])[];
} {
  const entries = event.entries.map(({ key, value }) => [key, value] as const);
  return {
    kind: event.kind,
    revision: event.revision,
    entries: entries.sort((a, b) => (a[0] < b[0] ? -1 : 1)),
  };
}

/** A watch on a session, read message by message; it holds the messages to what every watch must keep. */
export class Watch {
  readonly #sessionId: string;
  readonly #messages: AsyncIterator<WatchMessage>;
  #reached: number;

  constructor(messages: AsyncIterable<WatchMessage>, sessionId: string, afterRevision: number) {
    this.#messages = messages[Symbol.asyncIterator]();
    this.#sessionId = sessionId;
    this.#reached = afterRevision;
  }

  /** The next message that is not a mere sign of progress. */
  async next(): Promise<Exclude<WatchMessage, { readonly kind: "progress" }>> {
    for (;;) {
      const { value: message, done } = await this.#messages.next();
      expectTrue(done !== true, "a watch does not end by itself");
      switch (message.kind) {
        case "progress":
          expectTrue(message.revision >= this.#reached, "progress does not go back");
          this.#reached = message.revision;
          break;
        case "snapshot":
          this.#reached = message.snapshot.revision;
          return message;
        case "event":
          expectTrue(
            message.event.sessionId === this.#sessionId,
            "an event is of the session that is watched",
          );
          expectTrue(
            message.event.revision > this.#reached,
            "no event comes twice, or after progress beyond it",
          );
          this.#reached = message.event.revision;
          return message;
      }
    }
  }

  /** The next message, which must be a snapshot. */
  async snapshot(): Promise<Session> {
    const message = await this.next();
    expectTrue(message.kind === "snapshot", `the message is a snapshot, not an ${message.kind}`);
    return message.snapshot;
  }

  /** The next message, which must be an event. */
  async event(): Promise<Event> {
    const message = await this.next();
    expectTrue(message.kind === "event", `the message is an event, not a ${message.kind}`);
    return message.event;
  }

  /** The next events, that many. */
  async events(count: number): Promise<Event[]> {
    const events: Event[] = [];
    while (events.length < count) {
      events.push(await this.event());
    }
    return events;
  }
}

/** Watches a session while `read` runs, and then ends the watch. */
export async function watching(
  store: WorkflowStateStore,
  sessionId: string,
  options: Omit<WatchSessionRequest, "sessionId">,
  read: (watch: Watch) => Promise<void>,
): Promise<void> {
  const ended = new AbortController();
  const messages = store.watchSession(sessionId, { ...options, signal: ended.signal });
  try {
    await read(new Watch(messages, sessionId, options.afterRevision ?? 0));
  } finally {
    ended.abort();
  }
}

/**
 * Watches sessions while `read` runs. The watch is live, and nothing says that it has begun: sessions that match are made
 * by `poke` until the first is seen, and what is about them is left out. Each must be of an id that begins with `pokePrefix`.
 */
export async function watchingSessions(
  store: WorkflowStateStore,
  filter: SessionFilter & CallOptions,
  poke: { readonly prefix: string; make(sessionId: string): Promise<unknown> },
  read: (next: () => Promise<SessionChange>) => Promise<void>,
): Promise<void> {
  const ended = new AbortController();
  const changes = store.watchSessions({ ...filter, signal: ended.signal })[Symbol.asyncIterator]();
  const next = async (): Promise<SessionChange> => {
    for (;;) {
      const { value: change, done } = await changes.next();
      expectTrue(done !== true, "a watch does not end by itself");
      if (!change.session.sessionId.startsWith(poke.prefix)) {
        return change;
      }
    }
  };
  try {
    let begun = false;
    const first = changes.next().then(
      () => {
        begun = true;
      },
      (error: unknown) => {
        begun = true;
        throw error;
      },
    );
    first.catch(() => undefined);
    for (let i = 0; !begun; i += 1) {
      await poke.make(`${poke.prefix}${i}`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await first;
    await read(next);
  } finally {
    ended.abort();
  }
}

/**
 * Reads what expires at `expireTime` and holds the answer to the clock: there before, hidden from then on. Where the clock
 * is a real one, a read that spans the moment may answer either.
 */
export async function expectUntil(
  harness: ConformanceHarness,
  expireTime: Date,
  read: () => Promise<unknown>,
  what: string,
): Promise<void> {
  const before = harness.clock.now();
  const there = (await read()) !== undefined;
  const after = harness.clock.now();
  const expires = expireTime.getTime();
  expectTrue(there ? before < expires : after >= expires, `${what} ${there ? "is hidden" : "is there"}`);
}

/** A text whose encoded value has just so many bytes: a tag, a length and the text. */
export function textOfBytes(bytes: number): string {
  for (let overhead = 2; overhead <= 6; overhead += 1) {
    const length = bytes - overhead;
    const lengthBytes = Math.max(1, Math.ceil(Math.log2(length + 1) / 7));
    if (1 + lengthBytes === overhead) {
      return "x".repeat(length);
    }
  }
  throw new RangeError("no text has just so many bytes");
}
