/** One port for two protocols: tells HTTP/2 with prior knowledge from HTTP/1.1 by a connection's first bytes. */
import type { Socket } from "node:net";

/** What every HTTP/2 client sends first (RFC 9113, 3.4). */
const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/**
 * Hands a connection on, with all its bytes, to one of two receivers. One that doesn't show in time what it speaks is closed.
 */
export function sniffProtocol(
  socket: Socket,
  receivers: { readonly http1: (socket: Socket) => void; readonly http2: (socket: Socket) => void },
  timeoutMs: number,
): void {
  let seen: Buffer = Buffer.alloc(0);
  const timer = setTimeout(() => socket.destroy(), timeoutMs);
  const fail = (): void => done();
  const read = (): void => {
    for (let chunk = socket.read(); chunk !== null; chunk = socket.read()) {
      seen = Buffer.concat([seen, chunk]);
    }
    const length = Math.min(seen.length, PREFACE.length);
    const alike = seen.compare(PREFACE, 0, length, 0, length) === 0;
    if (alike && length < PREFACE.length) {
      return;
    }
    done();
    socket.unshift(seen);
    (alike ? receivers.http2 : receivers.http1)(socket);
  };
  const done = (): void => {
    clearTimeout(timer);
    socket.off("readable", read).off("close", fail).off("error", fail);
  };
  socket.on("readable", read).on("close", fail).on("error", fail);
}
