/** Which version of the program this is. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The version in the package's own package.json, as far above dist/src/cli or src/cli as it is. */
export function version(): string {
  const inSource = join(import.meta.dirname, "../../package.json");
  const path = existsSync(inSource) ? inSource : join(import.meta.dirname, "../../../package.json");
  return (JSON.parse(readFileSync(path, "utf8")) as { version: string }).version;
}
