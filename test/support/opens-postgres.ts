/** A program that opens the PostgreSQL store at the URL it is given, writes a session, and ends. */
import { DEFAULT_LIMITS } from "../../src/store.ts";
import { openPostgres } from "../../src/stores/postgres.ts";
import { DEFAULT_RETENTION } from "../../src/stores/retention.ts";

const [url = ""] = process.argv.slice(2);
const backend = await openPostgres(url, { limits: DEFAULT_LIMITS, ...DEFAULT_RETENTION });
const session = { namespace: "", sessionId: String(process.pid) };
const writes = [{ key: "k", value: new Uint8Array(1) }];
const [result] = await backend.run([{ kind: "plan", session, event: "COMMITTED", writes }]);
await backend.close();
process.exitCode = result?.kind === "done" ? 0 : 1;
