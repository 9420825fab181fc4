/** The program of the TypeScript client: README.md says how it is called and what it prints. */
import { openStore, type WorkflowStateStore } from "../src/index.ts";
import { type BehaviourFile, behave } from "./behave.ts";
import { identical, type Json, readJson, type Vector } from "./data.ts";

/** What the protocols of the matrix are to `openStore`. */
const PROTOCOLS: Readonly<Record<string, Parameters<typeof openStore>[1]>> = {
  grpc: { protocol: "grpc" },
  "grpc-web": { protocol: "grpc-web" },
  connect: { protocol: "connect" },
  "connect-json": { protocol: "connect", codec: "json" },
};

/** Values are written without regard to what TypeScript makes of their names: as unknown JSON. */
async function write(
  store: WorkflowStateStore,
  sessionId: string,
  vectors: readonly Vector[],
): Promise<void> {
  for (const { name, key, value } of vectors) {
    try {
      await store.setState(sessionId, key, value);
      print({ name, ok: true });
    } catch (error) {
      print({ name, ok: false, message: String(error) });
    }
  }
}

async function read(store: WorkflowStateStore, sessionId: string, vectors: readonly Vector[]): Promise<void> {
  const listed = new Map<string, Json>();
  let pageToken = "";
  do {
    const page = await store.listState(sessionId, { pageSize: 50, pageToken });
    for (const { key, value } of page.entries) listed.set(key, value as Json);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  const session = await store.getSession(sessionId);
  for (const { name, key, value } of vectors) {
    const ways = {
      GetState: await store.getState(sessionId, key),
      ListState: listed.get(key),
      GetSession: Object.hasOwn(session?.state ?? {}, key) ? session?.state[key] : undefined,
    };
    const wrong = Object.entries(ways).filter(([, found]) => !identical(found, value));
    if (wrong.length === 0) print({ name, ok: true });
    else print({ name, ok: false, message: `not identical by ${wrong.map(([way]) => way).join(", ")}` });
  }
}

function print(line: { readonly name: string; readonly ok: boolean; readonly message?: string }): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

const [command, url = "", protocol = "", prefix = "", file = ""] = process.argv.slice(2);
const options = PROTOCOLS[protocol];
if (options === undefined) throw new Error(`This client speaks ${Object.keys(PROTOCOLS).join(", ")}.`);
const data: unknown = readJson(file);

if (command === "behave") {
  for await (const line of behave(data as BehaviourFile, { url, prefix, options })) print(line);
} else {
  await using store = await openStore(url, options);
  const { vectors } = data as { readonly vectors: readonly Vector[] };
  if (command === "write") await write(store, prefix, vectors);
  else if (command === "read") await read(store, prefix, vectors);
  else throw new Error("The command is write, read or behave.");
}
