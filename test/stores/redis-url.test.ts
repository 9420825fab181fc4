/** What the URL of a store in Redis may be. */
import { expect, test } from "vitest";
import { parseRedisUrl } from "../../src/stores/redis-url.ts";

const DEFAULTS = {
  cluster: false,
  tls: false,
  nodes: [{ host: "host", port: 6379 }],
  username: undefined,
  password: undefined,
  database: 0,
  prefix: "wfs",
  buckets: undefined,
  wait: 0,
  waitTimeoutMs: 1_000,
};

test.each<[string, object]>([
  ["redis://host", {}],
  ["REDIS://host/", {}],
  ["redis://host:7000/3", { nodes: [{ host: "host", port: 7000 }], database: 3 }],
  ["rediss://host", { tls: true }],
  ["redis://[::1]:7000", { nodes: [{ host: "::1", port: 7000 }] }],
  ["redis://user:pa%3Ass%40%2F@host", { username: "user", password: "pa:ss@/" }],
  ["redis://:secret@host", { password: "secret" }],
  ["redis://user:a@b@host", { username: "user", password: "a@b" }],
  [
    "redis://host?prefix=my.app_1:x-&wait=2&waitTimeout=500&buckets=128",
    { prefix: "my.app_1:x-", wait: 2, waitTimeoutMs: 500, buckets: 128 },
  ],
  [
    "redis+cluster://a:1,b,[::1]:3/?wait=1",
    {
      cluster: true,
      nodes: [
        { host: "a", port: 1 },
        { host: "b", port: 6379 },
        { host: "::1", port: 3 },
      ],
      wait: 1,
    },
  ],
  ["rediss+cluster://u:p@host", { cluster: true, tls: true, username: "u", password: "p" }],
])("%s is read", (url, expected) => {
  expect(parseRedisUrl(url)).toEqual({ ...DEFAULTS, ...expected });
});

test.each([
  "",
  "redis:",
  "redis://",
  "redis:///0",
  "http://host",
  "redis+sentinel://host",
  "redis://a,b",
  "redis://secret@host",
  "redis://:secret@host:0",
  "redis://:secret@host:65536",
  "redis://:secret@host:1:2",
  "redis://:secret@host/x",
  "redis://:secret@host/0/1",
  "redis://:secret@host#fragment",
  "redis://:%zz-secret@host",
  "redis+cluster://:secret@host/1",
  "redis+cluster://:secret@a,,b",
  "redis://:secret@host?prefix=",
  "redis://:secret@host?prefix={x}",
  "redis://:secret@host?prefix=ä",
  "redis://:secret@host?wait=-1",
  "redis://:secret@host?wait=1.5",
  "redis://:secret@host?waitTimeout=0",
  "redis://:secret@host?buckets=0",
  "redis://:secret@host?buckets=4097",
  "redis://:secret@host?secret=1",
])("%s is refused, in words that don't repeat it", (url) => {
  let thrown: unknown;
  try {
    parseRedisUrl(url);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toMatchObject({ reason: "INVALID_REQUEST" });
  expect(String(thrown)).not.toContain("secret");
});
