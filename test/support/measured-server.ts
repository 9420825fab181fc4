/** A server with a store in memory, in a process of its own that tells its memory when it is asked. */
import { startServer } from "../../src/server.ts";
import { memoryStore } from "../../src/stores/memory.ts";

const store = memoryStore({ history: Number(process.argv[2] ?? 256) });
const server = await startServer({ store, listen: { port: 0 } });
process.on("message", async (question) => {
  if (question === "stop") {
    await server.close({ now: true });
    await store.close();
    process.disconnect();
    return;
  }
  globalThis.gc?.();
  const { rss, heapUsed, external } = process.memoryUsage();
  process.send?.({ rss, held: heapUsed + external });
});
process.send?.({ url: server.url });
