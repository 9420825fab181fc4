/** A pipeline over a store that runs batches: one answer for each, in order, until it is told to end. */
import { storeClosed } from "./failures.ts";

/** What ends a pipeline from outside. */
export interface PipelineEnds {
  readonly signal: AbortSignal | undefined;
  /** Whether the store has been closed. */
  readonly closed: () => boolean;
  /** Those who are called once when it closes. */
  readonly closing: Set<() => void>;
}

/**
 * Runs batches as they come. Ends with them, or by the signal (throwing its reason), or with SHUTTING_DOWN when the store
 * closes, also while the next batch is long in coming.
 */
export async function* runPipeline<Batch, Answer>(
  batches: AsyncIterable<Batch>,
  run: (batch: Batch) => Promise<Answer>,
  ends: PipelineEnds,
): AsyncGenerator<Answer, void, undefined> {
  const iterator = batches[Symbol.asyncIterator]();
  try {
    for (;;) {
      const step = await nextBatch(iterator, ends);
      if (step.done === true) return;
      yield await run(step.value);
    }
  } finally {
    // Not waited for: it may be stuck. What it still throws has nobody to go to.
    iterator.return?.().catch(() => {});
  }
}

function nextBatch<Batch>(
  iterator: AsyncIterator<Batch>,
  ends: PipelineEnds,
): Promise<IteratorResult<Batch>> {
  const { signal, closed, closing } = ends;
  return new Promise((resolve, reject) => {
    const end = (): void => {
      signal?.removeEventListener("abort", end);
      closing.delete(end);
      if (signal?.aborted) reject(signal.reason);
      else if (closed()) reject(storeClosed());
    };
    signal?.addEventListener("abort", end);
    closing.add(end);
    if (signal?.aborted || closed()) return end();
    iterator.next().then(resolve, reject).finally(end);
  });
}
