/** Whether tests can start a Redis here. */
import { spawnSync } from "node:child_process";

/** Whether there is a redis-server to start. */
export const HAS_REDIS: boolean = spawnSync("redis-server", ["--version"]).status === 0;
