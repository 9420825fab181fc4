/** The shapes that attacks have: the same bytes again and again, over many connections, or connections that stay. */
import type { Address, RawOptions } from "./attack-http2.ts";
import { RawConnection } from "./attack-http2.ts";

/** What one connection of a flood sends. */
export interface Flood extends RawOptions {
  /** Connections that send at once. Default: 8. */
  readonly connections?: number;
  /** How often each sends its bytes; one that the server has closed goes on with a new one. */
  readonly times: number;
  /** The bytes; `n` counts on a connection from 0, so that streams get new numbers. */
  readonly bytes: (n: number) => Uint8Array;
  /** How long it goes on when the server takes its bytes slowly, in milliseconds. Default: 3 s. */
  readonly mostMs?: number;
  /** How long the server is given to close a connection after the last byte, in milliseconds. Default: 100. */
  readonly closesWithinMs?: number;
  /** Sent once, first thing on every connection. */
  readonly opening?: Uint8Array;
}

/** What became of a flood. */
export interface FloodEnd {
  /** How many connections the server closed before all was sent. */
  readonly closed: number;
  /** Of how many. */
  readonly opened: number;
}

/** New connections that one sender opens at most: a server that closes at once is not to be asked for ever. */
const MOST_OPENED = 40;

/** Sends from all connections at once; closes them when all is sent, or time is up. */
export async function flood(target: Address, options: Flood): Promise<FloodEnd> {
  const { connections = 8, times, bytes, opening, mostMs = 3_000, closesWithinMs = 100 } = options;
  const end = performance.now() + mostMs;
  let closed = 0;
  let opened = 0;
  async function send(): Promise<void> {
    let connection: RawConnection | undefined;
    let n = 0;
    for (let sent = 0, own = 0; sent < times && performance.now() < end; sent++) {
      if (connection === undefined || connection.closed) {
        if (connection !== undefined) closed++;
        if (own === MOST_OPENED) return;
        connection = await RawConnection.open(target, options).catch(() => undefined);
        if (connection === undefined) continue;
        own++;
        opened++;
        n = 0;
        if (opening !== undefined) await connection.send(opening);
      }
      await connection.send(bytes(n++));
    }
    // What the server still does with it is part of the attack.
    if (connection !== undefined && (await connection.closes(closesWithinMs))) closed++;
    connection?.destroy();
  }
  await Promise.all(Array.from({ length: connections }, send));
  return { closed, opened };
}

/** Opens connections that send some bytes and then stay as they are; the caller destroys them. */
export function staying(
  target: Address,
  connections: number,
  bytes: Uint8Array,
  options: RawOptions = {},
): Promise<RawConnection[]> {
  return Promise.all(
    Array.from({ length: connections }, async () => {
      const connection = await RawConnection.open(target, options);
      await connection.send(bytes, 2_000);
      return connection;
    }),
  );
}

/** As many of something as make about so many bytes, in one piece. */
export function repeated(bytes: Uint8Array, totalBytes: number): Buffer {
  return Buffer.concat(new Array<Uint8Array>(Math.ceil(totalBytes / bytes.length)).fill(bytes));
}
