/** The proxy that breaks connections for other tests: it must break them, or those tests say nothing. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { sleep } from "./support/network.ts";
import { TcpProxy } from "./support/tcp-proxy.ts";

/** A server that says everything back, and what it heard; behind a proxy. */
async function echo(): Promise<{
  readonly proxy: TcpProxy;
  readonly heard: string[];
  readonly ends: () => number;
}> {
  const heard: string[] = [];
  let ends = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.setEncoding("utf8").on("data", (text: string) => {
      heard.push(text);
      if (socket.writable) socket.write(`${text}!`);
    });
    socket.on("error", () => {});
    socket.on("end", () => {
      ends++;
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const proxy = await TcpProxy.start((server.address() as AddressInfo).port);
  onTestFinished(async () => {
    await proxy.refuse();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { proxy, heard, ends: () => ends };
}

interface Caller {
  readonly socket: Socket;
  readonly got: () => string;
  readonly closed: () => boolean;
  readonly ended: () => boolean;
}

async function call({ port }: TcpProxy): Promise<Caller> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  let got = "";
  let closed = false;
  let ended = false;
  socket.setEncoding("utf8").on("data", (text: string) => {
    got += text;
  });
  socket.on("error", () => {});
  socket.on("end", () => {
    ended = true;
  });
  socket.on("close", () => {
    closed = true;
  });
  await once(socket, "connect");
  onTestFinished(() => {
    socket.destroy();
  });
  return { socket, got: () => got, closed: () => closed, ended: () => ended };
}

async function until(holds: () => boolean): Promise<void> {
  const end = performance.now() + 5_000;
  while (!holds()) {
    if (performance.now() > end) throw new Error("it did not come to that");
    await sleep(2);
  }
}

test("it passes everything, ends included", async () => {
  const { proxy, ends } = await echo();
  const caller = await call(proxy);
  caller.socket.write("a");
  await until(() => caller.got() === "a!");
  caller.socket.end("b");
  await until(() => caller.got() === "a!b!" && ends() === 1 && caller.ended());
});

test("a request that is passed on is heard, and its connection breaks without a reply; only one does", async () => {
  const { proxy, heard } = await echo();
  const caller = await call(proxy);
  proxy.breakNext("after the request");
  caller.socket.write("a");
  await until(() => caller.closed() && heard.length === 1);
  expect(caller.got()).toBe("");
  const other = await call(proxy);
  other.socket.write("b");
  await until(() => other.got() === "b!");
  expect(proxy.broken).toBe(1);
});

test("a connection breaks in the place of the reply to what was heard", async () => {
  const { proxy, heard } = await echo();
  const caller = await call(proxy);
  proxy.breakNext("before the reply");
  caller.socket.write("a");
  await until(() => caller.closed());
  expect(heard).toEqual(["a"]);
  expect(caller.got()).toBe("");
});

test("what has met a black hole stays in it, and what comes after it does not", async () => {
  const { proxy, heard } = await echo();
  const caller = await call(proxy);
  const idle = await call(proxy);
  proxy.requests = "black hole";
  caller.socket.write("a");
  await sleep(50);
  await proxy.accept();
  caller.socket.write("b");
  idle.socket.write("c");
  await until(() => idle.got() === "c!");
  await sleep(50);
  expect(heard).toEqual(["c"]);
  expect([caller.got(), caller.closed()]).toEqual(["", false]);
});

test("a half-closed connection has ended for one side and not for the other", async () => {
  for (const side of ["client", "server"] as const) {
    const { proxy, heard, ends } = await echo();
    const caller = await call(proxy);
    caller.socket.write("a");
    await until(() => caller.got() === "a!");
    proxy.halfClose(side);
    if (side === "client") {
      await until(() => caller.ended());
      expect(ends()).toBe(0);
      caller.socket.write("b");
      await until(() => heard.length === 2);
    } else await until(() => ends() === 1);
  }
});

test("what is delayed arrives later and in order; what is slow takes its time", async () => {
  const { proxy } = await echo();
  const caller = await call(proxy);
  proxy.delayMs = 100;
  let begin = performance.now();
  caller.socket.write("a");
  await sleep(30);
  caller.socket.write("b");
  await until(() => caller.got() === "a!b!");
  expect(performance.now() - begin).toBeGreaterThan(200);
  expect(performance.now() - begin).toBeLessThan(2_000);
  await proxy.accept();
  proxy.bytesPerSecond = 10_000;
  begin = performance.now();
  const text = "x".repeat(2_000);
  caller.socket.write(text);
  await until(() => caller.got().includes(`${text}!`));
  expect(performance.now() - begin).toBeGreaterThan(350);
});

test("refused connections are refused, until they are accepted again", async () => {
  const { proxy } = await echo();
  const caller = await call(proxy);
  await proxy.refuse();
  await until(() => caller.closed());
  await expect(call(proxy)).rejects.toThrow(/ECONNREFUSED/);
  await proxy.accept();
  const again = await call(proxy);
  again.socket.write("a");
  await until(() => again.got() === "a!");
});
