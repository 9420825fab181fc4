/** Credentials of every kind: those that hold, those that don't, and those that no longer do. */
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, exportSPKI, generateKeyPair, type JWTPayload, SignJWT } from "jose";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { openStore } from "../../src/open.ts";
import type { JwtOptions } from "../../src/server/auth/jwt.ts";
import type { AuthOptions } from "../../src/server/auth.ts";
import type { RunningServer } from "../../src/server.ts";
import type { WorkflowStateStore } from "../../src/store.ts";
import { selfSigned } from "../support/self-signed.ts";
import { serving } from "../support/serving.ts";

const ISSUER = "https://issuer.example";
const AUDIENCE = "workflow-state";
const GRANTS = [{ principal: "*", action: "write", namespace: "*" }] as const;

const { privateKey, publicKey } = await generateKeyPair("RS256", { extractable: true });
const pem = await exportSPKI(publicKey);

/** A token that holds, but for what is given otherwise. */
function token(
  claims: JWTPayload = {},
  { kid = "1", key = privateKey, exp = "5m" }: { kid?: string; key?: CryptoKey; exp?: string | number } = {},
): Promise<string> {
  return new SignJWT({ namespace: "team", ...claims })
    .setProtectedHeader({ alg: "RS256", kid })
    .setIssuer(claims.iss ?? ISSUER)
    .setAudience(claims.aud ?? AUDIENCE)
    .setSubject("worker")
    .setExpirationTime(exp)
    .sign(key);
}

function byJwt(options: Partial<JwtOptions> = {}): AuthOptions {
  const jwt = { issuer: ISSUER, audience: AUDIENCE, algorithms: ["RS256"], publicKey: pem, ...options };
  return { jwt: jwt as JwtOptions, grants: GRANTS };
}

async function storeOf(
  { url }: RunningServer,
  authorization: string | undefined,
  headers: Record<string, string> = {},
): Promise<WorkflowStateStore> {
  const store = await openStore(url, {
    headers: { ...headers, ...(authorization === undefined ? {} : { authorization }) },
    retry: { attempts: 1 },
  });
  onTestFinished(() => store.close());
  return store;
}

const base64url = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

describe("a token", () => {
  test("of the issuer is taken, again and again, for the namespace that it names", async () => {
    const server = await serving({ auth: byJwt() });
    const store = await storeOf(server, `Bearer ${await token()}`);
    for (let n = 1; n <= 3; n++) expect((await store.setState("s", "k", n)).revision).toBe(n);

    const other = await storeOf(server, `Bearer ${await token({ namespace: "other" })}`);
    expect(await other.getState("s", "k")).toBeUndefined();
  });

  test("of several namespaces chooses one by the header, and no other", async () => {
    const server = await serving({ auth: byJwt() });
    const both = `Bearer ${await token({ namespace: ["team", "other"] })}`;
    const store = await storeOf(server, both, { "x-workflow-state-namespace": "other" });
    await store.setState("s", "k", 1);
    expect(await store.getState("s", "k")).toBe(1);

    const refused = { reason: "PERMISSION_DENIED" };
    await expect((await storeOf(server, both)).getState("s", "k")).rejects.toMatchObject(refused);
    const replayed = await storeOf(server, `Bearer ${await token()}`, {
      "x-workflow-state-namespace": "other",
    });
    await expect(replayed.getState("s", "k")).rejects.toMatchObject(refused);
  });

  test.each<readonly [string, () => Promise<string>]>([
    ["that has expired", () => token({}, { exp: Math.floor(Date.now() / 1000) - 60 })],
    ["that is not valid yet", () => token({ nbf: Math.floor(Date.now() / 1000) + 60 })],
    ["of another issuer", () => token({ iss: "https://other.example" })],
    ["for another audience", () => token({ aud: "other" })],
    ["of another key", async () => token({}, { key: (await generateKeyPair("RS256")).privateKey })],
    ["without a signature", async () => `${base64url({ alg: "none" })}.${base64url(claims())}.`],
    ["whose algorithm is none", async () => `${base64url({ alg: "none" })}.${base64url(claims())}.AA`],
    [
      "signed with the public key as a shared secret",
      async () => {
        const signed = `${base64url({ alg: "HS256" })}.${base64url(claims())}`;
        return `${signed}.${createHmac("sha256", pem).update(signed).digest("base64url")}`;
      },
    ],
    [
      "of another algorithm than those pinned",
      async () =>
        new SignJWT(claims())
          .setProtectedHeader({ alg: "PS256" })
          .sign((await generateKeyPair("PS256")).privateKey),
    ],
    [
      "that never expires",
      () =>
        new SignJWT({ iss: ISSUER, aud: AUDIENCE, sub: "worker", namespace: "team" })
          .setProtectedHeader({ alg: "RS256" })
          .sign(privateKey),
    ],
    ["that is too long", async () => `${await token({ padding: "x".repeat(9_000) })}`],
    ["that is garbage", async () => "a.b.c"],
  ])("%s is refused", async (_, make) => {
    const store = await storeOf(await serving({ auth: byJwt() }), `Bearer ${await make()}`);
    await expect(store.getState("s", "k")).rejects.toMatchObject({ reason: "UNAUTHENTICATED" });
  });

  test("that expires ends the watch that was opened with it", async () => {
    const server = await serving({ auth: byJwt() });
    // Clocks may be 5 seconds apart: this one has one left.
    const store = await storeOf(
      server,
      `Bearer ${await token({}, { exp: Math.floor(Date.now() / 1000) - 3 })}`,
    );
    const watch = store.watchSession("s")[Symbol.asyncIterator]();
    await watch.next();
    await expect(watch.next()).rejects.toMatchObject({ reason: "UNAUTHENTICATED" });
    await expect(store.getState("s", "k")).rejects.toMatchObject({ reason: "UNAUTHENTICATED" });
  });
});

