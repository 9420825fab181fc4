import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { faultsOf, type Results, type Side } from "../../interop/matrix.ts";
import { LANGUAGES, TITLES } from "../../interop/programs.ts";
import { tables, unproven, withTables } from "../../interop/tables.ts";
import { ROOT } from "../support/markdown.ts";

const right = (of: number) => ({ right: of, of, faults: [] });

/** What a run of these languages finds if all is well. */
function results(...names: readonly string[]): Results {
  const sides: Side[] = LANGUAGES.filter(({ name }) => names.includes(name)).flatMap((language) =>
    language.protocols.map((protocol) => ({ language, protocol })),
  );
  return {
    vectors: 7,
    cases: 3,
    writes: sides.map((side) => ({ side, outcome: right(7) })),
    cells: sides.flatMap((writer) => sides.map((reader) => ({ writer, reader, outcome: right(7) }))),
    refusals: sides.map((side) => ({ side, outcome: right(8) })),
    behaviours: sides.map((side) => ({ side, outcome: right(3) })),
    together: right(20),
  };
}

const docs = (text: string): string =>
  withTables("# Clients\n\n<!-- interop tables --><!-- interop tables -->\n", text);

describe("the tables", () => {
  test("say what was run, and of the rest that it was not", () => {
    const lines = tables(results("python", "go")).split("\n");
    expect(lines).toContain(
      "| Go, Connect | not built here | identical | identical | not built here | not built here | not built here | not built here |",
    );
    expect(lines).toContain("| Python, gRPC | 3 of 3 | 8 of 8 |");
    expect(lines).toContain("| Rust, gRPC | not built here | not built here |");
    expect(lines.at(-1)).toMatch(/^Python, Go have updated/);
  });

  test("say where a value is another", () => {
    const found = results("python", "go");
    const [cell] = found.cells;
    if (cell === undefined) throw new Error("There is no cell.");
    const wrong = {
      ...found,
      cells: [{ ...cell, outcome: { right: 6, of: 7, faults: ["x"] } }, ...found.cells],
    };
    expect(tables(wrong)).toContain("| Python, gRPC | not built here | **different** | identical |");
    expect(faultsOf(wrong)).toEqual(["python/grpc reads what python/grpc has written: x"]);
    expect(faultsOf(found)).toEqual([]);
  });

  test("are so if the same was found", () => {
    expect(unproven(docs(tables(results("python", "go"))), tables(results("python", "go")))).toEqual([]);
  });

  test("are not so if a language did not run that they say was proven", () => {
    const problems = unproven(docs(tables(results("python", "go"))), tables(results("python")));
    expect(problems.join("\n")).toContain("| Go, gRPC | 3 of 3 |");
  });

  test("claim nothing of a language that was not built, whether it was now or not", () => {
    expect(unproven(docs(tables(results("python"))), tables(results("python", "go")))).toEqual([]);
  });

  test("are not so if more or less was tried", () => {
    const found = results("python");
    expect(unproven(docs(tables(found)), tables({ ...found, vectors: 6 }))).toHaveLength(1);
    const behaviours = found.behaviours.map(({ side }) => ({ side, outcome: right(2) }));
    expect(unproven(docs(tables(found)), tables({ ...found, behaviours }))).toHaveLength(1);
  });

  test("must be there", () => {
    expect(unproven(docs(""), tables(results("python")))).toHaveLength(1);
    expect(() => withTables("# Clients\n", "")).toThrow("twice");
  });
});

test("docs/clients.md has tables of this form, and a row for every client", () => {
  const text = readFileSync(join(ROOT, "docs/clients.md"), "utf8");
  expect(text.match(/<!-- interop tables -->/g)).toHaveLength(2);
  for (const { title, protocols } of LANGUAGES) {
    expect(text).toContain(`\n| ${title} | `);
    for (const protocol of protocols) expect(text).toContain(`\n| ${title}, ${TITLES[protocol]} | `);
  }
});
