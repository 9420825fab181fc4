/** The `auth` section of a config file: what it may say, and how it is refused. */
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { authOf } from "../../src/cli/auth-config.ts";
import { settingsOf } from "../../src/cli/config.ts";
import { healthcheck } from "../../src/cli/healthcheck.ts";
import { newKey } from "../../src/cli/new-key.ts";
import { selfSigned } from "../support/self-signed.ts";
import { serving } from "../support/serving.ts";

let folder: string;
let config: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "workflow-state-auth-config-"));
  config = join(folder, "config.json");
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  writeFileSync(join(folder, "public.pem"), publicKey.export({ type: "spki", format: "pem" }));
  writeFileSync(join(folder, "private.pem"), privateKey.export({ type: "pkcs8", format: "pem" }));
  writeFileSync(join(folder, "none.pem"), "no key");
  const { key, cert } = selfSigned();
  writeFileSync(join(folder, "key.pem"), key);
  writeFileSync(join(folder, "cert.pem"), cert);
});

afterAll(() => rmSync(folder, { recursive: true }));

const HASH = "a7".repeat(32);
const key = { sha256: HASH, principal: "ci", namespaces: ["team"] };
const certificate = { subjectAltName: "URI:spiffe://a/b", principal: "w", namespaces: ["team"] };
const jwt = { issuer: "i", audience: "a", algorithms: ["EdDSA"], jwksUrl: "https://issuer.example/keys" };

describe("a section that is well", () => {
  test("gives keys, certificates and grants as they stand", () => {
    const grants = [
      { principal: "*", action: "read", namespace: "*" },
      { principal: "ci", action: "write", namespace: "team", sessionIdPrefix: "ci/" },
      { principal: "ops", action: "admin", namespace: "team" },
    ];
    const upper = { ...key, sha256: HASH.toUpperCase() };
    const section = { keys: [upper], certificates: [certificate], grants };
    expect(authOf(section, config)).toEqual({
      keys: [key],
      certificates: [certificate],
      jwt: undefined,
      grants,
    });
  });

  test("gives tokens with keys from a URL, of this machine too, or from a file beside it", () => {
    expect(authOf({ jwt }, config)).toMatchObject({ jwt, grants: [] });
    const local = { ...jwt, jwksUrl: "http://[::1]:1/keys", namespaceClaim: "tenant" };
    expect(authOf({ jwt: local }, config)).toMatchObject({ jwt: local });
    const file = { ...jwt, jwksUrl: undefined, publicKeyFile: "public.pem" };
    expect(authOf({ jwt: file }, config).jwt?.publicKey).toContain("PUBLIC KEY");
  });
});

test.each<readonly [object, RegExp]>([
  [{}, /needs "keys", "jwt" or "certificates"/],
  [{ others: [] }, /has no "others"/],
  [{ keys: {} }, /"auth.keys" must be a list/],
  [{ keys: [1] }, /"auth.keys\[0\]" must be an object/],
  [{ keys: [{ ...key, sha256: "x" }] }, /sha256" must be 64 hex/],
  [{ keys: [{ ...key, principal: "" }] }, /principal" must be a text/],
  [{ keys: [{ ...key, namespaces: "team" }] }, /namespaces" must be a list of texts/],
  [{ keys: [{ ...key, namespaces: [""] }] }, /namespaces" must be a list of texts/],
  [{ keys: [{ ...key, secret: "k" }] }, /has no "secret"/],
  [
    { keys: [{ ...key, sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }] },
    /that of nothing/,
  ],
  [{ certificates: [{ ...certificate, subjectAltName: "worker" }] }, /a name with its kind/],
  [{ jwt: [] }, /"auth.jwt" must be an object/],
  [{ jwt: { ...jwt, algorithms: [] } }, /algorithms" must be a list of some of/],
  [{ jwt: { ...jwt, algorithms: ["none"] } }, /algorithms" must be a list of some of/],
  [{ jwt: { ...jwt, jwksUrl: undefined } }, /one of "jwksUrl" and "publicKeyFile"/],
  [{ jwt: { ...jwt, jwksUrl: "keys" } }, /an https URL/],
  [{ jwt: { ...jwt, jwksUrl: "http://issuer.example/keys" } }, /an https URL/],
  [{ jwt: { ...jwt, jwksUrl: undefined, publicKeyFile: "none.pem" } }, /a public key as PEM/],
  [{ jwt: { ...jwt, jwksUrl: undefined, publicKeyFile: "private.pem" } }, /this one is private/],
  [
    { keys: [key], grants: [{ principal: "ci", action: "all", namespace: "*" }] },
    /"read", "write" or "admin"/,
  ],
])("%j is refused by the member that is wrong", (section, message) => {
  expect(() => authOf(section as Record<string, unknown>, config)).toThrow(message);
});

describe("the settings around it", () => {
  const file = (settings: object): string => {
    writeFileSync(config, JSON.stringify(settings));
    return config;
  };

  test("with callers named it may listen beyond this machine, and keeps its schema to itself", () => {
    const settings = settingsOf({ config: file({ auth: { keys: [key] } }), listen: "0.0.0.0:1" });
    expect(settings).toMatchObject({ auth: { keys: [key] }, reflection: false, perPrincipal: {} });
    const asked = { auth: { keys: [key] }, perPrincipal: { calls: 3 }, reflection: true, listen: "[::]:1" };
    expect(settingsOf({ config: file(asked) })).toMatchObject({
      reflection: true,
      perPrincipal: { calls: 3 },
    });
  });

  test("client certificates need an authority, and an authority TLS and certificates", () => {
    const tls = { tlsKey: "key.pem", tlsCert: "cert.pem" };
    const both = { ...tls, tlsClientCa: "cert.pem", auth: { certificates: [certificate] } };
    expect(settingsOf({ config: file(both) }).tls).toHaveProperty("clientCa");
    expect(() => settingsOf({ config: file({ ...both, tlsClientCa: undefined }) })).toThrow(/need both/);
    expect(() => settingsOf({ config: file({ ...tls, tlsClientCa: "cert.pem" }) })).toThrow(/need both/);
    expect(() => settingsOf({ tlsClientCa: join(folder, "cert.pem") })).toThrow(/needs --tls-key/);
    expect(() => settingsOf({ tlsKey: join(folder, "key.pem") })).toThrow(/needs both/);
  });
});

test("a health check says whether a server is ready, or what is wrong", async () => {
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  const server = await serving();
  await vi.waitFor(() => healthcheck({ url: server.url }), 20_000);
  expect(log).toHaveBeenCalledWith("ready");
  newKey();
  expect(log).toHaveBeenLastCalledWith(expect.stringMatching(/^sha256: [\da-f]{64}$/));
  log.mockRestore();
  await server.close();
  await expect(healthcheck({ url: server.url })).rejects.toThrow(/can't be reached/);
  await expect(healthcheck({ url: "server" })).rejects.toThrow(/--url must be/);
  await expect(healthcheck({ url: "ftp://server" })).rejects.toThrow(/--url must be/);
});
