/** A server in a process of its own, whose memory can be asked for. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { ServerOptions } from "../../src/server.ts";

/** Memory of a process in bytes, after its garbage was collected. */
export interface Memory {
  readonly rss: number;
  /** The heap, and what buffers hold. */
  readonly held: number;
}

/** A server that runs. */
export interface Measured {
  readonly url: string;
  memory(): Promise<Memory>;
  /** How much of a processor it takes for so long, in milliseconds: 1 is all of one. */
  cpuShare(ms: number): Promise<number>;
  stop(): Promise<void>;
}

/** What can be said of a server to another process. */
export type MeasuredOptions = Pick<ServerOptions, "connections" | "fastPath" | "pingIntervalMs">;

/** Starts a server over a store in memory, which keeps so many commits of a session. */
export async function startMeasured(history: number, options: MeasuredOptions = {}): Promise<Measured> {
  const script = fileURLToPath(new URL("measured-server.ts", import.meta.url));
  const args = [String(history), JSON.stringify(options)];
  const child: ChildProcess = fork(script, args, { execArgv: ["--expose-gc"] });
  const [{ url }] = (await once(child, "message")) as [{ url: string }];
  const ask = async <Answer>(question: string): Promise<Answer> => {
    const answer = once(child, "message");
    child.send(question);
    return (await answer)[0] as Answer;
  };
  return {
    url,
    memory: () => ask("memory"),
    async cpuShare(ms) {
      const [begin, since] = [await ask<number>("cpu"), performance.now()];
      await pause(ms);
      return ((await ask<number>("cpu")) - begin) / (performance.now() - since);
    },
    async stop() {
      const exited = once(child, "exit");
      child.send("stop");
      await exited;
    },
  };
}
