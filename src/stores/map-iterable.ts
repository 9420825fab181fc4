/**
 * The iterable with each item turned into another. Not a generator: its `return` must reach a source that is still waiting
 * for its next item. If an item can't be turned, the source is ended.
 */
export function mapIterable<A, B>(
  source: AsyncIterable<A>,
  map: (item: A) => B | Promise<B>,
): AsyncIterable<B> {
  return {
    [Symbol.asyncIterator]() {
      const items = source[Symbol.asyncIterator]();
      return {
        async next() {
          const { done, value } = await items.next();
          if (done === true) return { done, value: undefined };
          try {
            return { done: false, value: await map(value) };
          } catch (error) {
            await items.return?.();
            throw error;
          }
        },
        async return() {
          await items.return?.();
          return { done: true, value: undefined };
        },
      };
    },
  };
}
