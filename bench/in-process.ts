/** A store in this process: encoded, as the service uses it, and in JSON, as programs do. */
import { jsonStore } from "../src/stores/json.ts";
import { memoryStore } from "../src/stores/memory.ts";
import { encodeValue } from "../src/value.ts";
import { measure, VALUE } from "./measure.ts";

export async function benchInProcess(ms: number): Promise<void> {
  const value = encodeValue(VALUE);
  // The first to be measured must not pay for the compiler.
  const warm = memoryStore();
  for (let i = 0; i < 50_000; i++) await warm.setState({ sessionId: "s", key: `key-${i % 10}`, value });
  console.log("In process: the cost of a set doesn't grow with the session");
  for (const size of [10, 1_000, 9_999]) {
    const store = memoryStore();
    const keys = Array.from({ length: size }, (_, i) => `key-${i}`);
    for (const key of keys) await store.setState({ sessionId: "s", key, value });
    // The same ten keys in each session: what differs is only how many others there are.
    await measure(`set one of 10 keys in a session of ${size.toLocaleString("en")}`, ms, 1, (i) =>
      store.setState({ sessionId: "s", key: keys[i % 10] as string, value }),
    );
  }

  console.log("In process: operations");
  const encoded = memoryStore();
  const store = jsonStore(encoded);
  const batch = Array.from({ length: 256 }, (_, i) => ({
    kind: "setState" as const,
    sessionId: "s",
    key: `key-${i}`,
    value,
  }));
  await measure("setState, encoded", ms, 1, (i) =>
    encoded.setState({ sessionId: "s", key: `key-${i % 100}`, value }),
  );
  await measure("getState, encoded", ms, 1, (i) =>
    encoded.getState({ sessionId: "s", key: `key-${i % 100}` }),
  );
  await measure("batch of 256 setState, encoded", ms, 256, () => encoded.batch(batch));
  await measure("setState, JSON", ms, 1, (i) => store.setState("s", `key-${i % 100}`, VALUE));
  await measure("getState, JSON", ms, 1, (i) => store.getState("s", `key-${i % 100}`));
  await measure("setState with a request id, JSON", ms, 1, (i) =>
    store.setState("s", "key-1", VALUE, { requestId: `r${i}` }),
  );
  await measure("commit: increment and append", ms, 1, () =>
    store.commit("s", {
      changes: [
        { kind: "increment", key: "n", delta: 1 },
        { kind: "append", key: "list", values: ["item"], maxItems: 10 },
      ],
    }),
  );
  await store.close();
  console.log();
}
