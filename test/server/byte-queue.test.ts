/** A queue of bytes gives out what went in, however it is cut. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { ByteQueue } from "../../src/server/byte-queue.ts";

test("what is taken out is what was put in, and stays as it is", () => {
  const step = fc.oneof(fc.uint8Array({ maxLength: 3000 }), fc.nat({ max: 4000 }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const queue = new ByteQueue();
      const put: Uint8Array[] = [];
      const taken: Uint8Array[] = [];
      for (const next of steps) {
        if (typeof next === "number") {
          taken.push(queue.take(Math.min(next, queue.length)));
        } else {
          put.push(next);
          queue.push(Buffer.from(next));
        }
        expect(queue.peek().length).toBe(queue.length);
      }
      taken.push(queue.peek());
      expect(Buffer.concat(taken).equals(Buffer.concat(put))).toBe(true);
      expect(queue.take().length).toBe(taken.at(-1)?.length);
      expect(queue.length).toBe(0);
    }),
  );
});

test("many small pieces cost little more than their bytes", () => {
  const queue = new ByteQueue();
  const piece = Buffer.of(7);
  for (let i = 0; i < 1_000_000; i++) queue.push(piece);
  expect(queue.length).toBe(1_000_000);
  expect(queue.peek().buffer.byteLength).toBeLessThan(4_000_000);
});
