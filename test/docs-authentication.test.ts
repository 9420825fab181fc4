/** docs/authentication.md, done as it says. */
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, onTestFinished, test, vi } from "vitest";
import { openStore } from "../src/open.ts";
import type { WorkflowStateStore } from "../src/store.ts";
import { blocksOf, pageText } from "./support/markdown.ts";
import { ended, runNode, start } from "./support/run-node.ts";

const PAGE = "docs/authentication.md";
const CLI = "src/cli.ts";

/** The settings that the page shows, put together, as they are or with another key. */
function configOfPage(sha256: string): string {
  const [auth = "", limits = ""] = blocksOf(PAGE)
    .filter(({ info }) => info === "json")
    .map(({ text }) => text);
  return JSON.stringify({ ...JSON.parse(auth.replace(/[\da-f]{64}/, sha256)), ...JSON.parse(limits) });
}

async function newKey(): Promise<{ readonly key: string; readonly sha256: string }> {
  const { stdout, status } = await runNode(CLI, "new-key");
  expect(status).toBe(0);
  const [, key = "", sha256 = ""] = /^key: +(\S+)\nsha256: ([\da-f]{64})\n$/.exec(stdout) ?? [];
  return { key, sha256 };
}

/** A server with a config file that the test may change. */
async function served(config: string, ...options: readonly string[]) {
  const folder = mkdtempSync(join(tmpdir(), "workflow-state-auth-"));
  const file = join(folder, "config.json");
  writeFileSync(file, config);
  const child = start(process.execPath, [
    CLI,
    "serve",
    "--listen",
    "0.0.0.0:0",
    "--config",
    file,
    ...options,
  ]);
  const end = ended(child);
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await end;
    rmSync(folder, { recursive: true });
  });
  const [line] = (await once(createInterface({ input: child.stdout as NodeJS.ReadableStream }), "line")) as [
    string,
  ];
  const url = line.replace("listening on ", "").replace("0.0.0.0", "127.0.0.1");
  return { url, file, child, end };
}

async function storeOf(url: string, key: string): Promise<WorkflowStateStore> {
  const store = await openStore(url, { headers: { authorization: `Bearer ${key}` }, retry: { attempts: 1 } });
  onTestFinished(() => store.close());
  return store;
}

test("the page's config serves beyond this machine, to those whom it names, and reloads", async () => {
  expect(pageText(PAGE)).toContain("npm start -- --listen 0.0.0.0:7410 --config FILE");
  const [first, second] = [await newKey(), await newKey()];
  const { url, file, child } = await served(configOfPage(first.sha256));

  const ci = await storeOf(url, first.key);
  await ci.setState("ci/run", "step", 1);
  const refused = { reason: "PERMISSION_DENIED" };
  await expect(ci.setState("other", "step", 1)).rejects.toMatchObject(refused);
  expect(await ci.getState("other", "step")).toBeUndefined();
  const stranger = await storeOf(url, second.key);
  await expect(stranger.getState("ci/run", "step")).rejects.toMatchObject({ reason: "UNAUTHENTICATED" });

  writeFileSync(file, configOfPage(second.sha256));
  child.kill("SIGHUP");
  await vi.waitFor(async () => expect(await stranger.getState("ci/run", "step")).toBe(1), 5_000);
  await expect(ci.getState("ci/run", "step")).rejects.toMatchObject({ reason: "UNAUTHENTICATED" });

  writeFileSync(file, "{");
  child.kill("SIGHUP");
  const [said] = (await once(child.stderr as NodeJS.ReadableStream, "data")) as [string];
  expect(String(said)).toMatch(
    /"msg":"(certificates, callers and their limits are reloaded|not reloaded: .*not JSON)/,
  );
  expect(await stranger.getState("ci/run", "step")).toBe(1);
});

test("probes need no credentials, and the schema is told only if that is asked for", async () => {
  const { sha256 } = await newKey();
  const closed = await served(configOfPage(sha256));
  expect(await runNode(CLI, "healthcheck", "--url", closed.url)).toMatchObject({
    status: 0,
    stdout: "ready\n",
  });
  const [command = ""] = blocksOf(PAGE)
    .filter(({ info, text }) => info === "sh" && text.includes("buf"))
    .map(({ text }) => text.trim());
  const list = (url: string) =>
    ended(start("buf", command.replace("http://127.0.0.1:7410", url).split(" ").slice(2)));
  expect((await list(closed.url)).status).not.toBe(0);

  const open = await served(configOfPage(sha256), "--reflection");
  expect((await list(open.url)).stdout).toContain("agenterra.state.v1.WorkflowStateService\n");
  open.child.kill("SIGTERM");
  expect(await open.end).toMatchObject({ status: 0 });
  expect((await runNode(CLI, "healthcheck", "--url", open.url)).status).toBe(1);
});

test.each([
  ["a member that is misspelt", { keys: [], grant: [] }, /has no "grant"/],
  ["no way to call", { grants: [] }, /needs "keys", "jwt" or "certificates"/],
  ["a hash that is none", { keys: [{ sha256: "x", principal: "p", namespaces: ["n"] }] }, /sha256.*64 hex/],
  [
    "the hash of nothing",
    {
      keys: [
        {
          sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
          principal: "p",
          namespaces: ["n"],
        },
      ],
    },
    /that of nothing/,
  ],
  ["an algorithm of shared secrets", { jwt: jwt({ algorithms: ["HS256"] }) }, /algorithms.*RS256/],
  ["keys of tokens without TLS", { jwt: jwt({ jwksUrl: "http://issuer.example/keys" }) }, /https URL/],
  ["two sources of keys", { jwt: jwt({ publicKeyFile: "k.pem" }) }, /one of "jwksUrl" and "publicKeyFile"/],
  ["a public key that is not there", { jwt: jwt({ jwksUrl: undefined, publicKeyFile: "k.pem" }) }, /ENOENT/],
  ["certificates without an authority", { certificates: [] }, /--tls-client-ca/],
  [
    "an action that there is not",
    { keys: [], grants: [{ principal: "p", action: "all", namespace: "*" }] },
    /"read"/,
  ],
])("%s is refused at the start", async (_, auth, message) => {
  const folder = mkdtempSync(join(tmpdir(), "workflow-state-auth-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "config.json");
  writeFileSync(file, JSON.stringify({ auth }));
  const { status, stderr } = await runNode(CLI, "serve", "--listen", "127.0.0.1:0", "--config", file);
  expect({ status, stderr }).toEqual({ status: 2, stderr: expect.stringMatching(message) });
});

function jwt(changed: object): object {
  return {
    issuer: "https://issuer.example",
    audience: "a",
    algorithms: ["RS256"],
    jwksUrl: "https://issuer.example/keys",
    ...changed,
  };
}
