/** Credentials that are taken back, or expire, while calls with them are under way. */
import { createHash } from "node:crypto";
import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { SetStateRequestSchema, WatchSessionRequestSchema } from "../../gen/agenterra/state/v1/service_pb.ts";
import { openStore } from "../../src/open.ts";
import type { AuthOptions } from "../../src/server/auth.ts";
import type { RunningServer } from "../../src/server.ts";
import type { EncodedStore } from "../../src/store.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { arrived, framed, http2Session, pathOf, serving } from "../support/serving.ts";
import { stubStore } from "../support/stub-store.ts";
import { until } from "../support/until.ts";

const KEY = { sha256: createHash("sha256").update("key").digest("hex"), principal: "p", namespaces: ["n"] };
const GRANT = { principal: "p", action: "admin", namespace: "n" } as const;
const AUTH: AuthOptions = { keys: [KEY], grants: [GRANT] };
const OTHERS: AuthOptions = { keys: [{ ...KEY, sha256: "00".repeat(32), principal: "q" }], grants: [] };
const UNAUTHENTICATED = "16";

/** A call whose headers are sent, and nothing more. */
interface Begun {
  readonly stream: ClientHttp2Stream;
  readonly body: Buffer;
  /** The status that it ends with. */
  readonly status: Promise<string | undefined>;
}

function begin<Desc extends DescMessage>(
  session: ClientHttp2Session,
  [rpc, schema, request]: readonly [string, Desc, MessageInitShape<Desc>],
  type: string,
): Begun {
  const stream = session.request({
    ":method": "POST",
    ":path": pathOf(rpc),
    "content-type": type,
    te: "trailers",
    authorization: "Bearer key",
  });
  const status = new Promise<string | undefined>((resolve) => {
    let text = "";
    let last: string | undefined;
    const see = (headers: Record<string, unknown>): void => {
      last = headers["grpc-status"] === undefined ? last : String(headers["grpc-status"]);
    };
    stream.on("response", see);
    stream.on("trailers", see);
    // Those of gRPC-Web are in the body.
    stream.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
    });
    stream.on("error", () => {});
    stream.on("close", () => resolve(last ?? /grpc-status: *(\d+)/.exec(text)?.[1]));
  });
  return { stream, body: framed(toBinary(schema, create(schema, request))), status };
}

function stored(store: EncodedStore): Promise<unknown> {
  return store.getState({ sessionId: "s", key: "k" }, { namespace: "n" });
}

describe.for(["application/grpc", "application/grpc-web+proto"])("by %s", (type) => {
  test("a call whose message comes after its credentials were taken back is refused", async () => {
    const store = memoryStore();
    const server = await serving({ store, auth: AUTH });
    const session = http2Session(server);
    const value = { kind: { case: "stringValue" as const, value: "v" } };
    const calls = [
      begin(session, ["SetState", SetStateRequestSchema, { sessionId: "s", key: "k", value }], type),
      begin(session, ["WatchSession", WatchSessionRequestSchema, { sessionId: "s" }], type),
    ];
    await arrived(session);
    server.reload({ auth: OTHERS });
    for (const { stream, body } of calls) stream.end(body);
    for (const { status } of calls) expect(await status).toBe(UNAUTHENTICATED);
    expect(await stored(store)).toBeUndefined();
  });
});

/** A store whose pipelines have written before they say so, once they are let to. */
function holding(): { store: EncodedStore; inner: EncodedStore; release(): void } {
  const inner = memoryStore();
  const held = Promise.withResolvers<void>();
  const store = stubStore({
    async *pipeline(batches, context) {
      for await (const results of inner.pipeline(batches, context)) {
        await held.promise;
        yield results;
      }
    },
  });
  return { store, inner, release: held.resolve };
}

async function pipelined(server: RunningServer, seen: unknown[]): Promise<void> {
  await using client = await openStore(server.url, { headers: { authorization: "Bearer key" } });
  const more = Promise.withResolvers<void>();
  async function* batches() {
    yield [{ kind: "setState", sessionId: "s", key: "k", value: 1 }] as const;
    await more.promise;
  }
  try {
    for await (const results of client.pipeline(batches())) seen.push(...results.map(({ kind }) => kind));
  } finally {
    more.resolve();
  }
}

test("a pipeline whose credentials are taken back answers what it has begun, then ends so", async () => {
  const { store, inner, release } = holding();
  const server = await serving({ store, auth: AUTH });
  const seen: unknown[] = [];
  const ended = expect(pipelined(server, seen)).rejects.toMatchObject({ reason: "UNAUTHENTICATED" });
  await until(() => stored(inner));
  server.reload({ auth: { ...AUTH, grants: [GRANT, { ...GRANT, action: "read" }] } });
  release();
  await ended;
  expect(seen).toEqual(["setState"]);
});
