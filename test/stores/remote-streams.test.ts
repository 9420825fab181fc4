import { createRouterTransport } from "@connectrpc/connect";
import { describe, expect, test, vi } from "vitest";
import { WorkflowStateService } from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import { startServer } from "../../src/server.ts";
import type { Event, WatchMessage } from "../../src/store.ts";
import { jsonStore } from "../../src/stores/json.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { remoteStore } from "../../src/stores/remote.ts";
import { reasonOf } from "../support/failures.ts";
import { network, QUICK, sleep } from "../support/network.ts";
import { until } from "../support/until.ts";

const net = network({ progressIntervalMs: 50 });

/** Reads a watch until it has given the event of a revision; returns the events. */
async function eventsUntil(messages: AsyncIterable<WatchMessage>, revision: number): Promise<Event[]> {
  const events: Event[] = [];
  for await (const message of messages) {
    if (message.kind === "event") events.push(message.event);
    if (events.at(-1)?.revision === revision) break;
  }
  return events;
}

const upTo = (count: number, from = 1): number[] => Array.from({ length: count }, (_, i) => from + i);

describe.each(["2", "1.1"] as const)("a watch on a session over HTTP/%s", (httpVersion) => {
  test("goes on over lost connections without a gap or a repetition", async () => {
    const store = net.connect({}, httpVersion);
    const watched = eventsUntil(store.watchSession("s", { afterRevision: 0 }), 200);
    for (let i = 1; i <= 200; i++) {
      await net.direct.setState("s", "k", i);
      if (i % 20 === 0) net.proxy.cut();
      if (i === 100) await net.proxy.refuse();
      if (i === 120) await net.proxy.accept();
      await sleep(1);
    }
    const events = await watched;
    expect(events.map(({ revision }) => revision)).toEqual(upTo(200));
    expect(events.map(({ entries }) => entries[0]?.value)).toEqual(upTo(200));
    expect(net.proxy.connections).toBeGreaterThan(3);
  });

  test("goes on behind its snapshot", async () => {
    await net.direct.setState("s", "k", 1);
    const store = net.connect({}, httpVersion);
    const watch = store.watchSession("s")[Symbol.asyncIterator]();
    expect((await watch.next()).value).toMatchObject({ kind: "snapshot", snapshot: { revision: 1 } });
    await net.proxy.refuse();
    await net.direct.setState("s", "k", 2);
    await net.proxy.accept();
    const seen: WatchMessage[] = [];
    while (!seen.some(({ kind }) => kind === "event")) seen.push((await watch.next()).value as WatchMessage);
    expect(seen.filter(({ kind }) => kind !== "progress")).toMatchObject([
      { kind: "event", event: { revision: 2 } },
    ]);
    await watch.return?.();
  });

  test("of a session that is gone goes on behind its end, and does not tell its past", async () => {
    await net.direct.setState("s", "k", 1);
    await net.direct.deleteSession("s");
    const store = net.connect({}, httpVersion);
    const watch = store.watchSession("s")[Symbol.asyncIterator]();
    expect((await watch.next()).value).toMatchObject({ kind: "snapshot", snapshot: { state: {} } });
    await net.proxy.refuse();
    await net.direct.setState("s", "k", 2);
    await net.proxy.accept();
    let message = (await watch.next()).value as WatchMessage;
    while (message.kind === "progress") message = (await watch.next()).value as WatchMessage;
    expect(message).toMatchObject({ kind: "event", event: { revision: 3 } });
    await watch.return?.();
  });

  test("goes on behind what progress told it, past what its filter leaves out", async () => {
    const few = memoryStore({ progressIntervalMs: 20, history: 5 });
    const other = await startServer({ store: few, listen: { port: 0 } });
    net.proxy.target = other.port;
    const store = net.connect({}, httpVersion);
    await jsonStore(few).setState("s", "other", 0);
    const watch = store.watchSession("s", { keyPrefix: "mine", afterRevision: 1 })[Symbol.asyncIterator]();
    const begun = vi.spyOn(few, "watchSession");
    const first = watch.next();
    await until(() => begun.mock.calls[0]);
    for (let i = 2; i <= 20; i++) {
      await jsonStore(few).setState("s", "other", i);
      await sleep(1);
    }
    let message = (await first).value as WatchMessage;
    while (message.kind !== "progress" || message.revision < 20)
      message = (await watch.next()).value as WatchMessage;
    // After revision 1 there is no history any more: only behind the progress it can go on.
    net.proxy.cut();
    await jsonStore(few).setState("s", "mine", 1);
    while (message.kind === "progress") message = (await watch.next()).value as WatchMessage;
    expect(message).toMatchObject({ kind: "event", event: { revision: 21 } });
    await watch.return?.();
    await other.close({ now: true });
    await few.close();
  });

  test("goes on with another server when its own shuts down", async () => {
    const store = net.connect({}, httpVersion);
    const watched = eventsUntil(store.watchSession("s", { afterRevision: 0 }), 4);
    await net.direct.setState("s", "k", 1);
    await sleep(30);
    const next = await startServer({ store: net.memory, listen: { port: 0 } });
    net.proxy.target = next.port;
    await net.server.close();
    for (let i = 2; i <= 4; i++) await net.direct.setState("s", "k", i);
    expect((await watched).map(({ revision }) => revision)).toEqual([1, 2, 3, 4]);
    net.server = next;
  });

  test("that hears nothing takes its connection for lost", async () => {
    const store = net.connect({ silenceMs: 200 }, httpVersion);
    const watch = store.watchSession("s", { afterRevision: 0 })[Symbol.asyncIterator]();
    await net.direct.setState("s", "k", 1);
    expect((await watch.next()).value).toMatchObject({ event: { revision: 1 } });
    const asked = vi.spyOn(net.memory, "watchSession");
    net.proxy.replies = "swallow";
    await net.direct.setState("s", "k", 2);
    const rest = eventsUntil({ [Symbol.asyncIterator]: () => watch }, 2);
    await until(() => asked.mock.calls[0]);
    net.proxy.replies = "pass";
    expect((await rest).map(({ revision }) => revision)).toEqual([2]);
  });

  test("ends with an error that is not about the connection", async () => {
    const store = net.connect({}, httpVersion);
    const watch = store.watchSession("s", { afterRevision: 0 })[Symbol.asyncIterator]();
    await net.direct.setState("s", "k", 0);
    await watch.next();
    await net.proxy.refuse();
    for (let i = 0; i < 300; i++) await net.direct.setState("s", "k", i);
    await net.proxy.accept();
    expect(await reasonOf(watch.next())).toBe("HISTORY_COMPACTED");
    expect(await watch.next()).toEqual({ done: true, value: undefined });
    const future = store.watchSession("s", { afterRevision: 999 })[Symbol.asyncIterator]();
    expect(await reasonOf(future.next())).toBe("FUTURE_REVISION");
  });

  test("ends by the caller: by return and by the signal, also while it waits or reconnects", async () => {
    const store = net.connect({ retry: { baseMs: 1000, maxMs: 1000 } }, httpVersion);
    const abort = new AbortController();
    const aborted = store.watchSession("s", { signal: abort.signal })[Symbol.asyncIterator]();
    const returned = store.watchSession("s")[Symbol.asyncIterator]();
    for (const watch of [aborted, returned]) await watch.next();
    await net.proxy.refuse();
    /** Reads on until the watch ends. */
    const rest = async (watch: AsyncIterator<WatchMessage>): Promise<unknown> => {
      let item = await watch.next();
      while (item.done !== true) item = await watch.next();
      return item;
    };
    const waiting = [rest(aborted), rest(returned)];
    waiting[0]?.catch(() => {});
    await sleep(50);
    abort.abort("enough");
    await expect(waiting[0]).rejects.toBe("enough");
    await returned.return?.();
    expect(await waiting[1]).toEqual({ done: true, value: undefined });
    await expect(
      store.watchSession("s", { signal: abort.signal })[Symbol.asyncIterator]().next(),
    ).rejects.toBe("enough");
    const never = store.watchSession("s")[Symbol.asyncIterator]();
    await never.return?.();
    expect(await never.next()).toEqual({ done: true, value: undefined });
  });
});

