/** What an observer sees of calls, on each protocol, by the fast path and by connect's handlers. */
import { createHash } from "node:crypto";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { OperationSchema, WorkflowStateService } from "../../gen/agenterra/state/v1/service_pb.ts";
import { observers } from "../../src/server.ts";
import { gathered } from "../support/gathered.ts";
import { LookingOn, outcome } from "../support/looking-on.ts";
import { framed, http2Request, http2Session, pathOf, serving, talk } from "../support/serving.ts";
import { transportTo, WIRES } from "../support/wires.ts";

const value = (text: string) => ({ kind: { case: "stringValue" as const, value: text } });
const grpc = { protocol: "grpc", codec: "binary", httpVersion: "2" } as const;

describe.for([...WIRES.map((wire) => ({ wire, fastPath: true })), { wire: grpc, fastPath: false }])(
  "$wire.protocol $wire.codec $wire.httpVersion, fast path $fastPath",
  ({ wire, fastPath }) => {
    const look = async () => {
      const observer = new LookingOn();
      const server = await serving({ observer, fastPath });
      const { transport, disconnect } = transportTo(server.url, wire);
      return { observer, client: createClient(WorkflowStateService, transport), disconnect };
    };

    test("a call is seen once, with who makes it, from where, and what it asks to be traced by", async () => {
      const { observer, client } = await look();
      await client.getState({ sessionId: "s", key: "k" }, { headers: { traceparent: "00-abc" } });
      const { rpc, callers, ends, writes } = await observer.ended("GetState");
      expect(rpc).toMatchObject({
        service: "agenterra.state.v1.WorkflowStateService",
        method: "GetState",
        kind: "unary",
        protocol: wire.protocol,
      });
      expect(rpc.header("traceparent")).toBe("00-abc");
      expect(rpc.header("x-absent")).toBeUndefined();
      expect(rpc.header("constructor")).toBeUndefined();
      expect(callers.at(-1)).toBe("anonymous@");
      expect(ends).toEqual(["ok"]);
      expect(writes).toEqual([]);
    });

    test("a failure is seen as the caller is told of it", async () => {
      const { observer, client } = await look();
      const request = { sessionId: "s", key: "k", value: value("v"), ifRevision: 7n };
      await expect(client.setState(request)).rejects.toThrow();
      const { ends, writes } = await observer.ended("SetState");
      expect(ends).toEqual(["Aborted REVISION_MISMATCH"]);
      expect(writes.map(({ failure, ...write }) => [write, outcome(failure)])).toEqual([
        [
          { operation: "SetState", sessionId: "s", keys: ["k"], requestId: undefined },
          "Aborted REVISION_MISMATCH",
        ],
      ]);
    });

    test("messages of a stream are counted, and a caller who leaves is seen to", async () => {
      const { observer, client } = await look();
      const leave = new AbortController();
      const watching = (async () => {
        for await (const { message } of client.watchSession({ sessionId: "s" }, { signal: leave.signal })) {
          if (message.case === "snapshot")
            await client.setState({ sessionId: "s", key: "k", value: value("v") });
          if (message.case === "event") leave.abort();
        }
      })();
      await expect(watching).rejects.toThrow();
      const { ends, rpc } = await observer.ended("WatchSession");
      expect(rpc.kind).toBe("streaming");
      expect(ends).toEqual(["Canceled"]);
      expect(observer.seen.find((seen) => seen.rpc.method === "WatchSession")?.sent).toBe(2);
    });

    test("each write of a batch is told of, with its key and revision or why it failed", async () => {
      const { observer, client } = await look();
      await client.batch({
        operations: [
          op("setState", { sessionId: "a", key: "x", value: value("1"), requestId: "r1" }),
          op("getState", { sessionId: "a", key: "x" }),
          op("setState", { sessionId: "a", key: "y", value: value("2"), ifRevision: 9n }),
          op("commit", {
            sessionId: "b",
            changes: ["k1", "k2"].map((key) => ({
              change: { case: "set" as const, value: { key, value: value("3") } },
            })),
          }),
          op("deleteState", { sessionId: "a", key: "x" }),
        ],
      });
      const { writes } = await observer.ended("Batch");
      expect(writes.map(({ failure, ...write }) => ({ ...write, outcome: outcome(failure) }))).toEqual([
        { operation: "SetState", sessionId: "a", keys: ["x"], requestId: "r1", revision: 1, outcome: "ok" },
        {
          operation: "SetState",
          sessionId: "a",
          keys: ["y"],
          requestId: undefined,
          outcome: "Aborted REVISION_MISMATCH",
        },
        {
          operation: "Commit",
          sessionId: "b",
          keys: ["k1", "k2"],
          requestId: undefined,
          revision: 1,
          outcome: "ok",
        },
        {
          operation: "DeleteState",
          sessionId: "a",
          keys: ["x"],
          requestId: undefined,
          revision: 2,
          outcome: "ok",
        },
      ]);
    });

    test("writes of whole sessions are told of by the session that they write", async () => {
      const { observer, client } = await look();
      await client.saveSession({ session: { sessionId: "s", state: { k: value("v") } }, requestId: "r" });
      await client.forkSession({ sessionId: "s", newSessionId: "t" });
      await client.restoreSession({ sessionId: "s", atRevision: 1n });
      await client.deleteSession({ sessionId: "s" });
      const writes = await Promise.all(
        ["SaveSession", "ForkSession", "RestoreSession", "DeleteSession"].map(
          async (method) => (await observer.ended(method)).writes,
        ),
      );
      expect(writes.flat()).toEqual([
        { operation: "SaveSession", sessionId: "s", requestId: "r", revision: 1 },
        { operation: "ForkSession", sessionId: "t", requestId: undefined, revision: 1 },
        { operation: "RestoreSession", sessionId: "s", requestId: undefined, revision: 2 },
        { operation: "DeleteSession", sessionId: "s", requestId: undefined, revision: undefined },
      ]);
    });
  },
);

