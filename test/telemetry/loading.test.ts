/** What loads OpenTelemetry: nobody who has not asked for it. */
import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { expect, test } from "vitest";
import { ROOT } from "../support/markdown.ts";

/** The packages of OpenTelemetry that a file loads, by what it imports at once. */
function loadedBy(entry: string): string[] {
  const seen = new Set<string>();
  const packages = new Set<string>();
  const files = [join(ROOT, entry)];
  for (const file of files) {
    if (seen.has(file)) continue;
    seen.add(file);
    const text = readFileSync(file, "utf8");
    for (const [, clause = "", from = ""] of text.matchAll(
      /^(?:import|export)\s([^;]*?\sfrom\s)?"([^"]+)";$/gms,
    )) {
      const ofTypes = /^(?:type\b|\{(?:\s*type\s[^,]+,?)*\s*\})/.test(clause);
      if (ofTypes) continue;
      if (from.startsWith(".")) files.push(join(dirname(file), from));
      else if (from.startsWith("@opentelemetry/")) packages.add(from);
    }
  }
  expect(seen.size, relative(ROOT, entry)).toBeGreaterThan(1);
  return [...packages].sort();
}

test.each(["src/index.ts", "src/web.ts", "src/server.ts", "src/conformance.ts"])(
  "%s loads nothing of it",
  (entry) => {
    expect(loadedBy(entry)).toEqual([]);
  },
);

test.each(["src/telemetry.ts", "src/cli.ts"])("%s loads its API alone", (entry) => {
  expect(loadedBy(entry)).toEqual(["@opentelemetry/api"]);
});

test("the program has its SDK in one file", () => {
  expect(loadedBy("src/cli/telemetry.ts")).toContain("@opentelemetry/sdk-trace");
});
