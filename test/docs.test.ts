/** The documentation, held to what the code does: its examples are run, its tables compared. */
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WorkflowStateService } from "../gen/agenterra/state/v1/service_pb.ts";
import { settingsOf } from "../src/cli/config.ts";
import { CONFIG_TYPES } from "../src/cli/config-file.ts";
import { CODE_OF_REASON } from "../src/errors.ts";
import { type RunningServer, startServer } from "../src/server.ts";
import { DEFAULT_LIMITS } from "../src/store.ts";
import { type MemoryStore, memoryStore } from "../src/stores/memory.ts";
import { runExamples, settled } from "./support/api-examples.ts";
import { DOC_CA, DOC_SECURE_URL, DOC_URL, type DocPrograms, writePrograms } from "./support/doc-programs.ts";
import { blocksOf, PAGES, pageText, ROOT, tableRows } from "./support/markdown.ts";
import { ended, runNode, start } from "./support/run-node.ts";
import { selfSigned } from "./support/self-signed.ts";

const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as Readonly<
  Record<"scripts" | "bin" | "dependencies" | "devDependencies", Readonly<Record<string, string>>>
>;

const folder = mkdtempSync(join(tmpdir(), "workflow-state-docs-"));
let store: MemoryStore;
let server: RunningServer;

beforeAll(async () => {
  store = memoryStore();
  server = await startServer({ store, listen: { port: 0 } });
});

afterAll(async () => {
  await server.close({ now: true });
  await store.close();
  rmSync(folder, { recursive: true });
});

