/** Callers who go away in the middle of a call: the server does nothing for them, and goes on. */
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { SetStateRequestSchema } from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { encodeValue } from "../../src/value.ts";
import { arrived, framed, http2Request, http2Session, pathOf, serving } from "../support/serving.ts";

const uncaught = vi.fn();
beforeEach(() => {
  process.on("uncaughtException", uncaught);
});
afterEach(() => {
  process.off("uncaughtException", uncaught);
  expect(uncaught).not.toHaveBeenCalled();
});

const message = toBinary(
  SetStateRequestSchema,
  create(SetStateRequestSchema, { sessionId: "s", key: "k", value: encodeValue(1) }),
);
const whole = framed(message).length;

describe.each([true, false])("with the fast path: %s", (fastPath) => {
  describe.each([
    ["SetState", "application/grpc"],
    ["Batch", "application/grpc"],
    ["Pipeline", "application/grpc"],
    ["WatchSession", "application/grpc"],
    ["WatchSessions", "application/grpc"],
    ["SetState", "application/grpc-web+proto"],
    ["SetState", "application/proto"],
  ])("a caller of %s (%s)", (rpc, type) => {
    test.each([
      ["without a byte of its request", 0],
      ["in a frame's header", 3],
      ["in its request", 9],
      ["at the end of its request, without having said so", whole],
    ])("goes %s", async (_, bytes) => {
      const store = memoryStore();
      const onError = vi.fn();
      const server = await serving({ store, fastPath, onError });
      const request = type === "application/proto" ? message : framed(message);

      for (const leave of ["destroy", "resetAndDestroy"] as const) {
        const socket = connect(server.port, "127.0.0.1");
        const session = connectHttp2(server.url, { createConnection: () => socket });
        session.on("error", () => {});
        await once(session, "remoteSettings");
        const streams = [1, 2, 3].map(() => {
          const headers = { ":method": "POST", ":path": pathOf(rpc), "content-type": type };
          const stream = session.request(headers);
          stream.on("error", () => {});
          if (bytes > 0) stream.write(request.subarray(0, bytes));
          return stream;
        });
        await arrived(session);
        // By `close` it would say first that its request is complete.
        streams[0]?.destroy();
        await arrived(session);
        socket[leave]();
      }

      const { trailers } = await http2Request(
        http2Session(server),
        { ":path": pathOf("SetState"), "content-type": "application/grpc" },
        framed(message),
      );
      expect(trailers["grpc-status"]).toBe("0");
      // When the server has no call left, it has seen all of them go.
      await server.close();
      const entry = await store.getState({ sessionId: "s", key: "k" });
      expect(entry?.revision).toBe(1);
      expect(onError).not.toHaveBeenCalled();
    });
  });
});

describe.each([true, false])("with the fast path: %s", (fastPath) => {
  test.each([
    ["application/grpc", "http2"],
    ["application/grpc-web+proto", "http1"],
  ] as const)(
    "who goes without reading the answers (%s over %s) is told of to nobody",
    async (type, version) => {
      const store = memoryStore();
      await store.setState({ sessionId: "s", key: "k", value: encodeValue("x".repeat(900_000)) });
      const onError = vi.fn();
      const server = await serving({ store, fastPath, onError });
      const socket = connect(server.port, "127.0.0.1");
      socket.on("error", () => {});
      const watch = framed(Buffer.from("0a0173", "hex"));
      if (version === "http2") {
        const session = connectHttp2(server.url, { createConnection: () => socket });
        session.on("error", () => {});
        for (const rpc of ["WatchSession", "GetState"]) {
          const stream = session.request({ ":method": "POST", ":path": pathOf(rpc), "content-type": type });
          stream.on("error", () => {});
          stream.end(rpc === "GetState" ? framed(Buffer.from("0a017312016b", "hex")) : watch);
        }
      } else {
        socket.pause();
        const head = `POST ${pathOf("WatchSession")} HTTP/1.1\r\nHost: a\r\nContent-Type: ${type}\r\n`;
        socket.write(Buffer.concat([Buffer.from(`${head}Content-Length: ${watch.length}\r\n\r\n`), watch]));
      }
      await pause(50);
      for (let i = 0; i < 20; i++) {
        await store.setState({ sessionId: "s", key: "k", value: encodeValue(`${i}${"x".repeat(900_000)}`) });
        await pause(2);
      }
      socket.resetAndDestroy();
      await pause(100);
      await store.setState({ sessionId: "s", key: "k", value: encodeValue(1) });
      expect(onError.mock.calls).toEqual([]);
    },
  );
});
