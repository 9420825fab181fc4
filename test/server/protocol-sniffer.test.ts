import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import { sniffProtocol } from "../../src/server/protocol-sniffer.ts";

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/** What a test is told of the connection on the server's side. */
interface Told {
  accepted?(socket: Socket): void;
  received?(): void;
}

/** Serves each connection with what it was taken for, and all that it sent. */
async function sniffer(timeoutMs = 20_000, told: Told = {}): Promise<Socket> {
  const receiver = (name: string) => (socket: Socket) => {
    told.received?.();
    socket.write(`${name}:`);
    socket.on("data", (chunk) => socket.write(chunk));
  };
  const server = createServer((socket) => {
    socket.on("error", () => {});
    told.accepted?.(socket);
    sniffProtocol(socket, { http1: receiver("http1"), http2: receiver("http2") }, timeoutMs);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  socket.setNoDelay(true).on("error", () => {});
  onTestFinished(() => {
    socket.destroy();
    server.close();
  });
  return socket;
}

function echoed(socket: Socket, length: number): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString();
      if (text.length >= length) {
        resolve(text);
      }
    });
  });
}

test.each([
  ["HTTP/2 at once", [`${PREFACE}rest`], `http2:${PREFACE}rest`],
  ["HTTP/2, byte by byte", [...`${PREFACE}rest`], `http2:${PREFACE}rest`],
  ["HTTP/1.1 at once", ["GET / HTTP/1.1\r\n\r\n"], "http1:GET / HTTP/1.1\r\n\r\n"],
  ["HTTP/1.1 that begins alike", [..."PRI * HTTP/1.1\r\n\r\n"], "http1:PRI * HTTP/1.1\r\n\r\n"],
  ["one odd byte", ["X"], "http1:X"],
])("%s reaches its receiver whole", async (_, chunks, expected) => {
  const socket = await sniffer();
  const answer = echoed(socket, expected.length);
  for (const chunk of chunks) {
    socket.write(chunk);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(await answer).toBe(expected);
});

test("who says nothing, or not enough, is closed", async () => {
  for (const said of ["", "PRI"]) {
    const socket = await sniffer(50);
    socket.resume();
    socket.write(said);
    await once(socket, "close");
  }
});

test.each<[string, (socket: Socket) => void]>([
  ["in the middle", (socket) => socket.end("PR")],
  ["with a reset", (socket) => socket.resetAndDestroy()],
])("who hangs up first, %s, is forgotten", async (_, leave) => {
  const { promise: accepted, resolve } = Promise.withResolvers<Socket>();
  const received = vi.fn();
  const socket = await sniffer(300, { accepted: resolve, received });
  const other = await accepted;
  const destroyed = vi.spyOn(other, "destroy");
  leave(socket.resume());
  await new Promise<void>((closed) => other.once("close", () => closed()));
  destroyed.mockClear();
  await new Promise((end) => setTimeout(end, 400));
  // Nor does the time that it had run on.
  expect(destroyed).not.toHaveBeenCalled();
  expect(received).not.toHaveBeenCalled();
});
