/** What a server takes anew while it runs, and what it can't. */
import { describe, expect, onTestFinished, test } from "vitest";
import { openStore } from "../../src/open.ts";
import type { AuthOptions } from "../../src/server/auth.ts";
import type { Reloadable, RunningServer, ServerTls } from "../../src/server.ts";
import type { WorkflowStateStore } from "../../src/store.ts";
import { type Identity, selfSigned } from "../support/self-signed.ts";
import { serving } from "../support/serving.ts";

/** SHA-256 of "first". */
const FIRST = "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e";

async function storeOf(
  { url }: RunningServer,
  ca?: string,
  client?: Identity,
  key?: string,
): Promise<WorkflowStateStore> {
  const tls = ca === undefined ? {} : { tls: { ca, ...client } };
  const headers = key === undefined ? {} : { headers: { authorization: `Bearer ${key}` } };
  const store = await openStore(url.replace("127.0.0.1", "localhost"), {
    ...tls,
    ...headers,
    retry: { attempts: 1 },
    timeoutMs: 10_000,
  });
  onTestFinished(() => store.close());
  return store;
}

describe("limits of each principal", () => {
  test("hold from the next call on, and their absence means the default ones", async () => {
    const server = await serving();
    const store = await storeOf(server);
    const take = () =>
      Promise.all(Array.from({ length: 300 }, () => store.getState("s", "k").then(() => "OK", reasonOf)));
    expect(await take()).not.toContain("RATE_LIMITED");

    server.reload({ perPrincipal: { operationsPerSecond: 1 } });
    expect(await take()).toContain("RATE_LIMITED");

    server.reload({});
    expect(await take()).not.toContain("RATE_LIMITED");
  });

  test("that can't be are refused, and nothing else of that reload is taken", async () => {
    const before = selfSigned();
    const server = await serving({ tls: before });
    const impossible = { tls: selfSigned(), perPrincipal: { burst: 1 } };
    expect(() => server.reload(impossible)).toThrow(/burst must be at least 256/);
    await (await storeOf(server, before.cert)).setState("s", "k", 1);
  });
});

describe("client certificates", () => {
  const tls = selfSigned();
  const worker = selfSigned();
  const asked: ServerTls = { ...tls, clientCa: worker.cert };
  const keys = [{ sha256: "00".repeat(32), principal: "k", namespaces: ["team"] }];
  const certificates = [{ subjectAltName: "DNS:localhost", principal: "worker", namespaces: ["team"] }];
  const grants: AuthOptions["grants"] = [{ principal: "*", action: "write", namespace: "*" }];

  test.each<[string, Reloadable, Reloadable]>([
    [
      "asked for where they were not",
      { tls, auth: { keys, grants } },
      { tls: asked, auth: { keys, certificates, grants } },
    ],
    [
      "no longer asked for",
      { tls: asked, auth: { keys, certificates, grants } },
      { tls, auth: { keys, grants } },
    ],
    [
      "the only credentials no more",
      { tls: asked, auth: { certificates, grants } },
      { tls: asked, auth: { keys, certificates, grants } },
    ],
    [
      "the only credentials from now on",
      { tls: asked, auth: { keys, certificates, grants } },
      { tls: asked, auth: { certificates, grants } },
    ],
  ])("that would be %s need a restart, and are refused", async (_, before, after) => {
    const server = await serving(before);
    expect(() => server.reload(after)).toThrow(
      /certificates.*can't change while the server runs: restart it/,
    );
    server.reload(before);
  });

  test("of another authority are taken, with other keys", async () => {
    const server = await serving({ tls: asked, auth: { keys, certificates, grants } });
    const next = selfSigned();
    server.reload({
      tls: { ...tls, clientCa: next.cert },
      auth: {
        keys: [{ sha256: "11".repeat(32), principal: "k", namespaces: ["team"] }],
        certificates,
        grants,
      },
    });
    await (await storeOf(server, tls.cert, next)).setState("s", "k", 1);
    const old = await storeOf(server, tls.cert, worker);
    await expect(old.getState("s", "k")).rejects.toMatchObject({ reason: "UNAUTHENTICATED" });
  });
});

test("a certificate that is none leaves limits and certificates as they were", async () => {
  const before = selfSigned();
  const server = await serving({ tls: before });
  const broken = {
    tls: { key: "none", cert: "none" },
    perPrincipal: { calls: 1, operationsPerSecond: 0.001 },
  };
  expect(() => server.reload(broken)).toThrow();
  const store = await storeOf(server, before.cert);
  const get = { kind: "getState", sessionId: "s", key: "k" } as const;
  for (let n = 0; n < 2; n++) expect(await store.batch(Array(256).fill(get))).toHaveLength(256);
});

test("credentials that can't be understood leave limits and certificates as they were", async () => {
  const before = selfSigned();
  const keys = [{ sha256: FIRST, principal: "k", namespaces: ["team"] }];
  const grants = [{ principal: "*", action: "write", namespace: "*" }] as const;
  const server = await serving({ tls: before, auth: { keys, grants } });
  const jwt = { issuer: "i", audience: "a", algorithms: ["RS256"] as const, publicKey: "none" };
  const perPrincipal = { operationsPerSecond: 0.001 };
  expect(() => server.reload({ tls: selfSigned(), auth: { jwt, grants }, perPrincipal })).toThrow();
  const store = await storeOf(server, before.cert, undefined, "first");
  const get = { kind: "getState", sessionId: "s", key: "k" } as const;
  for (let n = 0; n < 2; n++) expect(await store.batch(Array(256).fill(get))).toHaveLength(256);
});

function reasonOf(error: unknown): unknown {
  return (error as { reason?: unknown }).reason;
}
