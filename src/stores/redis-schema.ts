/** Whether a store can be kept in servers as they are, and how it is laid out there. */
import { ErrorReply } from "@redis/client";
import { WorkflowStateError } from "../errors.ts";
import { lasting } from "./lasting.ts";
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

// Does once all that the scripts do: what a user may not do would stop a script in its middle, and Redis undoes nothing.
const TRY = `#!lua
local hash, zset, list, stream = KEYS[1] .. 'hash', KEYS[1] .. 'zset', KEYS[1] .. 'list', KEYS[1] .. 'stream'
local other = KEYS[1] .. 'other'
local call = redis.call
call('DEL', hash, zset, list, stream, other)
call('TIME')
call('HSET', hash, 'a', '1', 'b', '2')
call('HGET', hash, 'a')
call('HMGET', hash, 'a', 'b')
call('HGETALL', hash)
call('HLEN', hash)
call('HKEYS', hash)
call('HDEL', hash, 'b')
call('ZADD', zset, 0, 'a', 0, 'b')
call('ZRANGE', zset, 0, -1)
call('ZRANGEBYSCORE', zset, '-inf', '+inf')
call('ZCOUNT', zset, '-inf', '+inf')
call('ZLEXCOUNT', zset, '-', '+')
call('ZCARD', zset)
call('ZSCORE', zset, 'a')
call('ZREM', zset, 'b')
call('RPUSH', list, 'a')
call('LRANGE', list, 0, -1)
call('LTRIM', list, 1, -1)
call('XADD', stream, 'MAXLEN', '~', 10, '0-*', 'a', 'b')
call('EXISTS', hash)
call('EXPIRE', hash, 60)
call('RENAME', hash, other)
call('PERSIST', other)
call('UNLINK', zset, list, stream, other)
call('SPUBLISH', ARGV[1], '')
return 1
`;

/** Refuses a user who may not do what the scripts do. Fails with STORE_UNAVAILABLE. */
export async function checkRights(link: Link, tag: string): Promise<void> {
  // A name of its own for each: several may try at once.
  const key = `${tag}try${Buffer.from(crypto.getRandomValues(new Uint8Array(9))).toString("hex")}`;
  // A channel that nobody listens on, though one that needs the same rights.
  const attempt = ["EVAL", TRY, "1", key, `${tag}tried`];
  const commands = [attempt, ["HSCAN", key, "0"], ["XRANGE", key, "-", "+"], ["XREVRANGE", key, "+", "-"]];
  const client = await link.clientOf(tag);
  for (const command of commands) {
    await send(client, command).catch((error: unknown) => {
      const { error: failure } = failureOf(error, false);
      // Inside a script it is told in other words.
      const forbidden =
        error instanceof ErrorReply &&
        /NOPERM|can't run this|can't publish|No permissions|Unknown Redis command/i.test(error.message);
      if (!forbidden) throw failure;
      throw lasting(
        new WorkflowStateError(
          "STORE_UNAVAILABLE",
          "This Redis user may not do what the store needs: give it the rights that the docs list.",
          { cause: error },
        ),
      );
    });
  }
}

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
