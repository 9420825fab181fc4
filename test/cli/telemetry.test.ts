/** What is served to Prometheus, and what is not. */
import { expect, onTestFinished, test } from "vitest";
import { type OpenTelemetry, openTelemetry } from "../../src/cli/telemetry.ts";
import { startServer } from "../../src/server.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { parsePrometheus } from "../support/prometheus.ts";
import { talk } from "../support/serving.ts";

async function opened(): Promise<OpenTelemetry & { readonly url: string }> {
  const settings = { metricsListen: { host: "127.0.0.1", port: 0 }, sessionIds: false };
  const surroundings = { version: "1.2.3", system: "memory", warn: () => {} };
  const telemetry = await openTelemetry(memoryStore(), settings, surroundings);
  onTestFinished(async () => {
    await telemetry.close(1_000);
    await telemetry.store.close();
  });
  return { ...telemetry, url: telemetry.metricsUrl ?? "" };
}

test("only GET and HEAD of /metrics are answered", async () => {
  const { url } = await opened();
  const statusOf = async (path: string, method = "GET") =>
    (await fetch(new URL(path, url), { method })).status;
  expect(await statusOf("/metrics")).toBe(200);
  expect(await statusOf("/metrics?name=any")).toBe(200);
  expect(await statusOf("/metrics", "HEAD")).toBe(200);
  expect(await statusOf("/metrics", "POST")).toBe(404);
  expect(await statusOf("/")).toBe(404);
  expect(await statusOf("/metrics/../healthz")).toBe(404);
});

test("what is no HTTP ends its connection, and nothing else", async () => {
  const { url } = await opened();
  const port = Number(new URL(url).port);
  expect(await talk({ port }, "nonsense\r\n\r\n")).toEqual({ text: "", closed: true });
  expect((await fetch(url)).status).toBe(200);
});

test("those who scrape at once get the same figures, and later ones others", async () => {
  const { url, store, observer } = await opened();
  const server = await startServer({ store, observer, listen: { port: 0 } });
  onTestFinished(() => server.close({ now: true }));
  const scraped = async () => parsePrometheus(await (await fetch(url)).text());
  const path = "/agenterra.state.v1.WorkflowStateService/GetState";
  const calls = async () =>
    (await scraped())
      .get("rpc_server_call_duration_seconds")
      ?.samples.find(({ name }) => name.endsWith("_count"))?.value ?? 0;
  expect(await calls()).toBe(0);
  for (let i = 1; i <= 3; i++) {
    await fetch(new URL(path, server.url), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ sessionId: "s", key: "k" }),
    }).then((answer) => answer.text());
    const counts = await Promise.all(Array.from({ length: 10 }, calls));
    // The answer may be there before its end is seen.
    expect(new Set(counts).size).toBeLessThanOrEqual(2);
    while ((await calls()) !== i) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const { labels } = (await scraped()).get("target_info")?.samples[0] ?? { labels: {} };
  expect(labels).toMatchObject({ service_name: "workflow-state", service_version: "1.2.3" });
});

test("once it is closed nobody listens", async () => {
  const { url, close } = await opened();
  await close(1_000);
  await expect(fetch(url)).rejects.toThrow();
});
