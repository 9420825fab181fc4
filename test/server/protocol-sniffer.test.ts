import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { sniffProtocol } from "../../src/server/protocol-sniffer.ts";

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/** Serves each connection with what it was taken for, and all that it sent. */
async function sniffer(timeoutMs = 2_000): Promise<Socket> {
  const receiver = (name: string) => (socket: Socket) => {
    socket.write(`${name}:`);
    socket.on("data", (chunk) => socket.write(chunk));
  };
  const server = createServer((socket) => {
    socket.on("error", () => {});
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

test("who hangs up first is forgotten", async () => {
  const socket = await sniffer(50);
  socket.end("PR");
  socket.resume();
  await once(socket, "close");
  const broken = await sniffer(50);
  await once(broken, "connect");
  broken.resetAndDestroy();
  await new Promise((resolve) => setTimeout(resolve, 100));
});
