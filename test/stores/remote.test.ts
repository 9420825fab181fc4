import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Code, ConnectError, createRouterTransport } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { WorkflowStateService } from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import { ErrorDetailSchema, ErrorReason } from "../../gen/encoded/agenterra/state/v1/state_pb.ts";
import type { WorkflowStateStore } from "../../src/store.ts";
import { jsonStore } from "../../src/stores/json.ts";
import { remoteStore } from "../../src/stores/remote.ts";
import { reasonOf } from "../support/failures.ts";
import { network, QUICK, sleep } from "../support/network.ts";
import { until } from "../support/until.ts";

const net = network();

const stored = (key: string) => async (store: WorkflowStateStore) =>
  (await store.getState("s", key)) !== undefined;

/** Waits until a store has its connection, however short its calls' time is. */
const connected = (store: WorkflowStateStore): Promise<unknown> =>
  until(() =>
    store.getState("s", "k").then(
      () => true,
      () => undefined,
    ),
  );

const increment = { changes: [{ kind: "increment", key: "n", delta: 1 }] } as const;

describe.each(["2", "1.1"] as const)("over HTTP/%s", (httpVersion) => {
  test("a write whose reply is lost is made once, and answered as it was first", async () => {
    const store = net.connect({}, httpVersion);
    await store.setState("s", "before", 1);
    net.proxy.replies = "swallow";
    const committed = store.commit("s", increment);
    await net.until(stored("n"));
    net.proxy.replies = "pass";
    net.proxy.cut();
    expect(await committed).toMatchObject({ revision: 2, entries: [{ key: "n", value: 1 }] });
    expect(await store.getState("s", "n")).toBe(1);
    expect(await store.commit("s", increment)).toMatchObject({ revision: 3 });
  });

  test("every kind of write is made once", async () => {
    const store = net.connect({}, httpVersion);
    await store.saveSession({ sessionId: "s", state: { a: 1 } });
    const writes: [name: string, write: () => Promise<unknown>][] = [
      ["save", () => store.saveSession({ sessionId: "s", state: { a: 2 } })],
      ["set", () => store.setState("s", "b", 1)],
      ["delete", () => store.deleteState("s", "b")],
      ["restore", () => store.restoreSession("s", 1)],
      ["batch", () => store.batch([{ kind: "commit", sessionId: "s", ...increment }])],
      ["fork", () => store.forkSession("s", "t")],
      ["delete session", () => store.deleteSession("s")],
    ];
    for (const [name, write] of writes) {
      const events = async (direct: WorkflowStateStore): Promise<number> =>
        (await direct.listEvents("s")).events.length + (await direct.listEvents("t")).events.length;
      const before = await events(net.direct);
      net.proxy.replies = "swallow";
      const written = write();
      await net.until(async (direct) => (await events(direct)) > before);
      net.proxy.replies = "pass";
      net.proxy.cut();
      await written;
      expect([name, await events(net.direct)]).toEqual([name, before + 1]);
    }
  });

  test("a request that never arrived is sent again", async () => {
    const store = net.connect({}, httpVersion);
    await store.setState("s", "before", 1);
    net.proxy.requests = "swallow";
    const set = store.setState("s", "k", 1);
    await sleep(50);
    net.proxy.requests = "pass";
    net.proxy.cut();
    expect(await set).toMatchObject({ revision: 2 });
  });

  test("a connection that was lost while nothing went on is made again", async () => {
    const store = net.connect({}, httpVersion);
    await store.setState("s", "k", 1);
    net.proxy.cut();
    expect(await store.getState("s", "k")).toBe(1);
  });

  test("a server that is away for a while is waited for", async () => {
    const store = net.connect({ retry: { attempts: 100, baseMs: 5, maxMs: 10 } }, httpVersion);
    await net.proxy.refuse();
    const set = store.setState("s", "k", 1);
    const read = store.listState("s");
    setTimeout(() => void net.proxy.accept(), 100);
    expect(await set).toMatchObject({ revision: 1 });
    await read;
  });

  test("a server that stays away is given up: nothing was written, and that is known", async () => {
    const store = net.connect({ retry: { attempts: 3, ...QUICK } }, httpVersion);
    await net.proxy.refuse();
    expect(await reasonOf(store.setState("s", "k", 1))).toBe("STORE_UNAVAILABLE");
    expect(await reasonOf(store.getState("s", "k"))).toBe("STORE_UNAVAILABLE");
    expect(await reasonOf(store.listSessions())).toBe("STORE_UNAVAILABLE");
  });

  test("what stays unknown is OUTCOME_UNKNOWN for a write, STORE_UNAVAILABLE for a read", async () => {
    const store = net.connect({ retry: { attempts: 2, ...QUICK } }, httpVersion);
    await store.setState("s", "k", 1);
    const cutting = setInterval(() => net.proxy.cut(), 10);
    net.proxy.replies = "swallow";
    expect(await reasonOf(store.setState("s", "k", 2))).toBe("OUTCOME_UNKNOWN");
    expect(await reasonOf(store.getState("s", "k"))).toBe("STORE_UNAVAILABLE");
    const both = [store.setState("s", "k", 3), store.getState("s", "k")].map(reasonOf);
    expect(await Promise.all(both)).toEqual(["OUTCOME_UNKNOWN", "STORE_UNAVAILABLE"]);
    clearInterval(cutting);
  });

  test("a write that may have been made stays unknown when the server is gone afterwards", async () => {
    const store = net.connect({ retry: { attempts: 3, ...QUICK } }, httpVersion);
    await store.setState("s", "k", 1);
    net.proxy.replies = "swallow";
    const set = store.setState("s", "n", 2);
    await net.until(stored("n"));
    await net.proxy.refuse();
    expect(await reasonOf(set)).toBe("OUTCOME_UNKNOWN");
  });

  test("a network that swallows everything ends with the call's time", async () => {
    const store = net.connect({ timeoutMs: 1_000 }, httpVersion);
    await connected(store);
    net.proxy.requests = net.proxy.replies = "swallow";
    const began = performance.now();
    const reasons = [store.saveSession({ sessionId: "s", state: {} }), store.getState("s", "k")].map(
      reasonOf,
    );
    expect(await Promise.all(reasons)).toEqual(["OUTCOME_UNKNOWN", "STORE_UNAVAILABLE"]);
    expect(performance.now() - began).toBeLessThan(3_000);
  });

  test("the call's time is one also for what has to wait for another call of its tick", async () => {
    const store = net.connect({ timeoutMs: 1_000 }, httpVersion);
    await connected(store);
    net.proxy.requests = net.proxy.replies = "swallow";
    const began = performance.now();
    const reasons = await Promise.all([store.getState("s", "k"), store.setState("s", "k", 2)].map(reasonOf));
    expect(performance.now() - began).toBeLessThan(1_900);
    expect(reasons[0]).toBe("STORE_UNAVAILABLE");
    // Whether it was sent in the last millisecond, a timer decides.
    expect(["STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"]).toContain(reasons[1]);
  });

  test("a caller's abort is thrown as it is: in flight, before, and between attempts", async () => {
    const store = net.connect({ retry: { attempts: 100, baseMs: 1000, maxMs: 1000 } }, httpVersion);
    await store.setState("s", "k", 1);
    const abort = new AbortController();
    const { signal } = abort;
    net.proxy.replies = "swallow";
    const calls = [
      store.getState("s", "k", { signal }),
      store.setState("s", "k", 2, { signal }),
      store.listState("s", { signal }),
    ];
    await sleep(20);
    abort.abort("enough");
    for (const call of calls) await expect(call).rejects.toBe("enough");
    await expect(store.getState("s", "k", { signal })).rejects.toBe("enough");
    await expect(store.listState("s", { signal })).rejects.toBe("enough");

    await net.proxy.refuse();
    const later = new AbortController();
    const waiting = store.listState("s", { signal: later.signal });
    await sleep(20);
    later.abort("later");
    await expect(waiting).rejects.toBe("later");
  });

  test("a write that is aborted on its way may have been made; its request id tells", async () => {
    const store = net.connect({}, httpVersion);
    await store.setState("s", "k", 1);
    const abort = new AbortController();
    net.proxy.replies = "swallow";
    const set = store.setState("s", "k", 2, { requestId: "r", signal: abort.signal });
    await net.until(async (direct) => (await direct.getState("s", "k")) === 2);
    abort.abort("enough");
    await expect(set).rejects.toBe("enough");
    net.proxy.replies = "pass";
    net.proxy.cut();
    expect(await store.setState("s", "k", 2, { requestId: "r" })).toMatchObject({ revision: 2 });
    expect(await net.direct.getEntry("s", "k")).toMatchObject({ value: 2, revision: 2 });
  });

  test("closing aborts what is open, and later calls fail", async () => {
    const store = net.connect({ retry: { attempts: 100, baseMs: 1000, maxMs: 1000 } }, httpVersion);
    await store.setState("s", "k", 1);
    net.proxy.replies = "swallow";
    const open = [
      store.getState("s", "k"),
      store.listState("s"),
      store.saveSession({ sessionId: "s", state: {} }),
      store.watchSession("s")[Symbol.asyncIterator]().next(),
      store.watchSessions()[Symbol.asyncIterator]().next(),
    ].map(reasonOf);
    await sleep(20);
    await store.close();
    await store.close();
    expect(await Promise.all(open)).toEqual([
      "STORE_UNAVAILABLE",
      "STORE_UNAVAILABLE",
      "OUTCOME_UNKNOWN",
      "SHUTTING_DOWN",
      "SHUTTING_DOWN",
    ]);
    expect(await reasonOf(store.getState("s", "k"))).toBe("STORE_UNAVAILABLE");
    expect(await reasonOf(store.setState("s", "k", 1))).toBe("STORE_UNAVAILABLE");
    expect(await reasonOf(store.listSessions())).toBe("STORE_UNAVAILABLE");
    expect(await reasonOf(store.watchSession("s")[Symbol.asyncIterator]().next())).toBe("STORE_UNAVAILABLE");
  });

  test("closing ends the wait before another attempt", async () => {
    const store = net.connect({ retry: { attempts: 100, baseMs: 1000, maxMs: 1000 } }, httpVersion);
    await store.setState("s", "k", 1);
    net.proxy.replies = "swallow";
    const set = reasonOf(store.setState("s", "n", 2));
    await net.until(stored("n"));
    await net.proxy.refuse();
    const read = reasonOf(store.listState("s"));
    await sleep(20);
    await store.close();
    expect(await Promise.all([set, read])).toEqual(["OUTCOME_UNKNOWN", "STORE_UNAVAILABLE"]);
  });
});

