/** A server without authentication answers its own machine, and no page whose name points there. */
import { request } from "node:http";
import { expect, test } from "vitest";
import { pathOf, serving } from "../support/serving.ts";

/** The status of a call by HTTP/1.1 to a host as a browser would name it. */
function statusOf(port: number, host: string): Promise<number | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
  const headers = { host, "content-type": "application/json" };
  request({ port, host: "127.0.0.1", method: "POST", path: pathOf("GetState"), headers }, (response) => {
    response.resume();
    resolve(response.statusCode);
  })
    .on("error", reject)
    .end('{"sessionId":"s","key":"k"}');
  return promise;
}

test.each([
  ["127.0.0.1:7410", 200],
  ["[::1]:7410", 200],
  ["localhost:7410", 200],
  ["state.localhost", 200],
  ["STATE", 200],
  ["app.example.org", 200],
  ["evil.example.org", 421],
  ["evil.example.org:7410", 421],
  ["127.0.0.1.example.org", 421],
  ["localhost.example.org", 421],
  ["localhost.", 421],
])("%s is answered with %i", async (host, status) => {
  const server = await serving({ cors: { origins: ["https://app.example.org"] } });
  expect(await statusOf(server.port, host)).toBe(status);
});

test("one that asks who calls answers by any name", async () => {
  const server = await serving({ auth: { keys: [], grants: [] } });
  expect(await statusOf(server.port, "state.example.org")).toBe(401);
});
