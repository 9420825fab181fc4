/** JSON bodies of Connect: each is answered, with a status that doesn't blame the server, and never with the parser's words. */
import { REQUESTS } from "../support/attack-messages.ts";
import type { Random } from "../support/random.ts";
import { connectCall } from "./calls.ts";
import { type Domain, type DomainContext, Finding } from "./domain.ts";
import { mutatedJson } from "./mutate.ts";

const STREAMS = new Set(["Pipeline", "WatchSession", "WatchSessions"]);
const RPCS = Object.keys(REQUESTS).filter((rpc) => !STREAMS.has(rpc));
/** Stands in values; an answer to a refused request must not repeat it. */
const CANARY = "canary-7f3a";

/** Fuzzes the JSON of the unary RPCs. */
export function jsonDomain({ ports }: DomainContext): Domain {
  return {
    name: "json",
    async step(random: Random): Promise<void> {
      const rpc = random.one(RPCS);
      const withCanary = JSON.parse(JSON.stringify(REQUESTS[rpc]).replace('"two"', `"${CANARY}"`)) as unknown;
      const body = mutatedJson(random, withCanary);
      const bytes = Buffer.from(body, random.chance(0.1) ? "latin1" : "utf8");
      const { status, code, text } = await connectCall(ports.mixed, rpc, bytes);
      if (status >= 500 || code === "internal" || code === "unknown") {
        throw new Finding(`${rpc} answers ${status}: ${text}`, `${rpc} ${bytes.toString("hex")}`);
      }
      if (status !== 200 && text.includes(CANARY)) {
        throw new Finding(`${rpc} repeats a value: ${text}`, `${rpc} ${bytes.toString("hex")}`);
      }
    },
  };
}
