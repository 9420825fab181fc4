/** What is left of connect's handlers when they fail, or their callers misbehave. */
import { once } from "node:events";
import { createServer as createHttp1 } from "node:http";
import { connect as connectHttp2, createServer as createHttp2, type ServerHttp2Stream } from "node:http2";
import { type AddressInfo, connect } from "node:net";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import type { UniversalHandler, UniversalServerResponse } from "@connectrpc/connect/protocol";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { WorkflowStateService } from "../../gen/agenterra/state/v1/service_pb.ts";
import { Authenticator } from "../../src/server/auth.ts";
import { httpHandler } from "../../src/server/http-handler.ts";
import { framed, http2Request, http2Session, pathOf, serving } from "../support/serving.ts";

/** A handler in place of connect's for GetState. */
function routes(answer: () => Promise<UniversalServerResponse>) {
  return (router: ConnectRouter): void => {
    const handler = Object.assign(answer, {
      protocolNames: [],
      service: WorkflowStateService,
      method: WorkflowStateService.method.getState,
      requestPath: pathOf("GetState"),
      allowedMethods: ["POST"],
      supportedContentType: Object.assign(() => true, { supported: [] }),
    }) satisfies UniversalHandler;
    router.handlers.push(handler);
  };
}

async function serve(answer: () => Promise<UniversalServerResponse>, unaryIdleMs = 5_000) {
  const onError = vi.fn();
  const handler = httpHandler({
    binary: routes(answer),
    common: [],
    probe: () => undefined,
    identify: new Authenticator(undefined),
    json: () => {},
    messageBytes: 1_000,
    unaryIdleMs,
    onError,
  });
  const http1 = createHttp1(handler).listen(0, "127.0.0.1");
  const http2 = createHttp2(handler).listen(0, "127.0.0.1");
  await Promise.all([once(http1, "listening"), once(http2, "listening")]);
  const session = connectHttp2(`http://127.0.0.1:${(http2.address() as AddressInfo).port}`);
  session.on("error", () => {});
  onTestFinished(() => {
    session.destroy();
    http1.close();
    http1.closeAllConnections();
    http2.close();
  });
  return { onError, session, http2, port: (http1.address() as AddressInfo).port };
}

const grpc = { ":path": pathOf("GetState"), "content-type": "application/grpc" };

describe("a handler that fails", () => {
  test("is a 500, told once", async () => {
    const { onError, session, port } = await serve(() => Promise.reject(new Error("broken")));
    expect((await http2Request(session, grpc)).headers[":status"]).toBe(500);
    const response = await fetch(`http://127.0.0.1:${port}${pathOf("GetState")}`, {
      method: "POST",
      headers: { "content-type": "application/proto" },
    });
    expect(response.status).toBe(500);
    expect(onError).toHaveBeenCalledTimes(2);
  });

  test("after its answer has begun loses its stream", async () => {
    async function* body(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(3);
      throw new Error("broken");
    }
    const { onError, session, port } = await serve(async () => ({
      status: 200,
      header: new Headers(),
      body: body(),
    }));
    const { headers, body: got } = await http2Request(session, grpc);
    expect([headers[":status"], got.length]).toEqual([200, 3]);
    const response = fetch(`http://127.0.0.1:${port}${pathOf("GetState")}`, {
      method: "POST",
      headers: { "content-type": "application/proto" },
    }).then((answer) => answer.arrayBuffer());
    await expect(response).rejects.toThrow();
    expect(onError).toHaveBeenCalledTimes(2);
  });

  test("because its caller has gone is told to nobody", async () => {
    const { onError, session } = await serve(
      () => Promise.reject(new ConnectError("gone", Code.Aborted)),
      100,
    );
    await http2Request(session, grpc);
    expect(onError).not.toHaveBeenCalled();
  });

  test("because its caller goes without reading the answer is told to nobody", async () => {
    let chunks = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) {
        chunks++;
        yield new Uint8Array(100_000);
      }
    }
    const { onError, session, port } = await serve(async () => ({
      status: 200,
      header: new Headers(),
      body: endless(),
    }));
    const stream = session.request({ ":method": "POST", ...grpc });
    stream.on("error", () => {});
    stream.end();
    const socket = connect(port, "127.0.0.1").pause();
    socket.on("error", () => {});
    socket.write(`POST ${pathOf("GetState")} HTTP/1.1\r\nHost: a\r\nContent-Type: application/proto\r\n\r\n`);
    await vi.waitUntil(() => chunks > 1, 20_000);
    await new Promise((resolve) => setTimeout(resolve, 200));
    // Nor is more made for them than is on its way.
    expect(chunks).toBeLessThan(200);
    session.destroy();
    socket.resetAndDestroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(onError).not.toHaveBeenCalled();
  });

  test("when the caller can't be answered any more is told", async () => {
    let fail: (() => void) | undefined;
    const { onError, session, http2 } = await serve(
      () =>
        new Promise((_, reject) => {
          fail = () => reject(new Error("broken"));
        }),
    );
    const served = once(http2, "stream");
    const stream = session.request({ ":method": "POST", ...grpc });
    stream.on("error", () => {});
    const [onServer] = (await served) as [ServerHttp2Stream];
    const known = once(onServer, "close");
    await vi.waitUntil(() => fail !== undefined, 20_000);
    stream.close();
    await known;
    fail?.();
    await vi.waitFor(() => expect(onError).toHaveBeenCalledTimes(1), 20_000);
  });
});

describe("a caller that never ends", () => {
  test("its request, of a unary call, loses its stream", async () => {
    const { session } = await serve(() => new Promise(() => {}), 50);
    const stream = session.request({ ":method": "POST", ...grpc });
    stream.on("error", () => {});
    stream.write(framed(new Uint8Array(9)).subarray(0, 4));
    await once(stream, "close");
    expect(stream.rstCode).toBe(8);
  });

  test.each([true, false])(
    "sending although it is answered loses its stream soon (fast path: %s)",
    async (fastPath) => {
      const session = http2Session(await serving({ fastPath }));
      const stream = session.request({ ":method": "POST", ...grpc });
      stream.on("error", () => {});
      stream.resume();
      // Refused as soon as its length is known.
      stream.write(Buffer.from("00ffffffff", "hex"));
      const sending = setInterval(() => stream.write(new Uint8Array(10)), 20);
      await once(stream, "close");
      clearInterval(sending);
      expect(stream.rstCode).toBe(0);
    },
  );

  test("sending over HTTP/1.1 gets its answer", async () => {
    const { port } = await serve(async () => ({ status: 204, header: new Headers() }));
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {});
    onTestFinished(() => {
      socket.destroy();
    });
    socket.write(
      `POST ${pathOf("GetState")} HTTP/1.1\r\nHost: a\r\nContent-Type: application/proto\r\nContent-Length: 1000000\r\n\r\n`,
    );
    const [answer] = (await once(socket, "data")) as [Buffer];
    expect(answer.toString()).toContain("HTTP/1.1 204");
  });
});