function claims(): JWTPayload {
  const exp = Math.floor(Date.now() / 1000) + 300;
  return { iss: ISSUER, aud: AUDIENCE, sub: "worker", exp, namespace: "team" };
}

describe("an issuer's published keys", () => {
  test("are fetched when a token needs them, seldom, and rotate", async () => {
    const next = await generateKeyPair("RS256", { extractable: true });
    const jwk = async (key: CryptoKey, kid: string) => ({ ...(await exportJWK(key)), kid, alg: "RS256" });
    let keys = [await jwk(publicKey, "1")];
    let fetched = 0;
    const issuer = createServer((_, response) => {
      fetched++;
      response.setHeader("content-type", "application/json").end(JSON.stringify({ keys }));
    }).listen(0, "127.0.0.1");
    onTestFinished(() => void issuer.close());
    await vi.waitFor(() => expect(issuer.listening).toBe(true), 20_000);
    const jwksUrl = `http://127.0.0.1:${(issuer.address() as AddressInfo).port}/keys`;
    const servingAfter = (jwksCooldownMs: number) =>
      serving({ auth: byJwt({ publicKey: undefined, jwksUrl, jwksCooldownMs }) });
    const server = await servingAfter(60_000);

    const old = await storeOf(server, `Bearer ${await token()}`);
    await old.setState("s", "k", 1);
    expect(fetched).toBe(1);
    const strangers = Array.from({ length: 20 }, async (_, n) => {
      const store = await storeOf(
        server,
        `Bearer ${await token({}, { kid: `x${n}`, key: next.privateKey })}`,
      );
      await expect(store.getState("s", "k")).rejects.toMatchObject({ reason: "UNAUTHENTICATED" });
    });
    await Promise.all(strangers);
    expect(fetched).toBe(1);

    const sooner = await servingAfter(100);
    const before = await storeOf(sooner, `Bearer ${await token()}`);
    await before.setState("s", "k", 1);
    expect(fetched).toBe(2);
    keys = [...keys, await jwk(next.publicKey, "2")];
    const rotated = await storeOf(sooner, `Bearer ${await token({}, { kid: "2", key: next.privateKey })}`);
    await vi.waitFor(async () => expect(await rotated.getState("s", "k")).toBe(1), 20_000);
    expect(await before.getState("s", "k")).toBe(1);
  });

  test("that can't be fetched admit nobody, and say that it is not the token", async () => {
    const server = await serving({
      auth: byJwt({ publicKey: undefined, jwksUrl: "http://127.0.0.1:9/keys" }),
    });
    const store = await storeOf(server, `Bearer ${await token()}`);
    await expect(store.getState("s", "k")).rejects.toMatchObject({ reason: "STORE_UNAVAILABLE" });
  });
});

