/** Whether a store can be kept in servers as they are, and how it is laid out there. */
import { WorkflowStateError } from "../errors.ts";
import { list, text } from "./redis-bytes.ts";
import { failureOf } from "./redis-errors.ts";
import { type Client, type Link, send } from "./redis-link.ts";

/** The layout that this version keeps. */
const VERSION = "1";
const DEFAULT_BUCKETS = 64;

/** Refuses servers that drop keys when they are full, or are too old. Fails with INVALID_REQUEST, STORE_UNAVAILABLE. */
export async function checkServers(link: Link): Promise<void> {
  for (const client of await link.primaries()) {
    const [memory, server] = await Promise.all([info(client, "memory"), info(client, "server")]);
    const policy = memory.get("maxmemory_policy") ?? "noeviction";
    // The other policies drop keys that expire by Redis' own clock, and none of a store's do.
    if (Number(memory.get("maxmemory") ?? 0) > 0 && policy.startsWith("allkeys-")) {
      throw new WorkflowStateError(
        "INVALID_REQUEST",
        `This Redis drops keys when it is full (maxmemory-policy ${policy}), so a store would lose sessions: set it to noeviction.`,
        { metadata: { field: "url" } },
      );
    }
    const version = server.get("redis_version") ?? "7";
    if (Number.parseInt(version, 10) < 7) {
      throw new WorkflowStateError(
        "INVALID_REQUEST",
        "A store needs Redis 7 or Valkey: this is an older Redis.",
        {
          metadata: { field: "url" },
        },
      );
    }
  }
}

/** A section of what a server says of itself; nothing if the user may not ask. */
async function info(client: Client, section: string): Promise<Map<string, string>> {
  const said = await send(client, ["INFO", section]).then(text, (error: unknown) => {
    const { error: failure } = failureOf(error, false);
    if (failure.cause instanceof Error && failure.cause.message.startsWith("NOPERM")) return "";
    throw failure;
  });
  return new Map(
    said.split("\r\n").flatMap((line) => {
      const colon = line.indexOf(":");
      return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 1)] as const];
    }),
  );
}

// One server may be asked by many at once: who comes first says how the store is laid out.
const CLAIM = `#!lua
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('HSET', KEYS[1], 'version', ARGV[1], 'buckets', ARGV[2]) end
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then return false end
return redis.call('HMGET', KEYS[1], 'version', 'buckets')
`;

/**
 * Finds how a store is laid out, or lays it out; returns the number of its buckets.
 * Fails with INVALID_REQUEST if it is of a newer version, or not what was asked for.
 */
export async function openSchema(link: Link, prefix: string, buckets: number | undefined): Promise<number> {
  const key = `{${prefix}}schema`;
  const claim = ["EVAL", CLAIM, "1", key, VERSION, String(buckets ?? DEFAULT_BUCKETS)];
  const reply = await send(await link.clientOf(key), claim).catch((error: unknown) => {
    throw failureOf(error, false).error;
  });
  const [version, count] = reply === null ? [] : list(reply);
  const kept = count === undefined || count === null ? 0 : Number(text(count));
  if (version === undefined || version === null || !(kept >= 1)) {
    throw refused("The key prefix is used for something else here: choose another one with ?prefix=.");
  }
  if (text(version) !== VERSION) {
    throw refused("This store was made by a newer version of the program: use that one.");
  }
  if (buckets !== undefined && buckets !== kept) {
    throw refused(`This store has ${kept} buckets, which can't be changed: leave ?buckets= away.`);
  }
  return kept;
}

function refused(message: string): WorkflowStateError {
  return new WorkflowStateError("INVALID_REQUEST", message, { metadata: { field: "url" } });
}
