/** Lines about calls, from the calls of a server. */
import { expect, onTestFinished, test } from "vitest";
import { callLog } from "../../src/cli/call-log.ts";
import { openStore } from "../../src/open.ts";
import type { WorkflowStateStore } from "../../src/store.ts";
import { type LogFile, logFile } from "../support/log-file.ts";
import { pathOf, serving } from "../support/serving.ts";

async function logged(
  level: "debug" | "warn",
  audit: boolean,
  headers: Record<string, string> = {},
): Promise<LogFile & { readonly store: WorkflowStateStore; readonly url: string }> {
  const log = await logFile({ level });
  const { url } = await serving({ observer: callLog(log.logger, { audit }) });
  const store = await openStore(url, { headers, retry: { attempts: 1 } });
  onTestFinished(() => store.close());
  return { ...log, store, url };
}

test("nothing is looked at where nothing is said", async () => {
  const { logger } = await logFile();
  expect(callLog(logger, { audit: false })).toBeUndefined();
});

test("a call's line has what its caller knows it by, and how it ended", async () => {
  const traceId = "0af7651916cd43dd8448eb211c80319c";
  const traceparent = `00-${traceId}-b7ad6b7169203331-01`;
  const { store, lines } = await logged("debug", false, { "x-request-id": "caller-7", traceparent });
  await store.getState("s", "k");
  await expect(store.setState("s", "k", 1, { ifRevision: 9 })).rejects.toThrow();
  for await (const message of store.watchSession("s")) if (message.kind === "snapshot") break;
  const [get, set, watch] = await lines("call", 3);
  expect(get).toMatchObject({ requestId: "caller-7", traceId, protocol: "grpc", outcome: "OK" });
  expect(set).toMatchObject({ outcome: "ABORTED", reason: "REVISION_MISMATCH" });
  expect(watch).toMatchObject({ outcome: "CANCELLED", messages: expect.any(Number) });
});

test("a caller's id that could break a log is replaced", async () => {
  const { url, lines } = await logged("debug", false);
  for (const id of ["with a space", "x".repeat(129), undefined]) {
    const headers = {
      "content-type": "application/json",
      ...(id === undefined ? {} : { "x-request-id": id }),
    };
    await fetch(`${url}${pathOf("GetState")}`, { method: "POST", headers, body: "{}" });
  }
  for (const line of await lines("call", 3)) {
    expect(line).toMatchObject({
      requestId: expect.stringMatching(/^[\da-f-]{36}$/),
      outcome: "INVALID_ARGUMENT",
    });
    expect(line).not.toHaveProperty("traceId");
  }
});

test("an audit tells of writes, of what is too long in part, whatever the level", async () => {
  const { store, lines, text } = await logged("warn", true);
  await store.setState("s", "k", "stored-value", { requestId: "w1" });
  await store.deleteSession("s");
  await expect(store.setState("x".repeat(5_000), "k", 1)).rejects.toThrow();
  const keys = Array.from({ length: 200 }, (_, n) => `k${n}`);
  const changes = keys.map((key) => ({ kind: "delete", key }) as const);
  await expect(store.commit("s", { changes })).rejects.toThrow();
  const [set, gone, long, many] = await lines("write", 4);
  expect(set).toMatchObject({
    audit: true,
    operation: "SetState",
    keys: ["k"],
    writeId: "w1",
    revision: 1,
    outcome: "OK",
  });
  expect(gone).toMatchObject({ operation: "DeleteSession", session: "s", outcome: "OK" });
  expect(gone).not.toHaveProperty("keys");
  expect(long).toMatchObject({ session: "x".repeat(512), reason: "INVALID_SESSION_ID" });
  expect(many).toMatchObject({ keys: keys.slice(0, 128), reason: "REQUEST_TOO_LARGE" });
  expect(text()).not.toContain("stored-value");
  expect(text()).not.toContain('"call"');
});
