/** The package as users get it: packed, installed in a project of its own, and imported by each of its names. */
import { execFile } from "node:child_process";
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const run = promisify(execFile);
const root = fileURLToPath(new URL("..", import.meta.url));
// The Node that runs this, also for what npm starts.
const env = { ...process.env, PATH: `${dirname(process.execPath)}:${process.env["PATH"]}` };

let project: string;

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), "workflow-state-package-"));
  const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", project], {
    cwd: root,
    env,
    maxBuffer: 1 << 26,
  });
  expect(stdout).toContain("agenterra-workflow-state");
  const tarball = (await readdir(project)).find((name) => name.endsWith(".tgz")) as string;
  await writeFile(
    join(project, "package.json"),
    JSON.stringify({ name: "a-user", private: true, type: "module" }),
  );
  await run("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", `./${tarball}`], {
    cwd: project,
    env,
  });
}, 120_000);

afterAll(async () => {
  await rm(project, { recursive: true, force: true });
});

async function node(script: string): Promise<string> {
  await writeFile(join(project, "script.js"), script);
  const { stdout } = await run(process.execPath, ["script.js"], { cwd: project, env });
  return stdout;
}

describe("the packed package, installed in a fresh project", () => {
  it("can be imported by every name that it exports, each with what it is for", async () => {
    const { exports } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as {
      exports: Record<string, unknown>;
    };
    const expected: Record<string, string> = {
      ".": "openStore",
      "./server": "startServer",
      "./telemetry": "telemetry",
      "./web": "openStore",
      "./conformance": "conformanceCases",
      "./proto": "WorkflowStateService",
      "./package.json": "default",
    };
    expect(Object.keys(exports).sort()).toEqual(Object.keys(expected).sort());
    for (const [name, member] of Object.entries(expected)) {
      const path = `@agenterra/workflow-state${name.slice(1)}`;
      const attributes = name.endsWith(".json") ? ` with { type: "json" }` : "";
      expect(
        await node(`import * as all from "${path}"${attributes}; console.log("${member}" in all)`),
        path,
      ).toBe("true\n");
    }
  });

  it("keeps state in process, and over a server that it starts", async () => {
    const script = `
      import { openStore } from "@agenterra/workflow-state";
      import { startServer } from "@agenterra/workflow-state/server";
      const store = await openStore("memory:");
      const server = await startServer({ store: store.encoded, listen: { port: 0 } });
      const remote = await openStore(server.url);
      await remote.setState("cart", "items", ["tea"]);
      console.log(JSON.stringify(await store.getState("cart", "items")));
      await remote.close();
      await server.close();
      await store.close();`;
    expect(await node(script)).toBe('["tea"]\n');
  });

  it("starts its program, which says its version", async () => {
    const { stdout } = await run(join(project, "node_modules/.bin/workflow-state"), ["--version"], { env });
    const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string };
    expect(stdout.trim()).toBe(version);
  });

  it("has types that a strict project compiles against", async () => {
    await cp(join(root, "node_modules/typescript"), join(project, "node_modules/typescript"), {
      recursive: true,
    });
    await cp(join(root, "node_modules/@types/node"), join(project, "node_modules/@types/node"), {
      recursive: true,
    });
    await writeFile(
      join(project, "user.ts"),
      `import { openStore, type Session } from "@agenterra/workflow-state";
       import { conformanceCases } from "@agenterra/workflow-state/conformance";
       import { WorkflowStateService } from "@agenterra/workflow-state/proto";
       import { startServer } from "@agenterra/workflow-state/server";
       await using store = await openStore("memory:");
       const session: Session | undefined = await store.getSession("s");
       const list: string[] | undefined = await store.getState<string[]>("s", "list");
       console.log(session, list, conformanceCases.length, WorkflowStateService.typeName, startServer);`,
    );
    const options = [
      "--noEmit",
      "--strict",
      "--module",
      "nodenext",
      "--target",
      "es2024",
      "--lib",
      "es2024,esnext.disposable,dom",
      "--skipLibCheck",
      "user.ts",
    ];
    await run(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), ...options], {
      cwd: project,
      env,
    });
  });

  it("holds neither tests nor sources nor a Node of its own", async () => {
    const installed = await readdir(join(project, "node_modules/@agenterra/workflow-state"));
    expect(installed.sort()).toEqual([
      "CHANGELOG.md",
      "LICENSE",
      "README.md",
      "bin",
      "dist",
      "package.json",
      "proto",
    ]);
    const beside = await readdir(join(project, "node_modules"));
    expect(beside.filter((name) => name.startsWith("node-"))).toEqual([]);
  });
});
