/** Many watchers of one session: how fast all of them see every commit. */
import { openStore } from "../src/open.ts";
import type { WorkflowStateStore } from "../src/store.ts";
import { startServerProcess } from "./server-process.ts";

const WATCHERS_PER_CONNECTION = 50;

export async function benchWatch({
  watchers,
  commits,
}: {
  watchers: number;
  commits: number;
}): Promise<void> {
  const server = await startServerProcess();
  try {
    const writer = await openStore(server.url);
    const stores: WorkflowStateStore[] = [];
    for (let i = 0; i < watchers; i += WATCHERS_PER_CONNECTION) stores.push(await openStore(server.url));
    await writer.setState("s", "n", 0);
    const start = performance.now();
    const all = Array.from({ length: watchers }, async (_, i) => {
      const store = stores[Math.floor(i / WATCHERS_PER_CONNECTION)] as WorkflowStateStore;
      let seen = 0;
      for await (const message of store.watchSession("s", { afterRevision: 1 })) {
        if (message.kind === "event" && ++seen === commits) return;
      }
    });
    for (let i = 0; i < commits; i++) await writer.setState("s", "n", i);
    await Promise.all(all);
    const perSecond = (watchers * commits * 1_000) / (performance.now() - start);
    console.log(`Watching over gRPC: ${watchers} watchers of one session, ${commits} commits`);
    console.log(
      `  ${"events delivered a second, all watchers together".padEnd(58)} ${Math.round(perSecond).toLocaleString("en").padStart(12)}`,
    );
    for (const store of [...stores, writer]) await store.close();
  } finally {
    await server.stop();
  }
}
