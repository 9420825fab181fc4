/** copy, export and import as their users run them. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { DEFAULT_LIMITS } from "../src/store.ts";
import { encodeValue } from "../src/value.ts";
import { readAll } from "./support/all-reads.ts";
import {
  count,
  filled,
  folder,
  freshUrl,
  keyFile,
  keyringOf,
  many,
  name,
  newKey,
  stored,
  withStore,
} from "./support/cli-stores.ts";
import { CLI, type CliRun, startCli } from "./support/run-cli.ts";
import { runMain } from "./support/run-main.ts";

/** A run, and how much it has made by now: nothing, something, or `all`. */
interface Task {
  readonly run: CliRun;
  readonly all: number;
  made(): number | Promise<number>;
}

/**
 * Ends a run when it has made something and not all; gives what it ended with. One that was faster is begun anew with twice as
 * many sessions, three times at most.
 */
async function endMidway<T extends Task>(
  signal: NodeJS.Signals,
  begin: (sessions: number) => Promise<T>,
  sessions: number,
  tries = 3,
): Promise<T & { readonly end: unknown }> {
  const task = await begin(sessions);
  const { child, ended } = task.run;
  const isUnderWay = async (): Promise<boolean> => child.exitCode !== null || (await task.made()) > 0;
  await vi.waitUntil(isUnderWay, { timeout: 60_000, interval: 2 });
  child.kill(signal);
  const end = await ended;
  if (tries > 1 && (end === 0 || (await task.made()) >= task.all))
    return endMidway(signal, begin, 2 * sessions, tries - 1);
  return { ...task, end };
}

