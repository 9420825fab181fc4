import { describe, expect, test } from "vitest";
import { KeyedMutex } from "../../src/stores/keyed-mutex.ts";

/** A promise, and how to fulfil it. */
function gate(): { readonly passed: Promise<void>; open(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { passed: promise, open: resolve };
}

describe("turns", () => {
  test("one key's come one after the other, another key's do not wait", async () => {
    const mutex = new KeyedMutex();
    const log: string[] = [];
    const first = gate();
    const a1 = mutex.run("a", async () => {
      log.push("a1 begins");
      await first.passed;
      log.push("a1 ends");
    });
    const a2 = mutex.run("a", async () => log.push("a2"));
    await mutex.run("b", async () => log.push("b"));
    expect(log).toEqual(["a1 begins", "b"]);
    first.open();
    await Promise.all([a1, a2]);
    expect(log).toEqual(["a1 begins", "b", "a1 ends", "a2"]);
  });

  test("one that fails lets the next one in", async () => {
    const mutex = new KeyedMutex();
    const failing = mutex.run("a", async () => Promise.reject(new Error("no")));
    const next = mutex.run("a", async () => "next");
    await expect(failing).rejects.toThrow("no");
    expect(await next).toBe("next");
  });

  test("a key that nobody holds or waits for is dropped", async () => {
    const mutex = new KeyedMutex();
    const runs = Array.from({ length: 100 }, (_, i) => mutex.run(`k${i % 10}`, async () => i));
    expect(mutex.size).toBe(10);
    await Promise.all(runs);
    await new Promise((resolve) => setImmediate(resolve));
    expect(mutex.size).toBe(0);
  });

  test("an abort before the turn takes the work away, at once", async () => {
    const mutex = new KeyedMutex();
    const first = gate();
    const holding = mutex.run("a", () => first.passed);
    const abort = new AbortController();
    let ran = false;
    const work = async (): Promise<void> => {
      ran = true;
    };
    const waiting = mutex.run("a", work, abort.signal);
    const third = mutex.run("a", async () => "third");
    abort.abort("enough");
    await expect(waiting).rejects.toBe("enough");
    await expect(mutex.run("a", async () => "never", abort.signal)).rejects.toBe("enough");
    first.open();
    await holding;
    expect(await third).toBe("third");
    expect(ran).toBe(false);
  });

  test("an abort during the turn is the work's to see", async () => {
    const mutex = new KeyedMutex();
    const abort = new AbortController();
    const done = mutex.run(
      "a",
      async () => {
        abort.abort();
        return "done";
      },
      abort.signal,
    );
    expect(await done).toBe("done");
  });
});