describe("a watch on sessions", () => {
  test("begins when it is called, and each reading has its own", async () => {
    const store = net.connect();
    const begun = vi.spyOn(net.memory, "watchSessions");
    const changes = store.watchSessions();
    await until(() => begun.mock.calls[0]);
    await net.direct.setState("s", "k", 1);
    const first = changes[Symbol.asyncIterator]();
    expect((await first.next()).value).toMatchObject({ session: { sessionId: "s" }, kind: "COMMITTED" });
    const second = changes[Symbol.asyncIterator]();
    const next = second.next();
    await until(() => begun.mock.calls[1]);
    await net.direct.deleteSession("s");
    expect((await next).value).toMatchObject({ kind: "DELETED" });
    expect((await first.next()).value).toMatchObject({ kind: "DELETED" });
    await first.return?.();
    await second.return?.();
    expect(await first.next()).toEqual({ done: true, value: undefined });
  });

  test("that loses its connection says so: what happened meanwhile can't be had", async () => {
    const store = net.connect();
    const begun = vi.spyOn(net.memory, "watchSessions");
    const watch = store.watchSessions()[Symbol.asyncIterator]();
    const next = watch.next();
    await until(() => begun.mock.calls[0]);
    net.proxy.cut();
    expect(await reasonOf(next)).toBe("STORE_UNAVAILABLE");
    await net.proxy.refuse();
    expect(await reasonOf(store.watchSessions()[Symbol.asyncIterator]().next())).toBe("STORE_UNAVAILABLE");
    // One that nobody reads fails in silence.
    store.watchSessions();
  });

  test("that the service just ends has lost its connection", async () => {
    const transport = createRouterTransport(({ service }) => {
      service(WorkflowStateService, { async *watchSessions() {} });
    });
    const watch = remoteStore(transport).watchSessions({})[Symbol.asyncIterator]();
    expect(await reasonOf(watch.next())).toBe("STORE_UNAVAILABLE");
  });
});

test("a watch passes over messages of a newer service, and a service that just ends it", async () => {
  let calls = 0;
  const asked: (bigint | undefined)[] = [];
  const transport = createRouterTransport(({ service }) => {
    service(WorkflowStateService, {
      async *watchSession(request) {
        asked.push(request.afterRevision);
        calls += 1;
        yield { message: { case: undefined } };
        if (calls === 2) yield { message: { case: "progress", value: { revision: 7n } } };
      },
    });
  });
  const watch = remoteStore(transport, { retry: QUICK })
    .watchSession({ sessionId: "s" })
    [Symbol.asyncIterator]();
  expect((await watch.next()).value).toEqual({ kind: "progress", revision: 7 });
  const next = watch.next();
  await until(() => asked.length >= 3 || undefined);
  await watch.return?.();
  await next;
  expect(asked.slice(0, 3)).toEqual([undefined, undefined, 7n]);
});
