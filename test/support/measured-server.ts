/** A server with a store in memory, in a process of its own that tells its memory, or how long it has worked (milliseconds of a processor), when it is asked. */
import { startServer } from "../../src/server.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import type { MeasuredOptions } from "./measured.ts";

const store = memoryStore({ history: Number(process.argv[2] ?? 256) });
const options = JSON.parse(process.argv[3] ?? "{}") as MeasuredOptions;
const server = await startServer({ ...options, store, listen: { port: 0 } });
process.on("message", async (question) => {
  if (question === "stop") {
    await server.close({ now: true });
    await store.close();
    process.disconnect();
    return;
  }
  if (question === "cpu") {
    const { user, system } = process.cpuUsage();
    process.send?.((user + system) / 1_000);
    return;
  }
  globalThis.gc?.();
  const { rss, heapUsed, external } = process.memoryUsage();
  process.send?.({ rss, held: heapUsed + external });
});
process.send?.({ url: server.url });
