/** Tasks that run beside each other, a bounded number at once. */

/**
 * Runs a task for each item, at most `concurrency` at once; an item is taken when a task has room for it. When a task fails no
 * further one begins, those under way are waited for, and the first failure is thrown.
 */
export async function inParallel<T>(
  items: Iterable<T> | AsyncIterable<T>,
  concurrency: number,
  task: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  const failures: unknown[] = [];
  const worker = async (): Promise<void> => {
    try {
      while (failures.length === 0) {
        const next = await iterator.next();
        if (next.done) return;
        await task(next.value);
      }
    } catch (error) {
      failures.push(error);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  if (failures.length === 0) return;
  await iterator.return?.();
  throw failures[0];
}
