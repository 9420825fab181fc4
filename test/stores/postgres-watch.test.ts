/** How commits reach those who watch a PostgreSQL database: the feed, which is complete, and hints, which make it quick. */
import type { Client } from "pg";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { DEFAULT_LIMITS } from "../../src/store.ts";
import type { SessionKey } from "../../src/stores/backend.ts";
import { durableStore } from "../../src/stores/durable.ts";
import { openPostgres } from "../../src/stores/postgres.ts";
import { DEFAULT_RETENTION } from "../../src/stores/retention.ts";
import { startPgbouncer } from "../support/pgbouncer.ts";
import type { SharedPostgres } from "../support/postgres.ts";
import {
  changesAfter,
  ending,
  looking,
  openBackendAt,
  POSTGRES,
  run,
  sessionOf,
  setting,
  stateOf,
  until,
} from "../support/postgres-backend.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";

describe.each(POSTGRES)("$name", ({ share }) => {
  let server: SharedPostgres;

  beforeAll(async () => {
    server = await share();
  });

  describe("the feed", () => {
    test("tells each commit once, in an order that agrees with each session's, however many write at once", async () => {
      const url = server.fresh();
      const [a, b] = await Promise.all([openBackendAt(url), openBackendAt(url)]);
      let cursor = await a.feedEnd();
      const made = new Map<string, number>();
      let writing = true;
      const writers = Promise.all(
        Array.from({ length: 12 }, async (_, writer) => {
          for (let i = 0; i < 25; i++) {
            const sessionId = `s${(writer + i) % 5}`;
            const done = await run(writer % 2 === 0 ? a : b, setting(sessionId, `k${writer}`, String(i)));
            if (done.kind === "done") made.set(sessionId, Math.max(made.get(sessionId) ?? 0, done.revision));
          }
        }),
      ).finally(() => {
        writing = false;
      });
      const told = new Map<string, number[]>();
      for (let last = false; ; ) {
        // Small parts: places inside what became visible together.
        const part = await changesAfter(b, cursor, 3);
        expect(part.lost).toBe(false);
        cursor = part.cursor;
        for (const { session, revision } of part.changes) {
          told.set(session.sessionId, [...(told.get(session.sessionId) ?? []), revision]);
        }
        if (last) break;
        last = !writing;
      }
      await writers;
      for (const [sessionId, revision] of made) {
        expect(told.get(sessionId)).toEqual(Array.from({ length: revision }, (_, i) => i + 1));
      }
    });

    test("is not held up by a transaction that stays open, and tells what that commits when it does", async () => {
      const url = server.fresh();
      const backend = await openBackendAt(url);
      const cursor = await backend.feedEnd();
      const slow = await clientOf(server);
      await slow.query("BEGIN");
      // What the store itself would call, in a transaction that somebody does not end.
      await slow.query(
        `SELECT ${schemaOf(url)}.plan('{256,604800000,86400000,10000,67108864}', 'n', 'slow', 0, NULL, NULL, NULL, NULL, NULL, NULL,
           NULL, NULL, NULL, ARRAY['k'::bytea], ARRAY['v'::bytea], NULL, '{1,2}', NULL, NULL, NULL, NULL, NULL)`,
      );
      for (let i = 0; i < 3; i++) await run(backend, setting("quick", "k", String(i)));
      const first = await changesAfter(backend, cursor);
      expect(first.changes.map(({ session, revision }) => [session.sessionId, revision])).toEqual([
        ["quick", 1],
        ["quick", 2],
        ["quick", 3],
      ]);
      expect((await changesAfter(backend, first.cursor)).changes).toEqual([]);
      await slow.query("COMMIT");
      const second = await changesAfter(backend, first.cursor);
      expect(second.changes.map(({ session }) => session)).toEqual([sessionOf("slow")]);
      expect((await changesAfter(backend, second.cursor)).changes).toEqual([]);
    });

    test("tells the session as it was after each commit, and of one that ended what it was before", async () => {
      const backend = await openBackendAt(server.fresh());
      const cursor = await backend.feedEnd();
      const metadata = {
        ...{
          createTime: undefined,
          workflowId: "w",
          userId: undefined,
          labels: { a: "1" },
          forkedFrom: undefined,
        },
        ...{ expireTime: undefined, idleTtlMs: 60_000 },
      };
      await run(backend, { ...setting("s", "k", "1"), metadata });
      await run(backend, { ...setting("s", "k", "2"), metadata: { ...metadata, labels: { a: "2" } } });
      await run(backend, ending("s"));
      await run(backend, setting("s", "k", "4"));
      const { changes } = await changesAfter(backend, cursor);
      expect(changes.map(({ revision, kind, metadata: { labels } }) => [revision, kind, labels])).toEqual([
        [1, "COMMITTED", { a: "1" }],
        [2, "COMMITTED", { a: "2" }],
        [3, "DELETED", { a: "2" }],
        [4, "COMMITTED", {}],
      ]);
      expect(changes[0]).toMatchObject({ expireTime: (changes[0]?.time ?? 0) + 60_000 });
      expect(changes[2]?.expireTime).toBeUndefined();
    });

    test("says so if commits after the cursor are no longer kept", async () => {
      const backend = await openBackendAt(server.fresh(), { history: 2 });
      await run(backend, setting("s", "k", "0"));
      const before = await backend.feedEnd();
      for (let i = 0; i < 30; i++) await run(backend, setting("s", "k", String(i)));
      const part = await changesAfter(backend, before);
      expect(part.lost).toBe(true);
      expect(part.changes.at(-1)?.revision).toBe(31);
      // Who reads on from there has lost nothing.
      await run(backend, setting("s", "k", "x"));
      expect(await changesAfter(backend, part.cursor)).toMatchObject({
        lost: false,
        changes: [{ revision: 32 }],
      });
    });

    test("tells nothing of what was moved in", async () => {
      const backend = await openBackendAt(server.fresh());
      await run(backend, setting("s", "k", "1"));
      const cursor = await backend.feedEnd();
      await backend.load(sessionOf("t"), backend.dump(sessionOf("s")));
      await run(backend, setting("t", "k", "2"));
      const { changes } = await changesAfter(backend, cursor);
      expect(changes.map(({ session, revision }) => [session.sessionId, revision])).toEqual([["t", 2]]);
    });
  });

  describe("hints", () => {
    test("come from other programs as soon as they commit, and name the session", async () => {
      const url = server.fresh();
      const [a, b] = await Promise.all([openBackendAt(url), openBackendAt(url)]);
      const heard = listenTo(a);
      await until(() => a.pollMs === 1_000);
      const odd = { namespace: 'n"\\\0é', sessionId: "\0\u{10ffff}'" };
      await b.run([{ ...setting("", "k", "1"), session: odd }]);
      await until(() => heard.some((session) => session?.sessionId === odd.sessionId));
      expect(heard).toContainEqual(odd);
      // From now on that somebody listens is known: one commit is heard of, and nobody reads who would hear of it otherwise.
      await run(b, setting("quick", "k", "1"));
      await until(() => heard.some((session) => session?.sessionId === "quick"));
      // Many at once, with ids as long as they may be, still come.
      const ids = Array.from({ length: 100 }, (_, i) => `${i}`.padEnd(256, "é").slice(0, 200));
      await b.run(ids.map((sessionId) => setting(sessionId, "k", "1")));
      await until(
        () =>
          heard.includes(undefined) || ids.every((id) => heard.some((session) => session?.sessionId === id)),
      );
    });

    test("are sent only while somebody listens", async () => {
      const url = server.fresh();
      const [a, b] = await Promise.all([openBackendAt(url), openBackendAt(url)]);
      const spy = await clientOf(server);
      let notified = 0;
      spy.on("notification", () => {
        notified++;
      });
      await spy.query(`LISTEN ${schemaOf(url)}`);
      await run(b, setting("s", "k", "1"));
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(notified).toBe(0);
      const stop = a.hints(() => {});
      await until(() => a.pollMs === 1_000);
      await until(async () => {
        await run(b, setting("s", "k", "2"));
        return notified > 1;
      });
      stop();
      await until(async () => (await server.query(`SELECT FROM ${schemaOf(url)}.listener`)).length === 0);
    });

    test("that were lost with their connection delay: what was missed is looked for, and they come again", async () => {
      const url = server.fresh();
      const proxy = await TcpProxy.start(server.port);
      onTestFinished(() => proxy.refuse());
      const watching = await openBackendAt(url.replace(`:${server.port}/`, `:${proxy.port}/`));
      const other = await openBackendAt(url);
      const heard = listenTo(watching);
      await until(() => watching.pollMs === 1_000);
      heard.length = 0;
      await proxy.refuse();
      // Nobody hears anything now: the feed is to be read more often.
      await until(() => watching.pollMs === 100);
      expect(heard).toContain(undefined);
      await proxy.accept();
      heard.length = 0;
      await until(() => watching.pollMs === 1_000);
      expect(heard).toContain(undefined);
      await until(async () => {
        await run(other, setting("after", "k", "1"));
        return heard.some((session) => session?.sessionId === "after");
      });
    });

    test("from connections that are dead without having ended are not waited for", async () => {
      const url = server.fresh();
      const proxy = await TcpProxy.start(server.port);
      onTestFinished(() => proxy.refuse());
      const watching = await openBackendAt(url.replace(`:${server.port}/`, `:${proxy.port}/`));
      listenTo(watching);
      await until(() => watching.pollMs === 1_000);
      proxy.replies = "black hole";
      await until(() => watching.pollMs === 100, 15_000);
      await proxy.accept();
      await until(() => watching.pollMs === 1_000, 15_000);
    });
  });

  test("a watch through one store sees what another one commits, and misses nothing while its connection is lost", async () => {
    const url = server.fresh();
    const proxy = await TcpProxy.start(server.port);
    onTestFinished(() => proxy.refuse());
    const options = { limits: DEFAULT_LIMITS, ...DEFAULT_RETENTION };
    const watching = durableStore(
      await openPostgres(url.replace(`:${server.port}/`, `:${proxy.port}/`), options),
    );
    const writing = durableStore(await openPostgres(url, options));
    onTestFinished(async () => {
      await Promise.all([watching.close(), writing.close()]);
    });
    const value = new Uint8Array([0x20, 1]);
    const seen: number[] = [];
    const stop = new AbortController();
    const watched = (async () => {
      for await (const message of watching.watchSession(
        { sessionId: "s", afterRevision: 0 },
        { signal: stop.signal },
      )) {
        if (message.kind === "event") seen.push(message.event.revision);
      }
    })().catch((error: unknown) => error);
    for (let i = 0; i < 30; i++) {
      await writing.setState({ sessionId: "s", key: "k", value });
      if (i === 10) await proxy.refuse();
      if (i === 20) await proxy.accept();
    }
    await until(() => seen.length >= 30);
    expect(seen).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
    stop.abort();
    await watched;
  });

  test("through a pooler that lends a connection for a transaction only, everything works; of hints nothing is expected", async ({
    skip,
  }) => {
    const pooler = await startPgbouncer(server.port);
    if (pooler === undefined) return skip("pgbouncer is not installed");
    onTestFinished(() => pooler.stop());
    const url = server.fresh();
    const through = url.replace(`:${server.port}/`, `:${pooler.port}/`);
    const [a, b, direct] = await Promise.all([
      openBackendAt(through),
      openBackendAt(through),
      openBackendAt(url),
    ]);
    // More at once than the pooler has connections.
    await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        run(i % 2 === 0 ? a : b, setting(`s${i % 10}`, `k${i}`, "x".repeat(i * 100))),
      ),
    );
    expect(Object.keys(await stateOf(b, "s3"))).toHaveLength(10);
    expect((await run(direct, looking("s3"))).head).toMatchObject({ revision: 10 });
    await a.load(sessionOf("copy"), b.dump(sessionOf("s3")));
    expect((await run(a, looking("copy"))).head).toMatchObject({ revision: 10 });
    expect(
      await a.sessions({
        namespace: "n",
        filter: { sessionIdPrefix: "s" },
        order: "UPDATE_TIME_DESC",
        count: 99,
      }),
    ).toHaveLength(10);
    await a.sweep();

    const heard = listenTo(a);
    const cursor = await a.feedEnd();
    expect(a.pollMs).toBe(100);
    await run(direct, setting("s3", "k", "new"));
    expect((await changesAfter(a, cursor)).changes).toMatchObject([
      { session: sessionOf("s3"), revision: 11 },
    ]);
    // It has found out that it is deaf, and goes on reading often.
    await until(() => heard.includes(undefined), 15_000);
    expect(a.pollMs).toBe(100);
  });
});

/** The sessions that a backend hints at, as they come. */
function listenTo(backend: {
  hints(listener: (session: SessionKey | undefined) => void): () => void;
}): (SessionKey | undefined)[] {
  const heard: (SessionKey | undefined)[] = [];
  const stop = backend.hints((session) => heard.push(session));
  onTestFinished(stop);
  return heard;
}

async function clientOf(server: SharedPostgres): Promise<Client> {
  const client = await server.connect();
  onTestFinished(() => client.end());
  return client;
}

function schemaOf(url: string): string {
  return new URL(url).searchParams.get("schema") ?? "";
}
