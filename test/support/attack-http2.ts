/** HTTP/2 written frame by frame (RFC 9113), with headers in a plain HPACK (RFC 7541): what no client library would send. */
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { WorkflowStateService } from "../../gen/agenterra/state/v1/service_pb.ts";

/** The path of an RPC. */
export function rpcPath(rpc: string): string {
  return `/${WorkflowStateService.typeName}/${rpc}`;
}

/** The types of frames that RFC 9113 has. */
export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const END_STREAM = 0x1;
export const END_HEADERS = 0x4;
export const PADDED = 0x8;
/** Of SETTINGS and PING. */
export const ACK = 0x1;

/** What every client sends first. */
export const PREFACE: Buffer = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/** One frame. A payload that is text is hexadecimal; `length` is what the frame says of it, in place of the truth. */
export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array | string = "",
  length?: number,
): Buffer {
  const content = typeof payload === "string" ? Buffer.from(payload, "hex") : payload;
  const result = Buffer.alloc(9 + content.length);
  result.writeUIntBE(length ?? content.length, 0, 3);
  result.writeUInt8(type, 3);
  result.writeUInt8(flags, 4);
  result.writeUInt32BE(stream, 5);
  result.set(content, 9);
  return result;
}

/** SETTINGS of identifiers and their values. */
export function settings(...pairs: readonly (readonly [identifier: number, value: number])[]): Buffer {
  const payload = Buffer.alloc(6 * pairs.length);
  for (const [i, [identifier, value]] of pairs.entries()) {
    payload.writeUInt16BE(identifier, 6 * i);
    payload.writeUInt32BE(value, 6 * i + 2);
  }
  return frame(FRAME.settings, 0, 0, payload);
}

/** WINDOW_UPDATE. */
export function windowUpdate(stream: number, increment: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(increment);
  return frame(FRAME.windowUpdate, 0, stream, payload);
}

/** RST_STREAM with CANCEL. */
export function reset(stream: number): Buffer {
  return frame(FRAME.rstStream, 0, stream, "00000008");
}

/** An integer of HPACK, its first byte sharing its room with a pattern. */
function hpackInteger(pattern: number, bits: number, value: number): Buffer {
  const most = 2 ** bits - 1;
  if (value < most) return Buffer.from([pattern | value]);
  const bytes = [pattern | most];
  let rest = value - most;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return Buffer.from([...bytes, rest]);
}

/** A string of HPACK, without Huffman's code. */
function hpackString(text: string): Buffer {
  const bytes = Buffer.from(text, "latin1");
  return Buffer.concat([hpackInteger(0, 7, bytes.length), bytes]);
}

/** A header that the peer need not remember, or, if `indexed`, has to put into its dynamic table. */
export function header(
  name: string,
  value: string,
  { indexed = false }: { readonly indexed?: boolean } = {},
): Buffer {
  return Buffer.concat([Buffer.from([indexed ? 0x40 : 0]), hpackString(name), hpackString(value)]);
}

/** A header of a table, by its index; 62 is what was put into the dynamic one last. */
export function indexedHeader(index: number): Buffer {
  return hpackInteger(0x80, 7, index);
}

/** The headers of a gRPC call; what is given comes after them. */
export function grpcHeaders(rpc: string, ...more: readonly Uint8Array[]): Buffer {
  return Buffer.concat([
    // :method POST and :scheme http, of the static table.
    Buffer.from([0x83, 0x86]),
    header(":path", rpcPath(rpc)),
    header(":authority", "127.0.0.1"),
    header("content-type", "application/grpc"),
    header("te", "trailers"),
    ...more,
  ]);
}

/** A call: its headers, and a message if there is one; it ends with the message unless `open`. */
export function grpcCall(
  stream: number,
  rpc: string,
  body?: Uint8Array,
  { open = false }: { readonly open?: boolean } = {},
): Buffer {
  const end = open ? 0 : END_STREAM;
  const head = grpcHeaders(rpc);
  if (body === undefined) return frame(FRAME.headers, END_HEADERS | end, stream, head);
  const frames = [frame(FRAME.headers, END_HEADERS, stream, head)];
  for (let at = 0; at < body.length || at === 0; at += 16_384) {
    const last = at + 16_384 >= body.length;
    frames.push(frame(FRAME.data, last ? end : 0, stream, body.subarray(at, at + 16_384)));
  }
  return Buffer.concat(frames);
}

/** Sends bytes; settles when they are on their way, the connection is closed, or after `patienceMs` the peer took none. */
export async function sent(socket: Socket, bytes: Uint8Array | string, patienceMs = 500): Promise<boolean> {
  if (socket.destroyed) return false;
  if (socket.write(bytes)) return true;
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const onDrain = (): void => resolve(true);
  const onClose = (): void => resolve(false);
  const timer = setTimeout(onClose, patienceMs);
  socket.once("drain", onDrain).once("close", onClose);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    socket.off("drain", onDrain).off("close", onClose);
  }
}

/** Where a server listens. */
export interface Address {
  readonly port: number;
}

/** How an {@link RawConnection} is opened. */
export interface RawOptions {
  /** Whether what comes back is read; if not, it fills the buffers of both sides. Default: true. */
  readonly reads?: boolean;
  /** What is sent first. Default: the preface and empty SETTINGS. */
  readonly first?: Uint8Array;
  /** In place of TCP. */
  readonly connect?: () => Socket;
}

/** A connection that sends what it is told to. */
export class RawConnection {
  readonly #socket: Socket;
  #received = 0;
  /** How many frames of each type came back, if they are read. */
  readonly frames: Map<number, number> = new Map();
  #rest: Buffer = Buffer.alloc(0);

  private constructor(socket: Socket, reads: boolean) {
    this.#socket = socket;
    socket.on("error", () => {});
    if (reads) socket.on("data", (chunk: Buffer) => this.#read(chunk));
  }

  /** Opens one to a server on this machine. */
  static async open({ port }: Address, options: RawOptions = {}): Promise<RawConnection> {
    const { reads = true, first = Buffer.concat([PREFACE, settings()]) } = options;
    const socket = options.connect?.() ?? connectTcp(port, "127.0.0.1");
    const connection = new RawConnection(socket, reads);
    if (socket.connecting) await once(socket, "connect");
    if (first.length > 0) await connection.send(first);
    return connection;
  }

  /** Whether the server has closed it, or broken it off. */
  get closed(): boolean {
    return this.#socket.destroyed || this.#socket.readableEnded;
  }

  /** Bytes that came back and were read. */
  get received(): number {
    return this.#received;
  }

  /** Sends bytes, as {@link sent} says. */
  async send(bytes: Uint8Array, patienceMs?: number): Promise<boolean> {
    return !this.closed && sent(this.#socket, bytes, patienceMs);
  }

  /** Waits until the server closes it; false: it did not within that time. */
  async closes(withinMs: number): Promise<boolean> {
    const end = performance.now() + withinMs;
    while (!this.closed && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
    return this.closed;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    this.#received += chunk.length;
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 9) {
      const length = 9 + this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < length) break;
      const type = this.#rest[3] as number;
      this.frames.set(type, (this.frames.get(type) ?? 0) + 1);
      this.#rest = this.#rest.subarray(length);
    }
  }
}
