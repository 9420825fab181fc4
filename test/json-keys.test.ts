/** Keys with an escape in JSON read back as they are, although V8's own JSON.parse takes one for another (`wire/json-keys.ts`). */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JsonValue, Session, WorkflowStateStore } from "../src/store.ts";
import { jsonStore } from "../src/stores/json.ts";
import { memoryStore } from "../src/stores/memory.ts";
import * as web from "../src/web.ts";
import { pathOf } from "./support/serving.ts";
import { MISREAD_KEYS } from "./support/values.ts";
import { nameOf, openRemote, serve, WIRES } from "./support/wires.ts";

const memory = memoryStore();
const direct = jsonStore(memory);
let server: { readonly url: string; close(): Promise<void> };

/** What the objects of this file have as their first key, and no others: so V8 expects the second that it knows. */
const FIRST = "first of all";
const shape = (key: string): Record<string, number> => ({ [FIRST]: 1, [key]: 2 });

beforeAll(async () => {
  server = await serve(memory);
});

afterAll(async () => {
  await server.close();
  await memory.close();
});

const remotes: [string, () => Promise<WorkflowStateStore>][] = [
  ...WIRES.filter(({ codec }) => codec === "json").map(
    (wire): [string, () => Promise<WorkflowStateStore>] => [nameOf(wire), () => openRemote(server.url, wire)],
  ),
  ["connect json of a browser", () => web.openStore(`${server.url}?codec=json`)],
  ["grpc-web json of a browser", () => web.openStore(`${server.url}?codec=json&protocol=grpc-web`)],
];

describe.each(remotes)("over %s", (way, open) => {
  test.each(MISREAD_KEYS.map((key, n) => [key, n] as const))("the key %j stays", async (key, n) => {
    await using store = await open();
    const prefix = `${way} ${n}`;
    // The shape that is taken for others.
    const known = await save(store, `${prefix} known`, "\\");
    expect(known.state).toEqual(contentOf("\\").state);

    const id = `${prefix} s`;
    const content = contentOf(key);
    const readings: Pick<Session, "state" | "labels">[] = [
      await save(store, id, key),
      (await direct.getSession(id)) as Session,
      (await store.getSession(id)) as Session,
      (await store.forkSession(id, `${id} fork`)) as Session,
    ];
    for await (const message of store.watchSession(id)) {
      if (message.kind === "snapshot") readings.push(message.snapshot);
      break;
    }
    for (const { state, labels } of readings) {
      expect({ state, labels }).toEqual(content);
    }
    await store.setState(id, key, content.state[FIRST] as JsonValue);
    expect(await direct.getState(id, key)).toEqual(content.state[FIRST]);
    expect(await store.getState(id, key)).toEqual(content.state[FIRST]);
    const metadata = { labels: { [FIRST]: "1", [key]: "4" } };
    await store.commit(id, { changes: [{ kind: "merge", key, value: shape(key) }], metadata });
    expect((await direct.getSession(id))?.labels).toEqual(metadata.labels);
    const found = await store.listSessions({ labels: metadata.labels });
    expect(found.sessions.map(({ sessionId }) => sessionId)).toEqual([id]);
    await store.deleteSession(id);
  });
});

function contentOf(key: string): { state: Record<string, JsonValue>; labels: Record<string, string> } {
  return {
    state: { [FIRST]: { deep: [shape(key), { in: shape(key) }], ...shape(key) }, [key]: shape(key) },
    labels: { [FIRST]: "1", [key]: "2" },
  };
}

function save(store: WorkflowStateStore, sessionId: string, key: string): Promise<Session> {
  return store.saveSession({ sessionId, ...contentOf(key) });
}

describe("JSON that no client of ours wrote", () => {
  const post = async (rpc: string, body: string): Promise<string> => {
    const headers = { "content-type": "application/json" };
    return (await fetch(server.url + pathOf(rpc), { method: "POST", headers, body })).text();
  };

  test("may escape the names of fields", async () => {
    await post("SetState", '{"session\\u0049d":"escaped","\\u006bey":"\\\\","value":{"\\u0061":"\\u0062"}}');
    expect(await direct.getState("escaped", "\\")).toEqual({ a: "b" });
  });

  test("may not name one member twice, however it is written", async () => {
    for (const value of ['{"_":1,"\\u005f":2}', '{"\\n":1,"\\u000a":2}']) {
      expect(await post("SetState", `{"sessionId":"twice","key":"k","value":${value}}`)).toContain(
        "INVALID_REQUEST",
      );
    }
  });

  test.each(["", "base64"])("may come in a GET %s", async (base64) => {
    const get = async (labels: string): Promise<string> => {
      const text = `{"order":"SESSION_ORDER_ID","labels":${labels},"vie\\u0077":"SESSION_VIEW_IDS"}`;
      const message = base64 === "" ? text : Buffer.from(text).toString("base64url");
      const query = new URLSearchParams({ connect: "v1", encoding: "json", message });
      if (base64 !== "") query.set("base64", "1");
      const answer = await fetch(`${server.url}${pathOf("ListSessions")}?${query}`);
      return answer.text();
    };
    await direct.saveSession({ sessionId: "got", state: {}, labels: { [`${FIRST} got`]: "1", "\n": "2" } });
    // The shape that is taken for the other.
    expect(await get(`{"${FIRST} got":"1","\\\\":"2"}`)).toBe("{}");
    expect(await get(`{"${FIRST} got":"1","\\n":"2"}`)).toBe('{"sessions":[{"sessionId":"got"}]}');
  });

  test.each([
    ["a field", "GetState", '{"sessionId":"s","kye":"secret"}', "kye"],
    ["a field inside", "Commit", '{"sessionId":"s","changes":[{"set":{"kye":"secret"}}]}', "kye"],
    ["something that is no name", "GetState", '{"secret words":"secret"}', undefined],
    ["a value of an enum", "ListSessions", '{"view":"secret"}', undefined],
  ])("with %s that the service doesn't know is refused", async (_, rpc, body, field) => {
    const answer = await post(rpc, body);
    expect(answer).toContain("INVALID_REQUEST");
    expect(answer).not.toContain("secret");
    if (field !== undefined) expect(answer).toContain(`"metadata":{"field":"${field}"}`);
  });
});