describe("copy", () => {
  test("moves everything, says how much, and nothing when it is run again", async () => {
    const { url, what, read } = await filled();
    const to = freshUrl();
    const sessions = await count(url);
    expect(await runMain(["copy", "--from", url, "--to", to])).toEqual({
      code: 0,
      output: `copied ${sessions} sessions\n`,
      errors: "",
    });
    expect(await withStore(to, (store) => readAll(store, what.sessions))).toEqual(read);
    expect((await runMain(["copy", "--from", url, "--to", to])).output).toBe(
      `copied 0 sessions, ${sessions} were there already\n`,
    );
  }, 60_000);

  test("takes both stores from the environment, where no other user sees their passwords", async () => {
    const [from, to] = [await many(3), freshUrl()];
    const env = { WORKFLOW_STATE_FROM: from, WORKFLOW_STATE_TO: to };
    expect(await runMain(["copy"], { env })).toEqual({ code: 0, output: "copied 3 sessions\n", errors: "" });
    expect(await stored(to)).toBe(await stored(from));
    const empty = await runMain(["copy"], { env: { ...env, WORKFLOW_STATE_TO: "" } });
    expect([empty.code, empty.errors]).toEqual([2, expect.stringContaining("or WORKFLOW_STATE_TO")]);
  }, 60_000);

  test("leaves out what the target has otherwise, which is no success, and puts it in its place when told to", async () => {
    const [from, to] = [await many(3), freshUrl()];
    await withStore(to, async (store) => {
      await store.setState({ sessionId: "s1", key: "secret", value: encodeValue("secret") });
    });
    const left = await runMain(["copy", "--from", from, "--to", to]);
    expect(left).toEqual({
      code: 1,
      output: "copied 2 sessions, 1 left out\n",
      errors:
        'left out: the target has another session "s1"\n' +
        "workflow-state: 1 sessions were left out: the target has others under their ids; --overwrite puts these in their place\n",
    });
    const over = await runMain(["copy", "--from", from, "--to", to, "--overwrite"]);
    expect([over.code, over.output]).toEqual([0, "copied 1 sessions, 2 were there already\n"]);
    expect(await stored(to)).toBe(await stored(from));
  }, 60_000);

  test.each(["SIGKILL", "SIGINT"] as const)(
    "after %s in the middle every session there is whole, and the next run brings the rest",
    async (signal) => {
      const begin = async (all: number) => {
        const [from, to] = [await many(all), freshUrl()];
        const run = startCli(["copy", "--from", from, "--to", to]);
        return { run, all, from, to, made: () => count(to) };
      };
      const { run, all, from, to, end } = await endMidway(signal, begin, 2_000);
      expect(end).toBe(signal === "SIGKILL" ? "SIGKILL" : 130);
      if (signal === "SIGINT") {
        expect(run.errors()).toMatch(
          /^workflow-state: interrupted; copied [\d,]+ sessions\. Run the same command again to go on\n$/,
        );
      }
      const part = await count(to);
      expect(part).toBeLessThan(all);
      const text = new Set((await stored(from)).split("\n"));
      for (const line of (await stored(to)).split("\n"))
        if (!line.startsWith('{"type":"end"')) expect(text).toContain(line);
      const again = await runMain(["copy", "--from", from, "--to", to]);
      expect(again.code).toBe(0);
      expect(again.output).toMatch(/^copied [\d,]+ sessions, [\d,]+ were there already\n$/);
      expect(await stored(to)).toBe(await stored(from));
    },
    180_000,
  );

  test("draws a bar on a terminal", async () => {
    const [from, to] = [await many(1_500), freshUrl()];
    const command = `stty cols 100; '${process.execPath}' '${CLI}' copy --from '${from}' --to '${to}'`;
    const child = spawn("script", ["-qec", command, "/dev/null"], { env: { ...process.env, TERM: "xterm" } });
    let shown = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      shown += text;
    });
    expect((await once(child, "close"))[0]).toBe(0);
    expect(shown).toMatch(/\r\[#*-+\] +\d+% copying [\d,]+ of 1,500 sessions/);
    expect(shown).toContain("\x1b[Kcopied 1,500 sessions\r\n");
  }, 60_000);

  test.each<[string, (to: string) => string[], RegExp]>([
    ["without a source", (to) => ["--to", to], /name the store to copy from with --from URL/],
    ["without a target", () => ["--from", "sqlite:./x.db"], /name the store to copy to with --to URL/],
    [
      "from a file that is not there",
      (to) => ["--from", "sqlite:./secret.db", "--to", to],
      /no file \.\/secret\.db$/,
    ],
    [
      "from a file whose URL is none",
      (to) => ["--from", "sqlite://secret.db", "--to", to],
      /the store to copy from: Write the URL/,
    ],
    [
      "from memory",
      (to) => ["--from", "memory:", "--to", to],
      /the store to copy from: Only a store in SQLite/,
    ],
    ["to a service", (to) => ["--from", to, "--to", "http://secret@host"], /./],
  ])("that is started wrongly, %s, ends with 2 and makes no file", async (_, args, line) => {
    const to = freshUrl();
    const { code, output, errors } = await runMain(["copy", ...args(to)]);
    expect([code, output]).toEqual([2, ""]);
    expect(errors.trimEnd()).toMatch(line);
    expect(errors.trimEnd()).not.toContain("\n");
    expect(errors).not.toContain("secret@");
    expect(existsSync(to.slice("sqlite:".length))).toBe(false);
  });

  test("from a database that can't be reached ends with 1, one line, and no password", async () => {
    const from = "postgres://user:secret@127.0.0.1:1/db";
    const { code, output, errors } = await runMain(["copy", "--from", from, "--to", freshUrl()]);
    expect([code, output]).toEqual([1, ""]);
    expect(errors).toMatch(/^workflow-state: can't open the store to copy from: .*\n$/);
    expect(errors).not.toContain("secret");
  });
});

describe("export and import", () => {
  test("of a file and of a pipe give the same store", async () => {
    const { url, what, read } = await filled();
    const output = name("jsonl");
    const sessions = await count(url);
    expect(await runMain(["export", "--store", url, "--output", output])).toEqual({
      code: 0,
      output: "",
      errors: `exported ${sessions} sessions\n`,
    });
    expect(statSync(output).mode & 0o777).toBe(0o600);
    const piped = await runMain(["export"], { env: { WORKFLOW_STATE_STORE: url } });
    expect(piped.output).toBe(readFileSync(output, "utf8"));
    expect(piped.output.split("\n")[0]).toBe('{"format":"workflow-state-export","version":1}');
    for (const [args, input] of [
      [["--input", output], ""],
      [[], piped.output],
    ] as const) {
      const to = freshUrl();
      const run = (): ReturnType<typeof runMain> => runMain(["import", "--store", to, ...args], { input });
      expect(await run()).toEqual({ code: 0, output: `imported ${sessions} sessions\n`, errors: "" });
      expect((await run()).output).toBe(`imported 0 sessions, ${sessions} were there already\n`);
      expect(await stored(to)).toBe(piped.output);
      expect(await withStore(to, (store) => readAll(store, what.sessions))).toEqual(read);
    }
  }, 120_000);

  test("an import that was killed is run again", async () => {
    const begin = async (all: number) => {
      const [from, to, output] = [await many(all), freshUrl(), name("jsonl")];
      await runMain(["export", "--store", from, "--output", output]);
      const run = startCli(["import", "--store", to, "--input", output]);
      return { run, all, from, to, output, made: () => count(to) };
    };
    const { all, from, to, output, end } = await endMidway("SIGKILL", begin, 2_000);
    expect(end).toBe("SIGKILL");
    expect(await count(to)).toBeLessThan(all);
    expect((await runMain(["import", "--store", to, "--input", output])).code).toBe(0);
    expect(await stored(to)).toBe(await stored(from));
  }, 180_000);

  test("an interrupted export leaves no file, and an interrupted import says what to do", async () => {
    const parts = (): string[] => readdirSync(folder).filter((file) => file.includes(".partial"));
    const beginExport = async (sessions: number) => {
      const [from, output] = [await many(sessions), name("jsonl")];
      const run = startCli(["export", "--store", from, "--output", output]);
      return { run, all: Number.POSITIVE_INFINITY, output, made: () => parts().length };
    };
    const exporting = await endMidway("SIGINT", beginExport, 6_000);
    expect([exporting.end, exporting.run.output()]).toEqual([130, ""]);
    expect([existsSync(exporting.output), parts()]).toEqual([false, []]);
    expect(exporting.run.errors()).toMatch(/^workflow-state: interrupted; .* Run the same command again/);

    const beginImport = async (all: number) => {
      const [from, to, output] = [await many(all), freshUrl(), name("jsonl")];
      await runMain(["export", "--store", from, "--output", output]);
      const run = startCli(["import", "--store", to, "--input", output]);
      return { run, all, made: () => count(to) };
    };
    const importing = await endMidway("SIGTERM", beginImport, 6_000);
    expect(importing.end).toBe(130);
    expect(importing.run.errors()).toMatch(
      /^workflow-state: interrupted; imported [\d,]+ sessions\. Run the same command again/,
    );
  }, 180_000);

  test("a reader who goes away ends the export with one line", async () => {
    const from = await many(2_000);
    const { child, ended, errors } = startCli(["export", "--store", from]);
    child.stdout?.once("data", () => child.stdout?.destroy());
    expect(await ended).toBe(1);
    expect(errors()).toBe("workflow-state: can't write to stdout: EPIPE\n");
  }, 60_000);

  test.each<[string, (text: string) => string, RegExp, number]>([
    [
      "that was cut short",
      (text) => text.slice(0, text.lastIndexOf('{"type":"end"')),
      /: Line \d+: the file ends here/,
      1,
    ],
    ["that was cut in a line", (text) => text.slice(0, -5), /: Line \d+: it is not JSON/, 1],
    [
      "of a newer version",
      (text) => text.replace('"version":1', '"version":2'),
      /: Line 1: the export has version 2 .* up to 1/,
      0,
    ],
    ["of something else", () => '{"secret":1}\n', /: Line 1: this is no export/, 0],
    ["that is empty", () => "", /: Line 1: the file ends here/, 0],
    [
      "with a wrong line",
      (text) => text.replace('"value":"s1"', '"value":{"secret":1e999}'),
      /: Line \d+: The value at \$\.secret/,
      1,
    ],
  ])(
    "a file %s is refused with its line, and the sessions before are there",
    async (_, spoil, line, made) => {
      const text = spoil(await stored(await many(2)));
      const to = freshUrl();
      const { code, output, errors } = await runMain(["import", "--store", to], { input: text });
      expect([code, output]).toEqual([1, ""]);
      expect(errors.trimEnd()).toMatch(line);
      expect(errors.trimEnd()).not.toContain("\n");
      expect(errors.replace("$.secret", "")).not.toContain("secret");
      expect(await count(to)).toBe(made);
    },
  );

  test("files that can't be read or written are named", async () => {
    const to = freshUrl();
    const missing = await runMain(["import", "--store", to, "--input", "/nowhere/x"]);
    expect([missing.code, missing.errors]).toEqual([2, "workflow-state: can't read /nowhere/x: ENOENT\n"]);
    const from = await many(1);
    const unwritable = await runMain(["export", "--store", from, "--output", "/nowhere/x"]);
    expect([unwritable.code, unwritable.errors]).toEqual([
      2,
      "workflow-state: can't write to /nowhere/x: ENOENT\n",
    ]);
    const unnamed = await runMain(["export"]);
    expect([unnamed.code, unnamed.errors]).toEqual([2, "workflow-state: name the store with --store URL\n"]);
  });

  test("an import leaves out what the store has otherwise, and puts it in its place when told to", async () => {
    const [from, to] = [await many(2), freshUrl()];
    await withStore(to, (store) => store.setState({ sessionId: "s1", key: "k", value: encodeValue(1) }));
    const input = await stored(from);
    const left = await runMain(["import", "--store", to], { input });
    expect([left.code, left.output]).toEqual([1, "imported 1 sessions, 1 left out\n"]);
    expect(left.errors).toContain('left out: the target has another session "s1"\n');
    const over = await runMain(["import", "--store", to, "--overwrite"], { input });
    expect([over.code, over.output]).toEqual([0, "imported 1 sessions, 1 were there already\n"]);
    expect(await stored(to)).toBe(input);
  });

  test("larger limits than the default ones come from the server's config file", async () => {
    const limits = { valueBytes: 4 << 20 };
    const from = freshUrl();
    await withStore(
      from,
      (store) =>
        store.setState({
          sessionId: "s",
          key: "k",
          value: encodeValue("x".repeat(2 << 20), { ...DEFAULT_LIMITS, ...limits }),
        }),
      { limits },
    );
    const text = await stored(from);
    const to = freshUrl();
    const refused = await runMain(["import", "--store", to], { input: text });
    expect([refused.code, refused.errors]).toEqual([
      1,
      expect.stringMatching(/Line 3: The value is larger than/),
    ]);
    const config = name("json");
    writeFileSync(config, JSON.stringify({ limits, store: to }));
    expect((await runMain(["import", "--config", config], { input: text })).code).toBe(0);
    expect(await stored(to)).toBe(text);
  }, 60_000);
});

describe("an interrupt", () => {
  test("ends every command in order, with what to do next, and a second one at once", async () => {
    const [old, next] = [newKey(), newKey()];
    const from = await many(2_000, keyringOf(keyFile({ old })));
    const keys = keyFile({ next, old });
    const [file, part] = [name("jsonl"), name("jsonl")];
    await runMain(["export", "--store", from, "--output", file]);
    const exit = vi.spyOn(process, "exit").mockImplementation((() => {}) as never);
    onTestFinished(() => exit.mockRestore());
    const commands = [
      ["copy", "--from", from, "--to", freshUrl()],
      ["import", "--store", freshUrl(), "--input", file],
      ["export", "--store", from, "--output", part],
      ["rotate-keys", "--store", from, "--encryption-keys", keys],
    ];
    for (const [i, command] of commands.entries()) {
      const { code, output, errors } = await runMain(command, { interrupts: i === 0 ? 2 : 1 });
      expect([code, output], command[0]).toEqual([130, ""]);
      expect(errors).toMatch(/^workflow-state: interrupted; .*\. Run the same command again to go on\n$/);
    }
    expect(exit.mock.calls).toEqual([[130]]);
    expect(existsSync(part)).toBe(false);
    for (const output of [[], ["--output", "/dev/null"]]) {
      const { code } = await runMain(["export", "--store", from, ...output], { interrupts: 1 });
      expect(code).toBe(130);
    }
    // What is no file is written as it is, and stays.
    expect((await runMain(["export", "--store", from, "--output", "/dev/null"])).code).toBe(0);
    expect(statSync("/dev/null").isFile()).toBe(false);
    for (const command of commands) expect((await runMain(command)).code, command[0]).toBe(0);
  }, 180_000);
});
