import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Language, run } from "../../interop/programs.ts";
import { buildClient, clientsWith } from "../../scripts/clients.ts";

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "workflow-state-programs-"));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A script of the shell. */
function script(name: string, text: string): string {
  const path = join(folder, name);
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

describe("a program", () => {
  const asked = { command: "read", url: "URL", protocol: "grpc", prefix: "PREFIX", file: "FILE" } as const;

  function program(text: string): Language {
    return { name: "shell", title: "Shell", protocols: ["grpc"], command: [script("program.sh", text)] };
  }

  test("is told what README.md says, and its lines are given in the order of the names", async () => {
    const shell = program(
      `test "$*" = "read URL grpc PREFIX FILE" && echo '{"name":"b","ok":true}' && echo '{"name":"a","ok":false,"message":"m"}'`,
    );
    expect(await run(shell, asked, ["a", "b"])).toEqual([
      { name: "a", ok: false, message: "m" },
      { name: "b", ok: true },
    ]);
  });

  test.each([
    ["fails", "echo why >&2; exit 2", "ended with 2: why"],
    ["leaves something out", `echo '{"name":"a","ok":true}'`, "has 1 lines, and should have 2"],
    ["says nothing", "exit 0", "has 0 lines"],
    [
      "says something twice",
      `echo '{"name":"a","ok":true}'; echo '{"name":"a","ok":true}'`,
      'says something twice of "a"',
    ],
    [
      "says something else",
      `echo '{"name":"a","ok":true}'; echo '{"name":"c","ok":true}'`,
      'says nothing of "b"',
    ],
    ["says no JSON", "echo hello; echo world", "JSON"],
  ])("that %s is not believed", async (_, text, message) => {
    await expect(run(program(text), asked, ["a", "b"])).rejects.toThrow(message);
  });
});

describe("a client", () => {
  test("is built by its script, which is heard", async () => {
    script("one/build.sh", "echo working");
    const heard: string[] = [];
    const built = await buildClient("one", { folder, tell: (text) => heard.push(text) });
    expect(built).toMatchObject({ state: "done" });
    expect(heard).toEqual(["working\n"]);
  });

  test("is left out if its script can't be run here, with what it says last", async () => {
    script("two/check.sh", "echo first >&2; echo 'left out: no compiler' >&2; exit 3");
    expect(await buildClient("two", { folder, script: "check.sh" })).toEqual({
      state: "left out",
      why: "no compiler",
    });
  });

  test("is left out if its tools are not here", async () => {
    script("rust/build.sh", "exit 0");
    const path = process.env["PATH"];
    process.env["PATH"] = folder;
    try {
      expect(await buildClient("rust", { folder })).toEqual({ state: "left out", why: "cargo is not here." });
    } finally {
      process.env["PATH"] = path;
    }
  });

  test("that can't be built has failed, and says how", async () => {
    script("three/build.sh", "echo broken; echo more >&2; exit 1");
    const built = await buildClient("three", { folder });
    expect(built).toMatchObject({ state: "failed" });
    expect(built.state === "failed" && built.output.split("\n").sort()).toEqual(["", "broken", "more"]);
  });

  test("each in the checkout can be built and checked", () => {
    expect(clientsWith("build.sh")).toContain("python");
    expect(clientsWith("check.sh")).toContain("python");
  });
});
