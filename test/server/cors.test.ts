/** Which pages may call: those of the origins that are named, and what a browser has to be told for that. */
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { describe, expect, test } from "vitest";
import { WorkflowStateService } from "../../gen/agenterra/state/v1/service_pb.ts";
import { ErrorDetailSchema } from "../../gen/agenterra/state/v1/state_pb.ts";
import { isOrigin } from "../../src/server/cors.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { http2Request, http2Session, pathOf, serving } from "../support/serving.ts";

const APP = "https://app.example.org";
const OTHER = "https://other.example.org";
const allowed = { cors: { origins: [APP, "http://localhost:5173"] } };

function preflight(
  url: string,
  origin: string,
  headers = "connect-protocol-version,content-type,authorization",
) {
  return fetch(`${url}${pathOf("SetState")}`, {
    method: "OPTIONS",
    headers: {
      origin,
      "access-control-request-method": "POST",
      "access-control-request-headers": headers,
    },
  });
}

function call(url: string, origin: string): Promise<Response> {
  const headers = { origin, "content-type": "application/json" };
  return fetch(`${url}${pathOf("GetState")}`, {
    method: "POST",
    headers,
    body: '{"sessionId":"s","key":"k"}',
  });
}

/** What a browser does: asks first, and keeps what it is not allowed to show. */
function browser(origin: string): typeof fetch {
  return async (input, init) => {
    const headers = new Headers(init?.headers);
    const asked = await preflight(String(input), origin, [...headers.keys()].join(","));
    const list = (name: string): string[] =>
      (asked.headers.get(name) ?? "").split(", ").map((each) => each.toLowerCase());
    if (!asked.ok || asked.headers.get("access-control-allow-origin") !== origin) {
      throw new TypeError("blocked by CORS");
    }
    for (const name of headers.keys()) {
      if (!list("access-control-allow-headers").includes(name)) throw new TypeError(`${name} is not allowed`);
    }
    headers.set("origin", origin);
    const answer = await fetch(input, { ...init, headers });
    if (answer.headers.get("access-control-allow-origin") !== origin) throw new TypeError("blocked by CORS");
    const exposed = (answer.headers.get("access-control-expose-headers") ?? "").toLowerCase().split(", ");
    const shown = [...answer.headers].filter(([name]) => exposed.includes(name) || name === "content-type");
    return new Response(answer.body, { status: answer.status, headers: shown });
  };
}

test("without origins no answer speaks of them", async () => {
  const { url } = await serving();
  const asked = await preflight(url, APP);
  expect(asked.ok).toBe(false);
  const answer = await call(url, APP);
  expect(answer.status).toBe(200);
  for (const { headers } of [asked, answer]) {
    expect(
      [...headers.keys()].filter((name) => name.startsWith("access-control") || name === "vary"),
    ).toEqual([]);
  }
});

describe.each(["connect", "grpc-web"] as const)("a page that speaks %s", (protocol) => {
  const create = protocol === "connect" ? createConnectTransport : createGrpcWebTransport;
  const clientAt = (baseUrl: string, origin: string) =>
    createClient(WorkflowStateService, create({ baseUrl, useBinaryFormat: true, fetch: browser(origin) }));
  const value = { kind: { case: "stringValue" as const, value: "tea" } };

  test("calls, with credentials in headers of its own, and learns why a call failed", async () => {
    const { url } = await serving(allowed);
    const client = clientAt(url, APP);
    const headers = { authorization: "Bearer x", "x-request-id": "page-7" };
    await client.setState({ sessionId: "s", key: "k", value }, { headers, timeoutMs: 5_000 });
    for await (const { message } of client.watchSession({ sessionId: "s" })) {
      expect(message.case).toBe("snapshot");
      break;
    }
    const failure = await client
      .setState({ sessionId: "", key: "k", value })
      .catch((error: unknown) => error);
    expect(ConnectError.from(failure).code).toBe(Code.InvalidArgument);
    expect(ConnectError.from(failure).findDetails(ErrorDetailSchema)).toHaveLength(1);
  });

  test("of another origin does not, and writes nothing", async () => {
    const store = memoryStore();
    const { url } = await serving({ ...allowed, store });
    await expect(clientAt(url, OTHER).setState({ sessionId: "s", key: "k", value })).rejects.toThrow(/CORS/);
    expect(store.usage().sessions).toBe(0);
  });
});

test("what may be kept is said for the origin alone, and never allows cookies", async () => {
  const { url } = await serving(allowed);
  for (const origin of [APP, OTHER]) {
    for (const { headers } of [await preflight(url, origin), await call(url, origin)]) {
      expect(headers.get("vary")).toContain("Origin");
      expect(headers.get("access-control-allow-credentials")).toBeNull();
      expect(headers.get("set-cookie")).toBeNull();
      expect(headers.get("access-control-allow-origin")).toBe(origin === APP ? APP : null);
    }
  }
  expect((await preflight(url, APP)).headers.get("access-control-max-age")).toBe("7200");
});

test("it holds over HTTP/2, too", async () => {
  const session = http2Session(await serving(allowed));
  const headers = { ":path": pathOf("SetState"), origin: APP };
  const asked = await http2Request(session, {
    ...headers,
    ":method": "OPTIONS",
    "access-control-request-method": "POST",
  });
  expect(asked.headers).toMatchObject({ ":status": 204, "access-control-allow-origin": APP });
  const answer = await http2Request(
    session,
    { ...headers, ":path": pathOf("GetState"), "content-type": "application/json" },
    Buffer.from('{"sessionId":"s","key":"k"}'),
  );
  expect(answer.headers).toMatchObject({ ":status": 200, "access-control-allow-origin": APP });
});

test("probes are answered as ever", async () => {
  const { url } = await serving(allowed);
  for (const path of ["/healthz", "/readyz"]) expect((await fetch(`${url}${path}`)).status).toBe(200);
});

test("nothing is written by a GET, whoever asks", async () => {
  const store = memoryStore();
  const { url } = await serving({ ...allowed, store });
  const writes = WorkflowStateService.methods.filter(
    ({ idempotency, methodKind }) => methodKind === "unary" && idempotency === 0,
  );
  expect(writes.map(({ name }) => name)).toContain("SetState");
  for (const { name } of writes) {
    const message = encodeURIComponent('{"sessionId":"s","key":"k","value":1}');
    const answer = await fetch(`${url}${pathOf(name)}?connect=v1&encoding=json&message=${message}`, {
      headers: { origin: APP },
    });
    expect([name, answer.status]).toEqual([name, 405]);
  }
  expect(store.usage().sessions).toBe(0);
});

test.each<[string, boolean]>([
  ["https://app.example.org", true],
  ["http://localhost:5173", true],
  ["http://[::1]:8080", true],
  ["https://app.example.org/", false],
  ["https://app.example.org/path", false],
  ["https://app.example.org:443", false],
  ["HTTPS://app.example.org", false],
  ["app.example.org", false],
  ["https://*.example.org", false],
  ["*", false],
  ["null", false],
  ["file://", false],
])("%s is an origin: %s", (text, is) => {
  expect(isOrigin(text)).toBe(is);
});