describe("a process", () => {
  test.each(["grpc", "connect&httpVersion=1.1"])(
    "can end after close, and without it: %s",
    async (protocol) => {
      const open = JSON.stringify(fileURLToPath(new URL("../../src/open.ts", import.meta.url)));
      const url = JSON.stringify(`${net.server.url}?protocol=${protocol}`);
      for (const last of ["await store.close();", ""]) {
        const script = `
        const { openStore } = await import(${open});
        const store = await openStore(${url});
        await store.setState("s", "k", 1);
        await Promise.all([store.getState("s", "k"), store.listState("s")]);
        for await (const message of store.watchSession("s")) break;
        ${last}
        console.log("done");`;
        const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
          stdio: ["ignore", "pipe", "inherit"],
        });
        let doneAt = 0;
        child.stdout.on("data", () => {
          doneAt = performance.now();
        });
        const [code] = (await once(child, "exit")) as [number];
        expect(code).toBe(0);
        expect(performance.now() - doneAt).toBeLessThan(1500);
      }
    },
  );
});

test("a write that may have been made stays unknown when a later attempt is turned away at the door", async () => {
  let calls = 0;
  const answers = [Code.Unavailable, Code.Unauthenticated, Code.Unavailable, Code.InvalidArgument];
  const transport = createRouterTransport(({ service }) => {
    service(WorkflowStateService, {
      setState: () => {
        throw new ConnectError("no", answers[calls++] as Code);
      },
    });
  });
  const store = jsonStore(remoteStore(transport, { retry: QUICK }));
  expect(await reasonOf(store.setState("s", "k", 1))).toBe("OUTCOME_UNKNOWN");
  // But what a store says of the write itself, it says of all attempts: they had one request id.
  expect(await reasonOf(store.setState("s", "k", 1))).toBe("INVALID_REQUEST");
  expect(calls).toBe(4);
});

