/**
 * Callers that are slow on purpose, all at once: connections that say nothing, handshakes that stall, headers and bodies byte
 * by byte. Each is cut off after its time, and others are served meanwhile.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { FRAME, frame, grpcHeaders, PREFACE, rpcPath, settings } from "../support/attack-http2.ts";
import { AttackTarget } from "../support/attack-target.ts";
import { selfSigned } from "../support/self-signed.ts";

/** So many of each kind. */
const CONNECTIONS = 100;
/** After this all must be gone. The longest time that there is, to answer a ping, is 40 s; a slow machine may take longer. */
const ALL_GONE_MS = 90_000;
const BYTE_EVERY_MS = 500;

const head = `POST ${rpcPath("GetState")} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n`;

/** What is sent at once, and what of it byte by byte after that. */
const OVER_TCP: Readonly<Record<string, readonly [string | Uint8Array, string | Uint8Array]>> = {
  "connections that say nothing": ["", ""],
  "a preface byte by byte": ["", PREFACE],
  "half a preface": [PREFACE.subarray(0, 12), ""],
  "headers byte by byte": ["", `${head}X: ${"x".repeat(1_000)}`],
  "headers without an end": [head, ""],
  "a body byte by byte": [`${head}Content-Length: 1000\r\n\r\n`, " ".repeat(1_000)],
  "a body that never comes": [`${head}Content-Length: 1000\r\n\r\n`, ""],
  "a chunk that never ends": [`${head}Transfer-Encoding: chunked\r\n\r\nffff\r\n`, ""],
};
const OVER_TLS: typeof OVER_TCP = {
  "a TLS handshake that does not begin": ["", ""],
  "a TLS handshake that stalls": [Buffer.from("16030100a5010000a10303", "hex"), ""],
  "a TLS handshake byte by byte": [Buffer.from("160301", "hex"), new Uint8Array(200)],
};
/** HTTP/2 says by itself how long a peer has: these connections answer no ping. */
const OVER_HTTP2: typeof OVER_TCP = {
  "a peer of HTTP/2 that answers no ping": [Buffer.concat([PREFACE, settings()]), ""],
  "headers of HTTP/2 without an end": [
    Buffer.concat([PREFACE, settings(), frame(FRAME.headers, 0, 1, grpcHeaders("GetState"))]),
    "",
  ],
};

class Slow {
  readonly #socket: Socket;
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(port: number, [first, rest]: readonly [string | Uint8Array, string | Uint8Array]) {
    this.#socket = connect(port, "127.0.0.1");
    this.#socket.on("error", () => {}).resume();
    if (first.length > 0) this.#socket.write(first);
    const bytes = Buffer.from(rest);
    let at = 0;
    if (bytes.length > 0) {
      this.#timer = setInterval(() => {
        this.#socket.write(bytes.subarray(at, ++at));
      }, BYTE_EVERY_MS);
    }
  }

  /** Settles when the server has cut it off. */
  async gone(): Promise<void> {
    if (!this.#socket.destroyed) await once(this.#socket, "close");
    clearInterval(this.#timer);
  }
}

test("each is cut off after its time", { timeout: 150_000 }, async () => {
  const [plain, secure] = await Promise.all([
    AttackTarget.start(),
    AttackTarget.start({ tls: selfSigned() }),
  ]);
  onTestFinished(() => Promise.all([plain.stop(), secure.stop()]).then(() => {}));

  /** Runs one kind; fails naming it if one connection of it stays. */
  async function cutOff(port: number, name: string, sends: (typeof OVER_TCP)[string]): Promise<void> {
    const callers = Array.from({ length: CONNECTIONS }, () => new Slow(port, sends));
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(reject, ALL_GONE_MS, new Error(`${name}: a connection stays.`));
    await Promise.race([Promise.all(callers.map((caller) => caller.gone())), late]).finally(() =>
      clearTimeout(timer),
    );
  }
  const all = (port: number, kinds: typeof OVER_TCP): Promise<void>[] =>
    Object.entries(kinds).map(([name, sends]) => cutOff(port, name, sends));

  const tcp = { ...OVER_TCP, ...OVER_HTTP2 };
  const results = await Promise.all([
    plain.under(
      "slow callers",
      `${CONNECTIONS} of each of ${Object.keys(tcp).length} kinds, over TCP`,
      async () => {
        await Promise.all(all(plain.port, tcp));
      },
    ),
    secure.under(
      "slow callers",
      `${CONNECTIONS} of each of ${Object.keys(OVER_TLS).length} kinds, before TLS`,
      async () => {
        await Promise.all(all(secure.port, OVER_TLS));
      },
    ),
  ]);
  for (const { growthBytes } of results) expect(growthBytes).toBeLessThan(150 * 2 ** 20);
});
