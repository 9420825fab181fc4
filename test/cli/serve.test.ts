/** `serve` in this process: what it says when it can't begin, and that it begins and ends with all that may be asked for. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, onTestFinished, test } from "vitest";
import { collecting } from "../support/otlp.ts";
import { runMain } from "../support/run-main.ts";
import { selfSigned } from "../support/self-signed.ts";

const folder = mkdtempSync(join(tmpdir(), "workflow-state-serve-"));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};
const LISTEN = ["serve", "--listen", "127.0.0.1:0"];

/** A port that somebody else has. */
async function takenPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

describe("it begins and ends", () => {
  test("with nothing asked for", async () => {
    const { code, output, errors } = await runMain(LISTEN, { interrupts: 1, after: "listening" });
    expect({ code, output, errors }).toEqual({
      code: 0,
      output: expect.stringMatching(/^listening on http:\/\/127\.0\.0\.1:\d+\n$/),
      errors: "",
    });
  });

  test("with TLS, client certificates, an audit, metrics, and origins that may call", async () => {
    const { key, cert } = selfSigned();
    const config = file(
      "config.json",
      JSON.stringify({
        auth: { certificates: [{ subjectAltName: "DNS:worker", principal: "worker", namespaces: ["a"] }] },
        cors: { origins: ["https://app.example.org"] },
      }),
    );
    const tls = ["--tls-key", file("key.pem", key), "--tls-cert", file("cert.pem", cert)];
    const { code, output } = await runMain(
      [
        ...[...LISTEN, "--config", config, ...tls, "--tls-client-ca", file("ca.pem", cert)],
        ...["--metrics", "127.0.0.1:0", "--audit", "--log-level", "error", "--drain-timeout", "1s"],
      ],
      { interrupts: 1, after: "listening" },
    );
    expect(code).toBe(0);
    expect(output).toMatch(/^listening on https:/);
  });

  test.each([
    ["http/json", { OTEL_TRACES_SAMPLER: "always_on" }],
    ["http/protobuf", { OTEL_TRACES_SAMPLER: "parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG: "0.5" }],
    ["http/protobuf", { OTEL_TRACES_SAMPLER: "always_off", OTEL_METRICS_EXPORTER: "none" }],
  ])("with a collector that is sent %s, by %j", async (protocol, env) => {
    const collector = await collecting();
    const { code } = await runMain([...LISTEN, "--store", `sqlite:${join(folder, "state.db")}`], {
      interrupts: 1,
      after: "listening",
      env: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_EXPORTER_OTLP_PROTOCOL: protocol, ...env },
    });
    expect(code).toBe(0);
    const paths = collector.requests.map(({ path }) => path);
    expect(paths.includes("/v1/metrics")).toBe(!("OTEL_METRICS_EXPORTER" in env));
  });
});

describe("it says why it can't begin", () => {
  test.each([
    [
      "another server's address as its store",
      ["--store", "http://127.0.0.1:1"],
      2,
      /can't be another server's address/,
    ],
    ["a store of no kind", ["--store", "nothing:"], 2, /can't open the store/],
    [
      "a key that is none",
      ["--tls-key", file("bad.pem", "no key"), "--tls-cert", file("bad.crt", "none")],
      2,
      /TLS key and cert/,
    ],
    [
      "an address that is not here",
      ["--listen", "192.0.2.1:1", "--insecure-no-auth"],
      2,
      /can't listen on 192\.0\.2\.1, port 1: EADDRNOTAVAIL/,
    ],
    [
      "a burst that no batch would ever be let in with",
      ["--config", file("burst.json", JSON.stringify({ perPrincipal: { burst: 100 } }))],
      2,
      /perPrincipal\.burst must be at least 256/,
    ],
    ["metrics of no port", ["--metrics", "127.0.0.1:x"], 2, /HOST:PORT/],
  ])("%s", async (_, options, code, message) => {
    const ended = await runMain([...LISTEN, ...options]);
    expect(ended).toMatchObject({ code, errors: expect.stringMatching(message) });
  });

  test("a port that is taken, its own or that of the metrics", async () => {
    const port = await takenPort();
    expect(await runMain(["serve", "--listen", `127.0.0.1:${port}`])).toMatchObject({
      code: 2,
      errors: expect.stringContaining("the port is in use"),
    });
    expect(await runMain([...LISTEN, "--metrics", `127.0.0.1:${port}`])).toMatchObject({
      code: 2,
      errors: expect.stringMatching(/can't serve metrics on 127\.0\.0\.1, port \d+: EADDRINUSE/),
    });
  });
});
