/** The Redis servers that test files share. Each store has a key prefix of its own in them. */
import { HAS_REDIS } from "./has-redis.ts";
import { service } from "./services.ts";

/** A server or a cluster that is shared: it may not be ended, and what is done to it is done to others. */
export class SharedRedis {
  /** Where it is, without a query. */
  readonly url: string;
  #prefixes = 0;

  constructor(url: string) {
    this.url = url;
  }

  /** The URL of a store that nothing has used before; more may be said in its query. */
  fresh(query = ""): string {
    this.#prefixes += 1;
    return `${this.url}?prefix=t${process.pid}-${Date.now().toString(36)}-${this.#prefixes}${query}`;
  }
}

/** One server. */
export async function sharedRedis(): Promise<SharedRedis> {
  return new SharedRedis(String(await service("redis")));
}

/** A cluster of six. */
export async function sharedCluster(): Promise<SharedRedis> {
  return new SharedRedis(String(await service("redis-cluster")));
}

/** Names in the output what is left out where no Redis is installed. */
export function nameSkippedRedis(suite: string): void {
  if (!HAS_REDIS)
    console.log(`${suite}: skipped on Redis and Redis Cluster: there is no redis-server to start.`);
}