test.each([
  ["no such call", Code.Unimplemented, "INVALID_REQUEST"],
  ["nothing there", Code.NotFound, "INVALID_REQUEST"],
  ["too much", Code.ResourceExhausted, "REQUEST_TOO_LARGE"],
])("a write that may have been made stays unknown when a proxy says: %s", async (message, code, alone) => {
  const answers = [Code.Unavailable, code, code];
  const transport = createRouterTransport(({ service }) => {
    service(WorkflowStateService, {
      setState: () => {
        throw new ConnectError(message, answers.shift() as Code);
      },
    });
  });
  const store = jsonStore(remoteStore(transport, { retry: QUICK }));
  expect(await reasonOf(store.setState("s", "k", 1))).toBe("OUTCOME_UNKNOWN");
  expect(await reasonOf(store.setState("s", "k", 1))).toBe(alone);
});

test("a write that may have been made is decided by what the store says of it later, with a reason", async () => {
  const value = { reason: ErrorReason.VALUE_TOO_LARGE, message: "Too large." };
  const answers = [
    new ConnectError("lost", Code.Unavailable),
    new ConnectError("Too large.", Code.ResourceExhausted, undefined, [{ desc: ErrorDetailSchema, value }]),
  ];
  const transport = createRouterTransport(({ service }) => {
    service(WorkflowStateService, {
      setState: () => {
        throw answers.shift();
      },
    });
  });
  const store = jsonStore(remoteStore(transport, { retry: QUICK }));
  expect(await reasonOf(store.setState("s", "k", 1))).toBe("VALUE_TOO_LARGE");
});
