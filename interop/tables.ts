/** What a run has found, as the tables of docs/clients.md, and what of the docs' tables is not so. */
import type { Results, Side } from "./matrix.ts";
import { LANGUAGES, type Language, TITLES } from "./programs.ts";

const MARK = "<!-- interop tables -->";
/** A claim; whatever else stands in a cell claims nothing. */
const NOT_BUILT = "not built here";

/** The tables in Markdown. Languages without results are said not to be built. */
export function tables({ vectors, cases, cells, behaviours, refusals }: Results): string {
  const ran = LANGUAGES.filter((language) => behaviours.some(({ side }) => side.language === language));
  const sides = LANGUAGES.flatMap((language) =>
    language.protocols.map((protocol) => ({ language, protocol })),
  );
  const readAs = (writer: Side, reader: Language): string => {
    const own = cells.filter((cell) => is(cell.writer, writer) && cell.reader.language === reader);
    if (own.length === 0) return NOT_BUILT;
    return own.every(({ outcome }) => outcome.right === outcome.of && outcome.faults.length === 0)
      ? "identical"
      : "**different**";
  };
  const values = [
    ["written by \\ read by", ...LANGUAGES.map(({ title }) => title)],
    ...sides.map((writer) => [titleOf(writer), ...LANGUAGES.map((reader) => readAs(writer, reader))]),
  ];
  const count = (list: Results["behaviours"], side: Side): string => {
    const found = list.find((one) => is(one.side, side));
    return found === undefined ? NOT_BUILT : `${found.outcome.right} of ${found.outcome.of}`;
  };
  const behaviour = [
    ["client", "cases that it passes", "values nearly right that it refuses"],
    ...sides.map((side) => [titleOf(side), count(behaviours, side), count(refusals, side)]),
  ];
  return [
    `${vectors} values, each read by GetState and as a member of a listing or session, by each client over each of its protocols:`,
    table(values),
    `${cases} cases of behaviour. That a client would notice a difference is tried with values that are nearly right:`,
    table(behaviour),
    `${ran.map(({ title }) => title).join(", ")} have updated one key of one session at once, and every update was counted.`,
  ].join("\n\n");
}

function is(a: Side, b: Side): boolean {
  return a.language === b.language && a.protocol === b.protocol;
}

function titleOf({ language, protocol }: Side): string {
  return `${language.title}, ${TITLES[protocol]}`;
}

function table([head = [], ...rows]: readonly (readonly string[])[]): string {
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** The docs with the tables in their place, between two marks. */
export function withTables(docs: string, text: string): string {
  const parts = docs.split(MARK);
  if (parts.length !== 3)
    throw new Error(`docs/clients.md must have ${MARK} twice: before and after the tables.`);
  return [parts[0], `\n\n${text}\n\n`, parts[2]].join(MARK);
}

/**
 * What the docs claim and this run has not found. Where the docs say that something was not built, they claim nothing; where
 * this run did not build it, it has not found it.
 */
export function unproven(docs: string, text: string): string[] {
  const claimed = lines(docs.split(MARK)[1] ?? "");
  const found = lines(text);
  if (claimed.length === 0) return ["docs/clients.md has no tables: `npm run interop` writes them."];
  if (claimed.length !== found.length)
    return ["The tables are not of this form: `npm run interop` writes them."];
  return claimed.flatMap((line, at) => differences(line, found[at] ?? ""));
}

/** The lines that say something, the last one left out: it follows from the others. */
function lines(text: string): string[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .slice(0, -1);
}

function differences(claimed: string, found: string): string[] {
  const claims = claimed.split("|");
  const facts = found.split("|");
  const wrong = claims.filter((claim, at) => claim.trim() !== NOT_BUILT && claim !== facts[at]);
  return wrong.length === 0 ? [] : [`The docs say\n  ${claimed}\nand this run has found\n  ${found}`];
}
