/** The program as its users start it: real processes, real ports, real signals. */
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { WorkflowStateService } from "../gen/agenterra/state/v1/service_pb.ts";
import manifest from "../package.json" with { type: "json" };
import { settingsOf } from "../src/cli/config.ts";
import { main } from "../src/cli/program.ts";
import { type CliRun, startCli } from "./support/run-cli.ts";
import { selfSigned } from "./support/self-signed.ts";
import { arrived } from "./support/serving.ts";

const folder = mkdtempSync(join(tmpdir(), "workflow-state-cli-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, content: string | object): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

const identity = selfSigned();
const tlsKey = file("key.pem", identity.key);
const tlsCert = file("cert.pem", identity.cert);

/** Runs a server until it says where it listens. */
async function serve(
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<CliRun & { readonly url: string }> {
  const started = startCli(["serve", ...args], env);
  await vi.waitUntil(() => started.output().includes("\n") || started.child.exitCode !== null, {
    timeout: 15_000,
  });
  const [, url] = /^listening on (https?:\/\/\S+)\n$/.exec(started.output()) ?? [];
  if (url === undefined) {
    throw new Error(`no server: ${started.output()}${started.errors()}`);
  }
  return { ...started, url };
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}

describe("serve", () => {
  test("says where it listens, serves, and stops on SIGTERM with 0", async () => {
    const { url, child, ended, errors } = await serve(["--listen", "127.0.0.1:0"]);
    const client = createClient(WorkflowStateService, createGrpcTransport({ baseUrl: url }));
    await client.setState({ sessionId: "s", key: "k", value: { kind: { case: "boolValue", value: true } } });
    const watch = client.watchSession({ sessionId: "s" })[Symbol.asyncIterator]();
    await watch.next();
    const next = watch.next().catch((error: unknown) => String(error));
    child.kill("SIGTERM");
    expect(await next).toContain("stopping");
    expect(await ended).toBe(0);
    expect(errors()).toBe("");
  });

  test("stops on SIGINT with 0", async () => {
    const { child, ended } = await serve(["--listen", "[::1]:0"]);
    child.kill("SIGINT");
    expect(await ended).toBe(0);
  });

  test("waits for calls as long as it may, and not when told twice", async () => {
    const { url, child, ended } = await serve(["--listen", "127.0.0.1:0", "--drain-timeout", "5m"]);
    const session = connectHttp2(url);
    onTestFinished(() => session.destroy());
    session.on("error", () => {});
    // A call whose request never ends.
    const stream = session.request({
      ":method": "POST",
      ":path": "/agenterra.state.v1.WorkflowStateService/ListState",
      "content-type": "application/grpc",
    });
    stream.on("error", () => {});
    stream.write(Buffer.alloc(2));
    await once(session, "connect");
    await arrived(session);
    child.kill("SIGTERM");
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(child.exitCode).toBeNull();
    child.kill("SIGTERM");
    expect(await ended).toBe(1);
  });

  test("serves TLS", async () => {
    const { url, child, ended } = await serve([
      "--listen",
      "localhost:0",
      "--tls-key",
      tlsKey,
      "--tls-cert",
      tlsCert,
    ]);
    expect(url).toMatch(/^https:\/\/localhost:\d+$/);
    const nodeOptions = { ca: identity.cert };
    const client = createClient(WorkflowStateService, createGrpcTransport({ baseUrl: url, nodeOptions }));
    await client.getState({ sessionId: "s", key: "k" });
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
  });

  test("an option counts more than the environment, that more than the file, that more than the default", async () => {
    const ports = [await freePort(), await freePort(), await freePort()] as const;
    const [option, variable, configured] = ports.map((port) => `127.0.0.1:${port}`) as [
      string,
      string,
      string,
    ];
    const config = file("config.json", { listen: configured, limits: { keyBytes: 5 } });
    const env = { WORKFLOW_STATE_LISTEN: variable, WORKFLOW_STATE_CONFIG: config };
    for (const [args, environment, port] of [
      [["--listen", option], env, ports[0]],
      [[], env, ports[1]],
      [["--config", config], { WORKFLOW_STATE_LISTEN: "" }, ports[2]],
    ] as const) {
      const { url, child, ended } = await serve(args, environment);
      expect(url).toBe(`http://127.0.0.1:${port}`);
      const client = createClient(WorkflowStateService, createGrpcTransport({ baseUrl: url }));
      await expect(client.getState({ sessionId: "s", key: "longer" })).rejects.toThrow(/5 bytes/);
      child.kill("SIGTERM");
      expect(await ended).toBe(0);
    }
  });
});

test("the config file says how much history a store in memory keeps", async () => {
  const config = file("memory.json", { listen: "127.0.0.1:0", memory: { history: 2 } });
  const { url, child, ended } = await serve(["--config", config], {});
  const client = createClient(WorkflowStateService, createGrpcTransport({ baseUrl: url }));
  for (let i = 0; i < 3; i++) {
    await client.setState({ sessionId: "s", key: "k", value: { kind: { case: "numberValue", value: i } } });
  }
  const read = (atRevision: bigint): Promise<unknown> =>
    client.getState({ sessionId: "s", key: "k", atRevision });
  await expect(read(2n)).resolves.toMatchObject({ entry: { revision: 2n } });
  await expect(read(1n)).rejects.toThrow(/no longer kept/);
  child.kill("SIGTERM");
  expect(await ended).toBe(0);
});

describe("what is started wrongly ends with 2 and says why in one line", () => {
  test("a port in use", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    onTestFinished(() => {
      taken.close();
    });
    const { port } = taken.address() as { port: number };
    const { ended, errors, output } = startCli(["serve", "--listen", `127.0.0.1:${port}`]);
    expect(await ended).toBe(2);
    expect(errors()).toBe(`workflow-state: can't listen on 127.0.0.1, port ${port}: the port is in use\n`);
    expect(output()).toBe("");
  });

  test.each<[string, readonly string[], RegExp]>([
    ["an unknown option", ["serve", "--bogus"], /^error: unknown option '--bogus'$/],
    ["an unknown command", ["bogus"], /^error: unknown command 'bogus'$/],
    ["an option without its value", ["serve", "--listen"], /argument missing/],
    ["an argument too many", ["serve", "extra"], /too many arguments/],
    ["an address without a port", ["serve", "--listen", "localhost"], /expected HOST:PORT/],
    ["a port that is none", ["serve", "--listen", "localhost:99999"], /expected HOST:PORT/],
    ["an IPv6 address that is none", ["serve", "--listen", "[a]:1"], /expected HOST:PORT/],
    [
      "an address of another machine",
      ["serve", "--listen", "192.0.2.1:0", "--insecure-no-auth"],
      /can't listen on 192.0.2.1/,
    ],
    ["an address beyond this machine", ["serve", "--listen", "0.0.0.0:0"], /--insecure-no-auth/],
    ["all addresses of IPv6", ["serve", "--listen", "[::]:0"], /--insecure-no-auth/],
    ["a store of no kind", ["serve", "--store", "bogus:"], /can't open the store/],
    ["another server as the store", ["serve", "--store", "http://localhost:1"], /another server/],
    ["a duration that is none", ["serve", "--drain-timeout", "10"], /no duration/],
    ["a history that is none", ["serve", "--history", "0"], /--history must be a whole number from 1/],
    ["a history that is no number", ["serve", "--history", "1e3"], /--history must be a whole number from 1/],
    ["a history of no length", ["serve", "--history-age", "0s"], /--history-age must be longer/],
    ["a retention that is none", ["serve", "--request-retention", "long"], /"long" is no duration/],
    [
      "a file of keys that is not there",
      ["serve", "--encryption-keys", "/nowhere"],
      /can't be read \(ENOENT\)/,
    ],
    [
      "an option of a SQLite file",
      ["serve", "--store", "sqlite:./secret.db?mode=ro"],
      /can't open the store/,
    ],
    ["a key without a certificate", ["serve", "--tls-key", tlsKey], /both --tls-key and --tls-cert/],
    ["a certificate that is not there", ["serve", "--tls-key", tlsKey, "--tls-cert", "/nowhere"], /ENOENT/],
    [
      "a certificate that is none",
      ["serve", "--listen", "127.0.0.1:0", "--tls-key", tlsKey, "--tls-cert", tlsKey],
      /TLS key and certificate/,
    ],
    ["a config file that is not there", ["serve", "--config", "/nowhere"], /config file \/nowhere: ENOENT/],
    ["a config file that is no JSON", ["serve", "--config", file("no.json", "{secret")], /is not JSON$/],
    ["a config file of no object", ["serve", "--config", file("list.json", "[]")], /JSON object/],
    [
      "a setting that does not exist",
      ["serve", "--config", file("extra.json", { toString: 1 })],
      /no setting "toString"/,
    ],
    [
      "a setting of another type",
      ["serve", "--config", file("type.json", { listen: 7410 })],
      /"listen" must be a string/,
    ],
    [
      "limits of another type",
      ["serve", "--config", file("limits.json", { limits: [] })],
      /"limits" must be an object/,
    ],
    [
      "a limit that does not exist",
      ["serve", "--config", file("limit.json", { limits: { bogus: 1 } })],
      /no limit "bogus"/,
    ],
    [
      "a limit that is none",
      ["serve", "--config", file("zero.json", { limits: { keyBytes: 0 } })],
      /from 1 to 2147483647/,
    ],
    [
      "a setting of memory that does not exist",
      ["serve", "--config", file("bogus-memory.json", { memory: { bogus: 1 } })],
      /no setting of memory "bogus"/,
    ],
    [
      "a setting of retention that does not exist",
      ["serve", "--config", file("bogus-retention.json", { retention: { maxBytes: 1 } })],
      /no setting of retention "maxBytes"/,
    ],
    [
      "a retention that is no number",
      ["serve", "--config", file("text-retention.json", { retention: { history: "9" } })],
      /"history" must be a whole number from 1/,
    ],
    [
      "a depth that others can't read",
      ["serve", "--config", file("deep.json", { limits: { valueDepth: 33 } })],
      /from 1 to 32/,
    ],
  ])("%s", async (_, args, line) => {
    const errors = vi.spyOn(console, "error").mockImplementation(() => {});
    let written = "";
    const stderr = vi.spyOn(process.stderr, "write").mockImplementation((chunk) => {
      written += String(chunk);
      return true;
    });
    onTestFinished(() => {
      errors.mockRestore();
      stderr.mockRestore();
    });
    expect(await main(args)).toBe(2);
    const said = `${errors.mock.calls.map(([text]) => `${text}\n`).join("")}${written}`;
    expect(said.trimEnd()).toMatch(line);
    expect(said.trimEnd()).not.toContain("\n");
    expect(said).not.toContain("secret");
  });
});

test.each(["postgres://user:secret@127.0.0.1:1/db", "redis://user:secret@127.0.0.1:1"])(
  "a store that can't be reached in time ends it with 1 and says so in one line: %s",
  async (store) => {
    const args = ["--listen", "127.0.0.1:0", "--store", store, "--start-timeout", "0s"];
    const { ended, errors, output } = startCli(["serve", ...args]);
    expect(await ended).toBe(1);
    expect(output()).toBe("");
    expect(errors()).toMatch(/^workflow-state: can't open the store: .*\n$/);
    expect(errors()).not.toContain("secret");
  },
);

test("what it keeps in a file is there when it is started again", async () => {
  const store = `sqlite:${join(folder, "kept.db")}`;
  for (const revision of [1n, 2n]) {
    const { url, child, ended } = await serve([
      "--listen",
      "127.0.0.1:0",
      "--store",
      store,
      "--history",
      "1",
    ]);
    const client = createClient(WorkflowStateService, createGrpcTransport({ baseUrl: url }));
    const value = { kind: { case: "boolValue" as const, value: true } };
    expect((await client.setState({ sessionId: "s", key: "k", value })).entry?.revision).toBe(revision);
    if (revision === 2n) {
      const past = client.getState({ sessionId: "s", key: "k", atRevision: 1n });
      await expect(past).rejects.toThrow(/no longer kept/);
    }
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
  }
});

describe("in this process", () => {
  test("it serves until a signal, which leaves no trace of it", async () => {
    const said = vi.spyOn(console, "log").mockImplementation(() => {});
    onTestFinished(() => said.mockRestore());
    const listeners = process.listenerCount("SIGTERM");
    for (const args of [[], ["--insecure-no-auth"]]) {
      const code = main(["serve", "--listen", "127.0.0.1:0", ...args]);
      await vi.waitUntil(() => said.mock.calls.length > 0, 20_000);
      process.emit("SIGTERM");
      expect(await code).toBe(0);
      expect(said.mock.calls).toEqual([[expect.stringMatching(/^listening on http:\/\/127\.0\.0\.1:\d+$/)]]);
      said.mockClear();
    }
    expect(process.listenerCount("SIGTERM")).toBe(listeners);
  });

  test("a second signal ends the process", async () => {
    const said = vi.spyOn(console, "log").mockImplementation(() => {});
    const exit = vi.spyOn(process, "exit").mockImplementation((() => {}) as never);
    onTestFinished(() => {
      said.mockRestore();
      exit.mockRestore();
    });
    const code = main(["serve", "--listen", "127.0.0.1:0"]);
    await vi.waitUntil(() => said.mock.calls.length > 0, 20_000);
    process.emit("SIGINT");
    process.emit("SIGINT");
    await code;
    expect(exit.mock.calls).toEqual([[1]]);
  });

  test("a failure that nobody foresaw is 1, and shown", async () => {
    const shown = vi.spyOn(console, "error").mockImplementation(() => {});
    const said = vi.spyOn(console, "log").mockImplementation(() => {
      throw new Error("stdout is gone");
    });
    onTestFinished(() => {
      shown.mockRestore();
      said.mockRestore();
    });
    expect(await main(["serve", "--listen", "127.0.0.1:0"])).toBe(1);
    expect(shown).toHaveBeenCalledTimes(1);
  });
});

describe("settings", () => {
  test("without any: this machine, port 7410, in memory", () => {
    expect(settingsOf({})).toEqual({
      listen: { host: "127.0.0.1", port: 7410 },
      store: "memory:",
      drainTimeoutMs: 10_000,
      startTimeoutMs: 60_000,
      connections: {},
      limits: {},
      memory: {},
      retention: {},
      perPrincipal: {},
      reflection: true,
      log: { level: "info", format: "json" },
      audit: false,
    });
  });

  test("a file's paths are seen from the file", () => {
    const config = file("tls.json", {
      tlsKey: "key.pem",
      tlsCert: "cert.pem",
      drainTimeout: "500ms",
      insecureNoAuth: true,
      listen: "[::]:1",
    });
    expect(settingsOf({ config })).toEqual({
      listen: { host: "::", port: 1 },
      store: "memory:",
      tls: { key: Buffer.from(identity.key), cert: Buffer.from(identity.cert) },
      drainTimeoutMs: 500,
      startTimeoutMs: 60_000,
      connections: {},
      limits: {},
      memory: {},
      retention: {},
      perPrincipal: {},
      reflection: false,
      log: { level: "info", format: "json" },
      audit: false,
    });
  });

  test("what is kept: an option counts more than the file, whichever section says it there", () => {
    const config = file("retention.json", {
      store: "sqlite:./state.db",
      retention: { history: 2, historyAgeMs: 3, requestRetentionMs: 4 },
      memory: { history: 5, historyAgeMs: 6, maxBytes: 7 },
    });
    expect(settingsOf({ config })).toMatchObject({
      store: "sqlite:./state.db",
      retention: { history: 2, historyAgeMs: 3, requestRetentionMs: 4 },
      memory: { history: 5, historyAgeMs: 6, maxBytes: 7 },
    });
    const asked = { history: "9", historyAge: "7d", requestRetention: "2h" };
    const kept = { history: 9, historyAgeMs: 604_800_000, requestRetentionMs: 7_200_000 };
    expect(settingsOf({ config, ...asked, store: "memory:" })).toMatchObject({
      store: "memory:",
      retention: kept,
      memory: { ...kept, maxBytes: 7 },
    });
  });

  test.each(["127.0.0.1", "127.1.2.3", "localhost", "[::1]"])("%s is this machine", (host) => {
    expect(() => settingsOf({ listen: `${host}:0` })).not.toThrow();
  });

  test.each(["0.0.0.0", "10.0.0.1", "[::]", "[::ffff:10.0.0.1]", "example.org", "0"])("%s is not", (host) => {
    expect(() => settingsOf({ listen: `${host}:0` })).toThrow(/--insecure-no-auth/);
    expect(() => settingsOf({ listen: `${host}:0`, insecureNoAuth: true })).not.toThrow();
  });
});

describe("help", () => {
  test("--version is the package's, --help names the options, both end with 0", async () => {
    const version = startCli(["--version"]);
    expect(await version.ended).toBe(0);
    expect(version.output()).toBe(`${manifest.version}\n`);
    const help = startCli(["serve", "--help"]);
    expect(await help.ended).toBe(0);
    for (const option of [
      "--listen",
      "--store",
      "--config",
      "--encryption-keys",
      "--history",
      "--history-age",
      "--request-retention",
      "--tls-key",
      "--tls-cert",
      "--drain-timeout",
      "--insecure-no-auth",
    ]) {
      expect(help.output()).toContain(option);
    }
  });

  test("without a command it shows what there is, which is no success", async () => {
    let written = "";
    const stderr = vi.spyOn(process.stderr, "write").mockImplementation((chunk) => {
      written += String(chunk);
      return true;
    });
    const stdout = vi.spyOn(process.stdout, "write").mockImplementation(() => true);
    onTestFinished(() => {
      stderr.mockRestore();
      stdout.mockRestore();
    });
    expect(await main([])).toBe(2);
    expect(written).toContain("serve");
    expect(await main(["--version"])).toBe(0);
  });

  test("only a clear yes in the environment opens it to the world", async () => {
    for (const [value, code] of [
      ["false", 2],
      ["0", 2],
    ] as const) {
      const { ended, errors } = startCli(["serve", "--listen", "0.0.0.0:0"], {
        WORKFLOW_STATE_INSECURE_NO_AUTH: value,
      });
      expect(await ended).toBe(code);
      expect(errors()).toContain("--insecure-no-auth");
    }
    const { child, ended, url } = await serve(["--listen", "0.0.0.0:0"], {
      WORKFLOW_STATE_INSECURE_NO_AUTH: "1",
    });
    expect(url).toMatch(/^http:\/\/0\.0\.0\.0:/);
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
  });
});
