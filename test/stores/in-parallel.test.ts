import { expect, test } from "vitest";
import { inParallel } from "../../src/stores/in-parallel.ts";

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("at most so many tasks run at once, and every item is taken once", async () => {
  let running = 0;
  let most = 0;
  const seen: number[] = [];
  await inParallel(Array.from({ length: 50 }).keys(), 4, async (item) => {
    most = Math.max(most, ++running);
    await tick();
    seen.push(item);
    running--;
  });
  expect(most).toBe(4);
  expect(seen.sort((a, b) => a - b)).toEqual([...Array(50).keys()]);
});

test("items are taken when there is room for them, and not before", async () => {
  let taken = 0;
  async function* items(): AsyncGenerator<number> {
    for (; taken < 10; taken++) yield taken;
  }
  let done = 0;
  await inParallel(items(), 2, async () => {
    await tick();
    expect(taken - done).toBeLessThanOrEqual(3);
    done++;
  });
  expect(done).toBe(10);
});

test("after a failure nothing begins, what runs is waited for, and the first failure is thrown", async () => {
  let ended = 0;
  let closed = false;
  async function* items(): AsyncGenerator<number> {
    try {
      for (let i = 0; ; i++) yield i;
    } finally {
      closed = true;
    }
  }
  const began: number[] = [];
  const run = inParallel(items(), 3, async (item) => {
    began.push(item);
    await tick();
    if (item === 1) throw new Error("first");
    await tick();
    ended++;
    if (item === 2) throw new Error("second");
  });
  await expect(run).rejects.toThrow("first");
  expect(began.length - 1).toBe(ended);
  expect(closed).toBe(true);
});

test("items that can't be had fail it", async () => {
  async function* items(): AsyncGenerator<number> {
    yield 1;
    throw new Error("no more");
  }
  await expect(inParallel(items(), 2, tick)).rejects.toThrow("no more");
});

test("nothing to do is done", async () => {
  await inParallel([], 3, () => Promise.reject(new Error("called")));
});
