/** docs/observability.md: its command is run, its metrics compared with what is scraped, its program checked and run. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { openStore } from "../src/open.ts";
import { writePrograms } from "./support/doc-programs.ts";
import { blocksOf, ROOT, tableRows } from "./support/markdown.ts";
import { parsePrometheus } from "./support/prometheus.ts";
import { startCli } from "./support/run-cli.ts";
import { runNode } from "./support/run-node.ts";
import { until } from "./support/until.ts";

const PAGE = "docs/observability.md";

test("the metrics of the page are those that its command serves, with the labels that it says", async () => {
  const [block, ...more] = blocksOf(PAGE).filter(({ info }) => info === "sh");
  expect(more).toEqual([]);
  const [, port = ""] = /^npm start -- --metrics 127\.0\.0\.1:(\d+)\n$/.exec(block?.text ?? "") ?? [];
  expect(port).toBe("9464");
  // Ports that are free stand for those of the page.
  const run = startCli(["serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]);
  const [, url = ""] = await until(() => /^listening on (\S+)$/m.exec(run.output()));
  const [, metrics = ""] = await until(() => /"url":"(http:[^"]+\/metrics)"/.exec(run.errors()));
  const store = await openStore(url);
  try {
    await store.setState("s", "k", 1);
    await expect(store.setState("s", "k", 1, { ifRevision: 9 })).rejects.toThrow();
    const watching = store.watchSession("s", { afterRevision: 1 })[Symbol.asyncIterator]();
    const next = watching.next();
    await until(async () => (await scraped(metrics)).includes("workflow_state_watch_open{") || undefined);
    await store.setState("s", "k", 2);
    await next;
    const shown = [...parsePrometheus(await scraped(metrics))].map(([name, { samples }]) => {
      const labels = samples
        .flatMap((sample) => Object.keys(sample.labels))
        .filter((label) => label !== "le");
      return [name, name === "target_info" ? [] : [...new Set(labels)].sort()];
    });
    const said = tableRows(PAGE)
      .filter(([name = ""]) => /^`[a-z0-9_]+`$/.test(name))
      .map(([name = "", labels = ""]) => [
        name.replaceAll("`", ""),
        [...labels.matchAll(/`([a-z_]+)`/g)].map(([, label]) => label).sort(),
      ]);
    expect(Object.fromEntries(shown)).toEqual(Object.fromEntries(said));
  } finally {
    await store.close();
  }
});

test("the page's program passes the type checker and runs", async () => {
  const { folder, programs, remove } = writePrograms([PAGE], {});
  try {
    const { stdout } = await runNode(join(ROOT, "node_modules/typescript/bin/tsc"), "-p", folder);
    expect(stdout).toBe("");
    expect(programs.length).toBe(1);
    for (const { file } of programs) {
      const ran = await runNode(file);
      expect(ran.stderr).toBe("");
      expect(ran.stdout).toMatch(/^http:\/\/127\.0\.0\.1:\d+\n$/);
    }
  } finally {
    remove();
  }
}, 180_000);

async function scraped(url: string): Promise<string> {
  const answer = await fetch(url);
  expect(answer.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  return answer.text();
}
