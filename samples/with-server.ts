/** What the samples run against: the service at the URL that the command line names, or one of their own. */
import { startServer } from "../src/server.ts";
import { memoryStore } from "../src/stores/memory.ts";

/** Calls `run` with the URL of a service; one that was started for it is stopped afterwards. */
export async function withServer(
  url: string | undefined,
  run: (url: string) => Promise<void>,
): Promise<void> {
  if (url !== undefined) {
    return run(url);
  }
  const store = memoryStore();
  const server = await startServer({ store, listen: { port: 0 } });
  try {
    await run(server.url);
  } finally {
    await server.close();
    await store.close();
  }
}
