/**
 * `node interop/expand.ts FOLDER`: writes `vectors.json` as programs get it into the folder, to try a program by hand. What
 * `behaviour.json` needs is only there in a run: `npm run interop -- --only LANGUAGE`.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { jsonOf, readData } from "./data.ts";

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error("Where to? Name a folder.");
writeFileSync(join(folder, "vectors.json"), jsonOf(readData("vectors.json")));
