/** Attacks on HTTP/1.1: what is ambiguous is refused, what is endless is cut off, and others are served meanwhile. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { rpcPath, sent } from "../support/attack-http2.ts";
import { AttackTarget } from "../support/attack-target.ts";

const BOUND = 150 * 2 ** 20;

let target: AttackTarget;

beforeAll(async () => {
  target = await AttackTarget.start();
});

afterAll(() => target.stop());

async function survives(attack: string, run: () => Promise<unknown>): Promise<void> {
  const { growthBytes } = await target.under("HTTP/1.1", attack, async () => void (await run()));
  expect(growthBytes).toBeLessThan(BOUND);
}

async function opened(): Promise<Socket> {
  const socket = connect(target.port, "127.0.0.1");
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

/** Sends bytes on a new connection; gives what comes back until the server closes it. */
async function answerTo(bytes: string | Uint8Array): Promise<string> {
  const socket = await opened();
  let text = "";
  socket.on("data", (chunk) => {
    text += chunk.toString("latin1");
  });
  socket.write(bytes);
  await once(socket, "close");
  return text;
}

/** Writes a piece again and again on some connections, until the server closes each or the time is over. */
async function streaming(
  opening: string,
  piece: string | Uint8Array,
  connections = 8,
  forMs = 800,
): Promise<number> {
  let closed = 0;
  await Promise.all(
    Array.from({ length: connections }, async () => {
      const socket = await opened();
      socket.resume();
      socket.write(opening);
      for (const end = performance.now() + forMs; performance.now() < end && !socket.destroyed; ) {
        await sent(socket, piece, 100);
        // The server's answer and its end of the connection are seen between two turns.
        await pause(0);
      }
      if (socket.destroyed) closed++;
      socket.destroy();
    }),
  );
  return closed;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const head = (...headers: readonly string[]): string =>
  [
    `POST ${rpcPath("GetState")} HTTP/1.1`,
    "Host: a",
    "Content-Type: application/json",
    ...headers,
    "",
    "",
  ].join("\r\n");

describe("a request that two servers would read as two different ones", () => {
  const smuggled = `GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n`;
  const chunked = "Transfer-Encoding: chunked";
  const CASES: readonly (readonly [string, string])[] = [
    ["a length and chunks", `${head("Content-Length: 5", chunked)}0\r\n\r\n${smuggled}`],
    ["chunks and a length", `${head(chunked, `Content-Length: ${smuggled.length}`)}0\r\n\r\n${smuggled}`],
    ["two lengths", `${head("Content-Length: 2", `Content-Length: ${smuggled.length + 2}`)}{}${smuggled}`],
    ["a list of lengths", `${head("Content-Length: 2, 2")}{}${smuggled}`],
    ["a length with a sign", `${head("Content-Length: +2")}{}${smuggled}`],
    ["a length in hexadecimal", `${head("Content-Length: 0x2")}{}${smuggled}`],
    [
      "a length that is too large for a number",
      `${head("Content-Length: 99999999999999999999999999")}{}${smuggled}`,
    ],
    ["chunked, but not last", `${head("Transfer-Encoding: chunked, identity")}0\r\n\r\n${smuggled}`],
    ["chunked twice", `${head("Transfer-Encoding: chunked, chunked")}0\r\n\r\n${smuggled}`],
    ["chunked, misspelt", `${head("Transfer-Encoding: xchunked")}0\r\n\r\n${smuggled}`],
    ["a space before the colon", `${head("Transfer-Encoding : chunked")}0\r\n\r\n${smuggled}`],
    ["a header that is folded", `${head("Transfer-Encoding:\r\n chunked")}0\r\n\r\n${smuggled}`],
    ["line feeds only", `${head(chunked).replaceAll("\r\n", "\n")}0\n\n${smuggled}`],
    ["a chunk size with a sign", `${head(chunked)}+2\r\n{}\r\n0\r\n\r\n${smuggled}`],
    ["a chunk size with a prefix", `${head(chunked)}0x2\r\n{}\r\n0\r\n\r\n${smuggled}`],
    ["a chunk size that overflows", `${head(chunked)}10000000000000002\r\n{}\r\n0\r\n\r\n${smuggled}`],
    ["a chunk that ends elsewhere", `${head(chunked)}2\r\n{}0\r\n\r\n${smuggled}`],
    ["a chunk extension with a line feed", `${head(chunked)}2;a\nb\r\n{}\r\n0\r\n\r\n${smuggled}`],
    ["a carriage return in a header", `${head("X: a\rTransfer-Encoding: chunked")}{}${smuggled}`],
  ];

  test("is refused, and what follows it is not answered", async () => {
    await survives(`requests that could be smuggled, of ${CASES.length} kinds`, async () => {
      for (const [name, bytes] of CASES) {
        const text = await answerTo(bytes);
        expect(text, name).toMatch(/^HTTP\/1\.1 4\d\d /);
        expect(text.match(/HTTP\/1\.1 /g), name).toHaveLength(1);
      }
    });
  });
});

describe("hosts", () => {
  const HOSTS = [
    "[",
    "]",
    "[::",
    "a:99999",
    "a:b",
    "%",
    "%zz",
    "a b",
    "",
    "a@b",
    "a/b",
    "a?b",
    "\u0080",
    "a,b",
    "..",
    "x".repeat(10_000),
  ];

  test("that are none are refused", async () => {
    await survives(`hosts that are none, of ${HOSTS.length} kinds`, async () => {
      for (const host of HOSTS) {
        const request = head("Connection: close", "Content-Length: 2").replace("Host: a", `Host: ${host}`);
        const text = await answerTo(Buffer.from(`${request}{}`, "latin1"));
        expect(text, host).toMatch(/^HTTP\/1\.1 (?:4\d\d|200) /);
        target.checkLives();
      }
    });
  });
});

describe("what is endless", () => {
  test.each([
    ["headers", `${head().slice(0, -2)}`, `X: ${"x".repeat(1_000)}\r\n`],
    ["one header", `${head().slice(0, -2)}X: `, "x".repeat(1_000)],
    ["a URL", "GET /", "x".repeat(1_000)],
    ["a method", "", "x".repeat(1_000)],
    ["chunk extensions", `${head("Transfer-Encoding: chunked")}2;`, "x".repeat(1_000)],
    ["trailers", `${head("Transfer-Encoding: chunked")}0\r\n`, `X: ${"x".repeat(10_000)}\r\n`],
  ])("%s: the connection is closed", async (name, opening, piece) => {
    await survives(`${name} without end`, async () => {
      expect(await streaming(opening, piece)).toBe(8);
    });
  });

  // These end when a request has lasted too long.
  test.each([
    ["chunks of one byte", head("Transfer-Encoding: chunked"), "1;abc=def\r\n \r\n".repeat(200)],
    ["a body over the limit", head("Transfer-Encoding: chunked"), `10000\r\n${" ".repeat(65_536)}\r\n`],
    // To be skipped before a request (RFC 9112, 2.2).
    ["empty lines", "", "\r\n".repeat(1_000)],
  ])("%s", async (name, opening, piece) => {
    await survives(`${name} without end`, () => streaming(opening, piece));
  });

  test("a promise of 4 GiB sets nothing aside", async () => {
    await survives("4 GiB announced on 100 connections", async () => {
      const sockets = await Promise.all(Array.from({ length: 100 }, opened));
      for (const socket of sockets) socket.write(`${head("Content-Length: 4294967295")}{`);
      await pause(500);
      for (const socket of sockets) socket.destroy();
    });
  });
});

describe("many", () => {
  test.each([
    ["small requests one behind the other", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"],
    ["requests that go nowhere", "GET /nobody HTTP/1.1\r\nHost: a\r\n\r\n"],
    ["requests to go on", head("Expect: 100-continue", "Content-Length: 2").concat("{}")],
    ["upgrades", "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"],
    [
      "upgrades to HTTP/2",
      "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    ],
    ["tunnels", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"],
    [
      "requests with 60 headers",
      head(...Array.from({ length: 60 }, (_, i) => `X-${i}: ${i}`), "Content-Length: 2").concat("{}"),
    ],
  ])("%s", async (name, request) => {
    await survives(name, () => streaming("", request.repeat(50)));
  });

  test("connections that say nothing", async () => {
    await survives("1,000 connections that say nothing", async () => {
      const sockets: Socket[] = [];
      for (let n = 0; n < 10; n++) sockets.push(...(await Promise.all(Array.from({ length: 100 }, opened))));
      await pause(300);
      for (const socket of sockets) socket.destroy();
    });
  });

  test("connections that come and go", async () => {
    await survives("2,000 connections that are broken off in the middle of a request", async () => {
      for (let n = 0; n < 20; n++) {
        const sockets = await Promise.all(Array.from({ length: 100 }, opened));
        for (const socket of sockets) {
          socket.write(`${head("Content-Length: 9")}{`);
          socket.resetAndDestroy();
        }
      }
    });
  });
});