describe("a client certificate", () => {
  const tls = selfSigned();
  const worker = selfSigned();
  const certificates = [{ subjectAltName: "DNS:localhost", principal: "worker", namespaces: ["team"] }];
  const auth: AuthOptions = { certificates, grants: GRANTS };

  async function open(server: RunningServer, client: Partial<ReturnType<typeof selfSigned>>) {
    const store = await openStore(server.url.replace("127.0.0.1", "localhost"), {
      tls: { ca: tls.cert, ...client },
      retry: { attempts: 1 },
      timeoutMs: 3_000,
    });
    onTestFinished(() => store.close());
    return store;
  }

  test("of a known authority stands for its principal", async () => {
    const server = await serving({ auth, tls: { ...tls, clientCa: worker.cert } });
    const store = await open(server, worker);
    await store.setState("s", "k", 1);
    expect(await store.getState("s", "k")).toBe(1);
  });

  test("of an unknown authority, one with no known name, and none at all, are refused", async () => {
    const unknown = [{ ...certificates[0], subjectAltName: "URI:spiffe://other" }] as typeof certificates;
    const wrongName = await serving({
      auth: { ...auth, certificates: unknown },
      tls: { ...tls, clientCa: worker.cert },
    });
    await expect((await open(wrongName, worker)).getState("s", "k")).rejects.toMatchObject({
      reason: "UNAUTHENTICATED",
    });
    const server = await serving({ auth, tls: { ...tls, clientCa: worker.cert } });
    await expect((await open(server, selfSigned())).getState("s", "k")).rejects.toThrow();
    await expect((await open(server, {})).getState("s", "k")).rejects.toThrow();
  });

  test("that is not believed is no way in where there are keys too", async () => {
    const both = { ...auth, keys: [{ sha256: "00".repeat(32), principal: "k", namespaces: ["team"] }] };
    const server = await serving({ auth: both, tls: { ...tls, clientCa: worker.cert } });
    await expect((await open(server, selfSigned())).getState("s", "k")).rejects.toMatchObject({
      reason: "UNAUTHENTICATED",
    });
  });
});

describe("a reload", () => {
  // SHA-256 of "first" and "second".
  const first = "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e";
  const second = "16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4";
  const keysOf = (...hashes: string[]): AuthOptions => ({
    keys: hashes.map((sha256) => ({ sha256, principal: "worker", namespaces: ["team"] })),
    grants: GRANTS,
  });

  test("lets keys rotate: streams of those that stay go on, those of one that went end", async () => {
    const server = await serving({ auth: keysOf(first) });
    const old = await storeOf(server, "Bearer first");
    const watch = old.watchSession("s")[Symbol.asyncIterator]();
    await watch.next();

    server.reload({ auth: keysOf(first, second) });
    const store = await storeOf(server, "Bearer second");
    await store.setState("s", "k", 1);
    expect((await watch.next()).value).toMatchObject({ event: { revision: 1 } });

    server.reload({ auth: keysOf(second) });
    await expect(watch.next()).rejects.toMatchObject({ reason: "UNAUTHENTICATED" });
    await expect(old.getState("s", "k")).rejects.toMatchObject({ reason: "UNAUTHENTICATED" });
    expect(await store.getState("s", "k")).toBe(1);
  });

  test("takes a new certificate for new connections, and open ones go on", async () => {
    const before = selfSigned();
    const after = selfSigned();
    const server = await serving({ tls: before });
    const url = server.url.replace("127.0.0.1", "localhost");
    const open = async (ca: string): Promise<WorkflowStateStore> => {
      const store = await openStore(url, { tls: { ca }, retry: { attempts: 1 }, timeoutMs: 3_000 });
      onTestFinished(() => store.close());
      return store;
    };
    const old = await open(before.cert);
    const watch = old.watchSession("s")[Symbol.asyncIterator]();
    await watch.next();

    server.reload({ tls: after });
    await (await open(after.cert)).setState("s", "k", 1);
    expect((await watch.next()).value).toMatchObject({ event: { revision: 1 } });
    await expect((await open(before.cert)).getState("s", "k")).rejects.toThrow();
  });

  test("can't take authentication or TLS away", async () => {
    const server = await serving({ auth: keysOf(first) });
    expect(() => server.reload({})).toThrow(/can't change/);
    await expect((await storeOf(server, undefined)).getState("s", "k")).rejects.toMatchObject({
      reason: "UNAUTHENTICATED",
    });
  });
});
