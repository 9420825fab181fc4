/** An observer that writes down what it sees. */
import { Code } from "@connectrpc/connect";
import type { Failure, Observation, Observer, RpcStart, Write } from "../../src/server.ts";

/** One RPC as it was seen. */
export interface Seen {
  readonly rpc: RpcStart;
  /** Every caller that was told of, as "principal@namespace", the last one last. */
  readonly callers: string[];
  readonly writes: Write[];
  sent: number;
  /** How it ended, once for each time that it did: "ok", or the code and the reason. */
  readonly ends: string[];
}

/** Writes down what it sees. */
export class LookingOn implements Observer {
  readonly seen: Seen[] = [];

  begin(rpc: RpcStart): Observation {
    const seen: Seen = { rpc, callers: [], writes: [], sent: 0, ends: [] };
    this.seen.push(seen);
    return {
      who: (principal, namespace) => seen.callers.push(`${principal}@${namespace ?? "?"}`),
      sent() {
        seen.sent++;
      },
      wrote: (write) => seen.writes.push(write),
      end: (failure) => seen.ends.push(outcome(failure)),
    };
  }

  /** The one RPC of a method that was seen, once it has ended. */
  async ended(method: string): Promise<Seen> {
    for (;;) {
      const all = this.seen.filter(({ rpc }) => rpc.method === method);
      const [one] = all;
      if (all.length > 1) throw new Error(`${method} was seen ${all.length} times.`);
      if (one !== undefined && one.ends.length > 0) return one;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
}

/** How a call or a write ended. */
export function outcome(failure: Failure | undefined): string {
  if (failure === undefined) return "ok";
  return failure.reason === undefined ? Code[failure.code] : `${Code[failure.code]} ${failure.reason}`;
}
