/** What is stored, and what callers show to be let in, is nowhere but in answers: not in logs, metrics, traces or errors. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { WorkflowStateError } from "../src/errors.ts";
import { openStore } from "../src/open.ts";
import { freePort } from "./support/free-port.ts";
import { ended, start } from "./support/run-node.ts";

/** Stands in every value that is sent. Letters that no encoding of a text changes. */
const CANARY = "kanarienvogel";
const KEY = `key-${CANARY}`;
const SERVICE = "/agenterra.state.v1.WorkflowStateService";

test("no value and no credential is in logs, metrics, traces or errors", async () => {
  const folder = mkdtempSync(join(tmpdir(), "workflow-state-canary-"));
  const seen: string[] = [];
  const collector = createServer((request, response) => {
    const parts: Buffer[] = [];
    request
      .on("data", (part: Buffer) => parts.push(part))
      .on("end", () => {
        seen.push(`${request.url} ${Buffer.concat(parts).toString("latin1")}`);
        response.writeHead(200, { "content-type": "application/json" }).end("{}");
      });
  });
  collector.listen(0, "127.0.0.1");
  await once(collector, "listening");
  const config = join(folder, "config.json");
  const sha256 = createHash("sha256").update(KEY).digest("hex");
  const auth = {
    keys: [{ sha256, principal: "tester", namespaces: ["shop"] }],
    grants: [{ principal: "tester", action: "admin", namespace: "shop" }],
  };
  writeFileSync(config, JSON.stringify({ auth, limits: { valueBytes: 4_096 } }));
  const metrics = `127.0.0.1:${await freePort()}`;
  const child = start(
    process.execPath,
    [
      ...["src/cli.ts", "serve", "--listen", "127.0.0.1:0", "--store", `sqlite:${join(folder, "state.db")}`],
      ...["--config", config, "--metrics", metrics, "--log-level", "debug", "--audit", "--trace-session-ids"],
    ],
    {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(collector.address() as AddressInfo).port}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_HEADERS: `authorization=Bearer%20${CANARY}`,
    },
  );
  const end = ended(child);
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await end;
    collector.close();
    rmSync(folder, { recursive: true });
  });
  const listening = once(child.stdout as NodeJS.ReadableStream, "data");
  const [line] = await Promise.race([listening, end.then(({ stderr }) => expect.fail(stderr))]);
  const url = String(line).trim().split(" ").at(-1) ?? "";

  const errors: string[] = [];
  /** Keeps all that a failed call says. */
  const failing = async (reason: string, call: Promise<unknown>): Promise<void> => {
    const error = await call.then(
      () => expect.fail(`${reason} was expected`),
      (thrown: unknown) => thrown as WorkflowStateError,
    );
    expect(WorkflowStateError.is(error) && error.reason).toBe(reason);
    errors.push(JSON.stringify([error.message, error.metadata, error.failedChecks, String(error.cause)]));
  };

  for (const transport of ["grpc", "grpc-web", "connect"] as const) {
    const headers = { authorization: `Bearer ${KEY}` };
    const retry = { attempts: 1 };
    await using store = await openStore(url, { headers, retry, protocol: transport });
    const id = `session-${transport}`;
    const value = { text: CANARY, list: [CANARY], [CANARY]: 1 };
    await store.saveSession({ sessionId: id, state: { text: CANARY, value } });
    await store.setState(id, "value", value, { requestId: "once" });
    await store.commit(id, {
      changes: [
        { kind: "append", key: "list", values: [CANARY] },
        { kind: "merge", key: "value", value: { other: CANARY } },
      ],
    });
    await failing("REQUEST_ID_REUSED", store.setState(id, "value", CANARY, { requestId: "once" }));
    await failing("REVISION_MISMATCH", store.setState(id, "value", CANARY, { ifRevision: 99 }));
    await failing(
      "VALUE_TYPE_MISMATCH",
      store.commit(id, { changes: [{ kind: "increment", key: "text", delta: 1 }] }),
    );
    await failing("VALUE_TOO_LARGE", store.setState(id, "value", CANARY.repeat(1_000)));
    await using stranger = await openStore(url, {
      headers: { authorization: `Bearer other-${CANARY}` },
      retry,
      protocol: transport,
    });
    await failing("UNAUTHENTICATED", stranger.getState(id, "value"));
    for await (const message of store.watchSession(id, { afterRevision: 0 })) {
      if (message.kind === "event") break;
    }
  }
  for (const [path, body] of [
    [
      "SetState",
      `{"sessionId": "json", "key": "k", "value": {"${CANARY}": "${CANARY}"}, "other": "${CANARY}"}`,
    ],
    ["SetState", `{"sessionId": "json", "key": "k", "value": "${CANARY}`],
    ["SetState", `{"sessionId": "json", "key": "k", "value": "${CANARY}\\ud800"}`],
    ["SetState", `{"sessionId": "json", "key": ["${CANARY}"], "value": 1}`],
    ["SetState", `{"sessionId": "json", "key": "k", "value": 1, "ttl": "${CANARY}"}`],
    [
      "Commit",
      `{"sessionId": "json", "changes": [{"set": {"key": "k", "value": "${CANARY}"}, "delete": 1}]}`,
    ],
    ["SetState", CANARY],
  ] as const) {
    const answer = await fetch(`${url}${SERVICE}/${path}`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${KEY}` },
      body,
    });
    expect(answer.status, body).toBe(400);
    errors.push(await answer.text());
  }
  const scraped = await (await fetch(`http://${metrics}/metrics`)).text();
  child.kill("SIGTERM");
  const { stderr, stdout } = await end;

  // All of it is there to be looked at.
  expect(stderr.match(/"msg":"call"/g)?.length).toBeGreaterThan(30);
  expect(stderr).toContain('"audit":true');
  expect(scraped).toContain("REVISION_MISMATCH");
  expect(seen.filter((sent) => sent.startsWith("/v1/traces")).join()).toContain("session-grpc");
  expect(seen.some((sent) => sent.startsWith("/v1/metrics"))).toBe(true);
  for (const [what, text] of Object.entries({
    stderr,
    stdout,
    scraped,
    seen: seen.join(),
    errors: errors.join("\n"),
  })) {
    const at = text.indexOf(CANARY);
    expect(at < 0 ? "" : `${what}: ${text.slice(Math.max(0, at - 200), at + 50)}`).toBe("");
  }
});