describe.for([true, false])("with the fast path: %s", (fastPath) => {
  test("a pipeline's writes are told of, also those of a message that ends it", async () => {
    const observer = new LookingOn();
    const server = await serving({ observer, fastPath, limits: { operations: 2 } });
    const { transport } = transportTo(server.url, grpc);
    const client = createClient(WorkflowStateService, transport);
    const set = (key: string) => op("setState", { sessionId: "s", key, value: value("v") });
    async function* batches() {
      yield { operations: [set("a"), set("b")] };
      yield { operations: [set("c"), set("d"), set("e")] };
    }
    await expect(gathered(client.pipeline(batches()))).rejects.toThrow();
    const { writes, ends, sent } = await observer.ended("Pipeline");
    expect(ends).toEqual(["ResourceExhausted REQUEST_TOO_LARGE"]);
    expect(sent).toBe(1);
    expect(writes.map(({ keys, revision, failure }) => [keys?.join(), revision, outcome(failure)])).toEqual([
      ["a", 1, "ok"],
      ["b", 2, "ok"],
      // No more than a batch may have.
      ...["c", "d"].map((key) => [key, undefined, "ResourceExhausted REQUEST_TOO_LARGE"]),
    ]);
  });

  test("calls that are refused before a handler are seen to be", async () => {
    const observer = new LookingOn();
    const key = {
      sha256: createHash("sha256").update("key").digest("hex"),
      principal: "p",
      namespaces: ["n"],
    };
    const auth = { keys: [key], grants: [] };
    const server = await serving({ observer, fastPath, auth });
    const session = http2Session(server);
    const headers = { "content-type": "application/grpc", te: "trailers" };
    const authorization = "Bearer key";
    // No credentials; none of its grants; no message that there is; none at all.
    await http2Request(session, { ...headers, ":path": pathOf("GetSession") }, framed(Buffer.alloc(0)));
    await http2Request(
      session,
      { ...headers, authorization, ":path": pathOf("GetState") },
      framed(Buffer.alloc(0)),
    );
    await http2Request(
      session,
      { ...headers, authorization, ":path": pathOf("SetState") },
      framed(Buffer.from([255])),
    );
    await http2Request(session, { ...headers, authorization, ":path": pathOf("Commit") });
    const ends = ["GetSession", "GetState", "SetState", "Commit"].map(async (method) => {
      const seen = await observer.ended(method);
      return [...seen.ends, seen.callers.at(-1)];
    });
    expect(await Promise.all(ends)).toEqual([
      ["Unauthenticated UNAUTHENTICATED", undefined],
      ["PermissionDenied PERMISSION_DENIED", "p@n"],
      ["InvalidArgument INVALID_REQUEST", "p@?"],
      ["Unimplemented", fastPath ? "p@n" : "p@?"],
    ]);
  });

  test("a call past its deadline, and one whose caller is gone, are seen to end so", async () => {
    const observer = new LookingOn();
    const server = await serving({ observer, fastPath });
    const session = http2Session(server);
    // A client of gRPC would leave by itself at its deadline.
    const headers = {
      ":path": pathOf("WatchSession"),
      "content-type": "application/grpc",
      "grpc-timeout": "50m",
    };
    await http2Request(session, headers, framed(Buffer.from("0a0173", "hex")));
    expect((await observer.ended("WatchSession")).ends).toEqual(["DeadlineExceeded"]);
    const stream = session.request({
      ":method": "POST",
      ":path": pathOf("WatchSessions"),
      "content-type": "application/grpc",
    });
    stream.on("error", () => {});
    stream.write(framed(Buffer.alloc(0)));
    while (observer.seen.length < 2) await new Promise((resolve) => setTimeout(resolve, 2));
    session.destroy();
    expect((await observer.ended("WatchSessions")).ends).toEqual(["Canceled"]);
  });
});

test("what no protocol of ours understands is seen to fail", async () => {
  const observer = new LookingOn();
  const server = await serving({ observer });
  const head = `POST ${pathOf("GetState")} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n`;
  expect((await talk(server, `${head}Content-Type: text/html\r\nContent-Length: 0\r\n\r\n`)).text).toMatch(
    / 415 /,
  );
  expect((await observer.ended("GetState")).ends).toEqual(["Unknown"]);
});

test("several observers see the same, and one that is left out costs nothing", async () => {
  const [first, second] = [new LookingOn(), new LookingOn()];
  expect(observers(undefined, undefined)).toBeUndefined();
  expect(observers(undefined, first)).toBe(first);
  const server = await serving({ observer: observers(first, undefined, second) });
  const client = createClient(WorkflowStateService, transportTo(server.url, grpc).transport);
  await client.setState({ sessionId: "s", key: "k", value: value("v") });
  for (const observer of [first, second]) {
    const { callers, writes, ends } = await observer.ended("SetState");
    expect({ callers, writes: writes.length, ends }).toEqual({
      callers: ["anonymous@"],
      writes: 1,
      ends: ["ok"],
    });
  }
});

type Operation = NonNullable<MessageInitShape<typeof OperationSchema>["operation"]>;

function op(kind: "setState" | "getState" | "deleteState" | "commit", request: object) {
  return create(OperationSchema, { operation: { case: kind, value: request } as Operation });
}
