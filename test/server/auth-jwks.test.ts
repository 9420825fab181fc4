/** Issuers that misbehave, and tokens that are odd although they are signed. */
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { CompactSign, exportJWK, exportSPKI, generateKeyPair, SignJWT } from "jose";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { JwtOptions } from "../../src/server/auth/jwt.ts";
import type { AuthOptions } from "../../src/server/auth.ts";
import { framed, type Http2Answer, http2Request, http2Session, pathOf, serving } from "../support/serving.ts";

const CLAIMS = { iss: "i", aud: "a", sub: "worker", namespace: "team", exp: 4_000_000_000 };
const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
const token = await new SignJWT(CLAIMS).setProtectedHeader({ alg: "ES256", kid: "1" }).sign(privateKey);
const jwk = { ...(await exportJWK(publicKey)), kid: "1", alg: "ES256" };
/** Field 1 "s", field 2 "k". */
const BODY = framed(Buffer.from("0a017312016b", "hex"));

const OK = "0";
const PERMISSION_DENIED = "7";
const UNAVAILABLE = "14";
const UNAUTHENTICATED = "16";

function auth(from: Partial<JwtOptions>, principal = "*"): AuthOptions {
  return {
    keys: [{ sha256: KEY_HASH, principal: "key", namespaces: ["team"] }],
    jwt: { issuer: "i", audience: "a", algorithms: ["ES256"], ...from },
    grants: [{ principal, action: "read", namespace: "*" }],
  };
}
/** SHA-256 of "first". */
const KEY_HASH = "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e";

async function asked(options: AuthOptions, ...credentials: readonly string[]): Promise<Http2Answer[]> {
  const session = http2Session(await serving({ auth: options }));
  const answers: Http2Answer[] = [];
  for (const each of credentials) {
    const headers = {
      ":path": pathOf("GetState"),
      "content-type": "application/grpc",
      authorization: `Bearer ${each}`,
    };
    answers.push(await http2Request(session, headers, BODY));
  }
  return answers;
}

async function statuses(options: AuthOptions, ...credentials: readonly string[]): Promise<unknown[]> {
  return (await asked(options, ...credentials)).map(({ trailers }) => trailers["grpc-status"]);
}

async function issuer(answer: RequestListener): Promise<string> {
  const server = createServer(answer).listen(0, "127.0.0.1");
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  await vi.waitUntil(() => server.listening, 20_000);
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
}

test("an issuer that fails is not asked again at once, however many tokens come, and is when time has passed", async () => {
  let asked = 0;
  let fails = true;
  const jwksUrl = await issuer((_, response) => {
    asked++;
    response.writeHead(fails ? 503 : 200).end(JSON.stringify({ keys: [jwk] }));
  });
  const unknown = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      new SignJWT({ ...CLAIMS, sub: `${i}` }).setProtectedHeader({ alg: "ES256", kid: "2" }).sign(privateKey),
    ),
  );
  expect(await statuses(auth({ jwksUrl, jwksCooldownMs: 60_000 }), ...unknown)).toEqual(
    unknown.map(() => UNAVAILABLE),
  );
  // After 0.1, 0.2, 0.4 s …: for ten of them it would have to take a minute.
  expect(asked).toBeLessThan(10);

  const soon = auth({ jwksUrl, jwksCooldownMs: 20 });
  const session = http2Session(await serving({ auth: soon }));
  const answer = async (): Promise<unknown> => {
    const headers = {
      ":path": pathOf("GetState"),
      "content-type": "application/grpc",
      authorization: `Bearer ${token}`,
    };
    return (await http2Request(session, headers, BODY)).trailers["grpc-status"];
  };
  expect(await answer()).toBe(UNAVAILABLE);
  fails = false;
  await vi.waitFor(async () => expect(await answer()).toBe(OK), 20_000);
});

describe("an issuer whose keys can't be read", () => {
  const json =
    (body: unknown): RequestListener =>
    (_, response) =>
      void response.setHeader("content-type", "application/json").end(JSON.stringify(body));

  test.each<[string, RequestListener]>([
    ["never answers", () => {}],
    ["begins to answer, and stops", (_, response) => void response.writeHead(200).write('{"keys":[')],
    ["breaks off", (request) => void request.socket.destroy()],
    ["answers 500", (_, response) => void response.writeHead(500).end()],
    [
      "sends elsewhere",
      (_, response) => void response.writeHead(302, { location: "http://127.0.0.1:9/" }).end(),
    ],
    ["answers no JSON", (_, response) => void response.end("<html>")],
    ["answers other JSON", json({ keys: 7 })],
    ["answers null", json(null)],
    ["answers keys that are none", json({ keys: [null, 7] })],
    ["answers megabytes", (_, response) => void response.end(`{"keys":[],"x":"${"x".repeat(8 << 20)}"}`)],
  ])("%s: nobody is believed, callers with keys are served", async (_, answer) => {
    const options = auth({ jwksUrl: await issuer(answer) });
    expect(await statuses(options, token, "first")).toEqual([UNAVAILABLE, OK]);
  });

  test("sends without end: no more is read than keys can have", async () => {
    let sent = 0;
    const url = await issuer((_, response) => {
      response.on("error", () => {});
      const more = (): void => {
        while (!response.destroyed && response.write(" ".repeat(65_536))) sent += 65_536;
        response.once("drain", more);
      };
      more();
    });
    expect(await statuses(auth({ jwksUrl: url }), token)).toEqual([UNAVAILABLE]);
    expect(sent).toBeLessThan(64 << 20);
  });

  test("without the key of the token: that is refused", async () => {
    const keys = [
      { ...jwk, kid: "2" },
      { kty: "unknown", kid: "1" },
    ];
    expect(await statuses(auth({ jwksUrl: await issuer(json({ keys })) }), token)).toEqual([UNAUTHENTICATED]);
    expect(await statuses(auth({ jwksUrl: await issuer(json({ keys: [jwk] })) }), token)).toEqual([OK]);
  });
});

describe("a signed token", () => {
  test("with a claim twice says the last, as JSON does", async () => {
    const spki = await exportSPKI(publicKey);
    const of = (...subs: readonly string[]): Promise<string> => {
      const text = JSON.stringify(CLAIMS).replace(
        '"sub":"worker"',
        subs.map((sub) => `"sub":"${sub}"`).join(","),
      );
      return new CompactSign(Buffer.from(text)).setProtectedHeader({ alg: "ES256" }).sign(privateKey);
    };
    const tokens = [await of("worker"), await of("other", "worker"), await of("worker", "other")];
    expect(await statuses(auth({ publicKey: spki }, "worker"), ...tokens)).toEqual([
      OK,
      OK,
      PERMISSION_DENIED,
    ]);
  });

  test("of 100 KB is refused before it is looked at", async () => {
    const long = await new SignJWT({ ...CLAIMS, padding: "x".repeat(75_000) })
      .setProtectedHeader({ alg: "ES256" })
      .sign(privateKey);
    expect(long.length).toBeGreaterThan(100_000);
    const options = auth({ publicKey: await exportSPKI(publicKey) });
    const [answer] = await asked(options, long);
    expect(answer?.trailers["grpc-status"]).not.toBe(OK);
    expect(answer?.body.length).toBe(0);
    expect(await statuses(options, token)).toEqual([OK]);
  });
});