describe("docs/api.md", () => {
  it("has a section for every RPC, and a line in its table", () => {
    const names = WorkflowStateService.methods.map(({ name }) => name).sort();
    expect([...pageText("docs/api.md").matchAll(/^## (\w+)$/gm)].map(([, name]) => name).sort()).toEqual(
      names,
    );
    const listed = tableRows("docs/api.md").map(([cell]) => /^\[(\w+)\]/.exec(cell ?? "")?.[1]);
    expect(listed.sort()).toEqual(names);
  });

  it("shows answers as a new server gives them", async () => {
    const fresh = memoryStore();
    const own = await startServer({ store: fresh, listen: { port: 0 } });
    try {
      let answers = 0;
      for await (const { at, actual, expected } of runExamples(blocksOf("docs/api.md"), own.url)) {
        expect(actual, at).toEqual(expected);
        answers++;
      }
      expect(answers).toBeGreaterThanOrEqual(WorkflowStateService.methods.length);
    } finally {
      await own.close({ now: true });
      await fresh.close();
    }
  });
});

describe("the TypeScript of the pages", () => {
  let docs: DocPrograms;
  let secured: RunningServer;
  /** What the programs are called with in place of secrets of their own. */
  const env = { WORKFLOW_STATE_KEY: "a-key-of-a-caller" };
  const ca = join(folder, "ca.pem");

  beforeAll(async () => {
    const tls = selfSigned();
    writeFileSync(ca, tls.cert);
    const sha256 = createHash("sha256").update(env.WORKFLOW_STATE_KEY).digest("hex");
    const keys = [{ sha256, principal: "docs", namespaces: ["team-a", "team-b"] }];
    const grants = [{ principal: "docs", action: "write", namespace: "team-a" }] as const;
    secured = await startServer({ store, listen: { port: 0 }, tls, auth: { keys, grants } });
    docs = writePrograms(["README.md", "docs/typescript.md"], {
      [DOC_URL]: server.url,
      [DOC_SECURE_URL]: secured.url,
      [DOC_CA]: ca.replaceAll("\\", "/"),
    });
  });

  afterAll(async () => {
    docs.remove();
    await secured.close({ now: true });
  });

  it("passes the type checker", async () => {
    const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
    const { stdout, status } = await runNode(tsc, "-p", docs.folder);
    expect(stdout).toBe("");
    expect(status).toBe(0);
  }, 180_000);

  it("prints what the pages say", async () => {
    expect(docs.programs.length).toBeGreaterThan(3);
    for (const { at, file, prints } of docs.programs) {
      const { status, stdout, stderr } = await ended(start(process.execPath, [file], env));
      expect(stderr, at).toBe("");
      expect(status, at).toBe(0);
      expect(prints.length, at).toBeGreaterThan(0);
      expect(stdout.replaceAll(/\s+/g, " ").trim(), at).toBe(prints.join(" ").replaceAll(/\s+/g, " "));
    }
  });
});

describe("the commands of the pages", () => {
  const { scripts } = manifest;
  const ci = readFileSync(join(ROOT, ".ci/run"), "utf8");
  const inCi = (command: string) => (): void => expect(ci).toContain(`\nrun ${command}`);

  /** Each command with what runs it: `.ci/run`, or this test. */
  const COMMANDS: Readonly<Record<string, () => unknown>> = {
    "npm ci": inCi("npm ci\n"),
    "npm test": inCi("npm test -- --coverage"),
    "npm run sample": async () => {
      inCi("npm run sample\n")();
      const { status, stdout } = await runNode(...args("sample"));
      expect(status).toBe(0);
      expect(unlike(stdout)).toBe(unlike(outputOf("npm ci && npm run sample")));
    },
    "npm start": () => served(),
    "npm start -- --store sqlite:./state.db": async () => {
      const folder = mkdtempSync(join(tmpdir(), "workflow-state-docs-"));
      try {
        await served("--store", `sqlite:${join(folder, "state.db")}`);
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
    "npm start -- OPTIONS": () => expect(scripts["start"]).toBe("node src/cli.ts serve"),
    "npm start -- --config FILE": async () => {
      const [config] = blocksOf("docs/limits.md").filter(({ info }) => info === "json");
      const folder = mkdtempSync(join(tmpdir(), "workflow-state-docs-"));
      try {
        const file = join(folder, "config.json");
        writeFileSync(file, config?.text ?? "");
        await served("--config", file);
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
    "npx workflow-state serve OPTIONS": () =>
      expect(manifest.bin).toEqual({ "workflow-state": "bin/workflow-state.js" }),
    // test/interop runs these.
    "npm run sample:browser": () => expect(args("sample:browser")).toEqual(["samples/browser/serve.ts"]),
    "npm run sample -- URL": () => expect(args("sample")).toEqual(["samples/cart.ts"]),
    "npm run clients": () => expect(args("clients")).toEqual(["scripts/clients.ts"]),
    "npm run clients -- --check": inCi("npm run clients -- --check\n"),
    "npm run interop": () => expect(args("interop")).toEqual(["interop/run.ts"]),
    "npm run interop -- --check": inCi("npm run interop -- --check\n"),
    // test/samples.test.ts runs these two.
    "npm run sample:race": () => expect(args("sample:race")).toEqual(["samples/race.ts"]),
    "npx node samples/grpc-js-client.ts": () =>
      expect(existsSync(join(ROOT, "samples/grpc-js-client.ts"))).toBe(true),
    "npm run test:long": () => expect(scripts["test:long"]).toContain(` ${scripts["test"]} `),
    "npm run durability:check -- FILE": inCi('npm run durability:check -- --all "$results"\n'),
    "npx node scripts/durability-table.ts FILE": () =>
      expect(args("durability:check")).toEqual(["scripts/durability-table.ts", "--check"]),
    "npm run security:check -- FILE": inCi('npm run security:check -- "$results"\n'),
    "npx node scripts/security-table.ts FILE": () =>
      expect(args("security:check")).toEqual(["scripts/security-table.ts", "--check"]),
    "npm run coverage": () => expect(scripts["coverage"]).toBe(`${scripts["test"]} --coverage`),
    "npm run lint": inCi("npm run lint\n"),
    "npm run format": () =>
      expect(scripts["format"]).toBe(scripts["format:check"]?.replace("check", "check --write")),
    "npm run format:check": inCi("npm run format:check\n"),
    "npm run types": inCi("npm run types\n"),
    "npm run generate": () => expect(`${scripts["generate"]} --check`).toBe(scripts["generate:check"]),
    "npm run generate:check": inCi("npm run generate:check\n"),
    "npm run buf:lint": inCi("npm run buf:lint\n"),
    "npm run buf:breaking": inCi("npm run buf:breaking\n"),
    "npm run build": () => expect(scripts["pack:check"]).toMatch(/^npm run build &&/),
    "npm run pack:check": inCi("npm run pack:check\n"),
    "npm run bench": () => expect(existsSync(join(ROOT, args("bench")[0] ?? ""))).toBe(true),
    "npm run bench -- --short": inCi("npm run bench -- --short\n"),
    // test/fuzz/fuzz.test.ts runs the same for some seconds.
    "npm run fuzz": () => expect(existsSync(join(ROOT, args("fuzz")[0] ?? ""))).toBe(true),
    "npm run fuzz -- --seconds 3600": () => expect(scripts["fuzz"]).toBe("node test/fuzz/index.ts"),
    "npm run fuzz -- --seconds 3600 --seed 1": () => expect(scripts["fuzz"]).toBe("node test/fuzz/index.ts"),
    ".ci/run": () => expect(existsSync(join(ROOT, ".ci/run"))).toBe(true),
  };

  // Pages whose commands tests of their own run: test/docs-*.test.ts.
  const elsewhere = [
    "docs/stores.md",
    "docs/encryption.md",
    "docs/authentication.md",
    "docs/observability.md",
    "docs/operations.md",
  ];
  const shown = PAGES.filter((page) => !elsewhere.includes(page)).flatMap((page) => [
    ...blocksOf(page).flatMap(({ info, text }) => (info === "sh" ? text.trim().split("\n") : [])),
    ...[...pageText(page).matchAll(/(?<!`)`((?:npm|npx|node|curl|\.ci)[ /][^`]+)`/g)].map(
      ([, command = ""]) => command,
    ),
  ]);
  const requests = shown.filter((command) => command.includes(DOC_URL));
  const commands = new Set(
    shown.filter((command) => !requests.includes(command)).flatMap((line) => line.split(" && ")),
  );

  it("are all known here", () => {
    expect([...commands].sort()).toEqual(Object.keys(COMMANDS).sort());
  });

  it.each(Object.entries(COMMANDS))("%s", async (_, check) => {
    await check();
  });

  it("that call the service are answered as the README says", async () => {
    expect(requests.map((command) => command.split(" ").slice(0, 2).join(" "))).toEqual([
      "npx buf",
      "curl --json",
    ]);
    const [expected] = blocksOf("README.md").filter(({ info }) => info === "json");
    for (const command of requests) {
      const answer = await called(command.replace(DOC_URL, server.url));
      expect(settled(answer), command).toEqual(settled(JSON.parse(expected?.text ?? "")));
    }
  });

  /** Starts the server on a free port; stops it when it has said where it listens. */
  async function served(...options: readonly string[]): Promise<void> {
    const child = start(process.execPath, [...args("start"), "--listen", "127.0.0.1:0", ...options]);
    const end = ended(child);
    child.stdout?.once("data", () => child.kill("SIGTERM"));
    const { stdout, stderr, status } = await end;
    expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
    expect(unlike(stdout)).toBe(unlike(outputOf("npm start")));
  }

  /** The file that a script of package.json runs, with its arguments. */
  function args(script: string): string[] {
    return (scripts[script] ?? "").split(" ").slice(1);
  }
});

describe("the tables", () => {
  it("of errors.md have every reason with its code", () => {
    const rows = tableRows("docs/errors.md").map(([reason, code]) => [unquoted(reason), unquoted(code)]);
    expect(rows).toEqual(Object.entries(CODE_OF_REASON));
  });

  it("of limits.md have every limit with its default", () => {
    const rows = tableRows("docs/limits.md").slice(0, Object.keys(DEFAULT_LIMITS).length);
    const said = rows.map(([limit, value]) => [
      unquoted(limit),
      Number(value?.split(" ")[0]?.replaceAll(",", "")),
    ]);
    expect(said).toEqual(Object.entries(DEFAULT_LIMITS));
  });

  it("of the README have every option of the server, with its variable", async () => {
    const { stdout } = await runNode("src/cli.ts", "serve", "--help");
    const help = stdout.replaceAll(/\s+/g, " ");
    const options = [...help.matchAll(/(--[\w-]+(?: <[\w:-]+>)?) (?:(?! --).)*?\(env: ([\w=]+)\)/g)];
    const said = tableRows("README.md").filter(([cell]) => cell?.startsWith("`--"));
    expect(said.map((cells) => cells.slice(0, 2).map(unquoted)).sort()).toEqual(
      options.map(([, option, variable]) => [option, variable]).sort(),
    );
  });

  it("of operations.md have every member of the config file with its type, and examples that it can hold", () => {
    const rows = tableRows("docs/operations.md").map((cells) => cells.map(unquoted));
    const types = { string: "string", number: "number", boolean: "boolean", object: "object" };
    const named = { ...types, size: "number or string" };
    expect(Object.fromEntries(rows.map(([member = "", type]) => [member, type]))).toEqual(
      Object.fromEntries(Object.entries(CONFIG_TYPES).map(([member, type]) => [member, named[type]])),
    );
    const config = Object.fromEntries(
      rows.map(([member = "", , example = ""]) => [member, JSON.parse(example) as unknown]),
    );
    const path = join(folder, "config.json");
    writeFileSync(path, JSON.stringify(config));
    const { key, cert } = selfSigned();
    const files = { "tls.key": key, "tls.crt": cert, "clients.crt": cert, keys: `2026:${"A".repeat(43)}=` };
    for (const [name, text] of Object.entries(files))
      writeFileSync(join(folder, name), text, { mode: 0o600 });
    expect(settingsOf({ config: path })).toMatchObject({
      connections: { maxBufferedBytes: 256 << 20 },
      perPrincipal: config["perPrincipal"],
      limits: config["limits"],
      retention: config["retention"],
      memory: config["memory"],
    });
  });

  it("of CONTRIBUTING.md have a reason for every dependency", () => {
    const { dependencies, devDependencies } = manifest;
    const section = tableRows("CONTRIBUTING.md");
    const rows = section.slice(section.findIndex(([cell]) => cell === "`@bufbuild/protobuf`"));
    const said = rows.flatMap(([names = ""]) => names.split(", ").map(unquoted));
    expect(said.sort()).toEqual([...Object.keys(dependencies), ...Object.keys(devDependencies)].sort());
  });
});

describe("the links of the pages", () => {
  it.each(PAGES)("%s", (page) => {
    for (const [, target = ""] of pageText(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https:/.test(target)) continue;
      const [path = "", anchor] = target.split("#");
      const file = path === "" ? page : join(dirname(page), path);
      expect(existsSync(join(ROOT, file)), `${page}: ${target}`).toBe(true);
      if (anchor === undefined) continue;
      const anchors = [...pageText(file).matchAll(/^#+ (.*)$/gm)].map(([, title = ""]) => anchorOf(title));
      expect(anchors, `${page}: ${target}`).toContain(anchor);
    }
  });
});

/** Runs a command that calls the service: buf as it is; curl's part of fetch, for machines without it. */
async function called(command: string): Promise<unknown> {
  const words = [...command.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? "");
  if (words[0] === "npx") {
    const { stdout, stderr } = await ended(start(words[1] ?? "", words.slice(2)));
    expect(stderr).toBe("");
    return JSON.parse(stdout);
  }
  const [, , body = "", url = ""] = words;
  const headers = { "content-type": "application/json", accept: "application/json" };
  return (await fetch(url, { method: "POST", headers, body })).json();
}

/** What the README shows below a command. */
function outputOf(command: string): string {
  const blocks = blocksOf("README.md");
  return (
    blocks[blocks.findIndex(({ info, text }) => info === "sh" && text.trim() === command) + 1]?.text ?? ""
  );
}

/** The text without what differs from run to run. */
function unlike(text: string): string {
  return text
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "(a time)")
    .replaceAll(/process \d+/g, "process N")
    .replaceAll(/127\.0\.0\.1:\d+/g, "(an address)");
}

function unquoted(cell: string | undefined): string {
  return (cell ?? "").replaceAll("`", "");
}

/** The anchor that a heading gets where Markdown is shown. */
function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replaceAll(/[^\w -]/g, "")
    .replaceAll(" ", "-");
}
