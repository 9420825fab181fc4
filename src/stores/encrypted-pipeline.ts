/** A pipeline of an encrypted store: batches go ahead to the inner pipeline as far as they need not look first. */
import type { EncodedForm, Operation, Result } from "../store.ts";
import { mapIterable } from "./map-iterable.ts";

type Operations = readonly Operation<EncodedForm>[];
type Results = Result<EncodedForm>[];

/** What a pipeline needs of its store. */
export interface PipelineParts<Ready> {
  /** What a batch is sent as; `undefined`: it must be run by itself. */
  readonly ready: (operations: Operations) => readonly Ready[] | undefined;
  /** The operation that is sent. */
  readonly sent: (ready: Ready) => Operation<EncodedForm>;
  /** Opens the answers of a batch that was sent. */
  readonly opened: (answers: Results, ready: readonly Ready[]) => Promise<Results>;
  /** Runs a batch by itself. */
  readonly run: (operations: Operations) => Promise<Results>;
  /** The inner pipeline. */
  readonly pipeline: (batches: AsyncIterable<Operations>) => AsyncIterable<Results>;
}

/** Runs batches as they come; one answer for each, in order. It ends as the inner pipeline does. */
export function sealedPipeline<Ready>(
  batches: AsyncIterable<Operations>,
  parts: PipelineParts<Ready>,
): AsyncIterable<Results> {
  /** What is not answered yet: what was sent, or what came of a batch that was run by itself and an empty one sent for. */
  const asked: ({ readonly ready: readonly Ready[] } | { readonly results: Results })[] = [];
  let answered = (): void => {};
  let ended = false;
  const input: AsyncIterable<Operations> = {
    [Symbol.asyncIterator]() {
      const source = batches[Symbol.asyncIterator]();
      return {
        async next() {
          const { done, value } = await source.next();
          if (done === true) return { done, value: undefined };
          const ready = parts.ready(value);
          if (ready !== undefined) {
            asked.push({ ready });
            return { done: false, value: ready.map(parts.sent) };
          }
          // In its turn: those before it must be done.
          while (asked.length > 0 && !ended) {
            await new Promise<void>((resolve) => {
              answered = resolve;
            });
          }
          if (ended) return { done: true, value: undefined };
          asked.push({ results: await parts.run(value) });
          return { done: false, value: [] };
        },
        async return() {
          ended = true;
          answered();
          await source.return?.();
          return { done: true, value: undefined };
        },
      };
    },
  };
  return mapIterable(parts.pipeline(input), async (answers) => {
    const [next] = asked;
    if (next === undefined) return answers;
    const results = "results" in next ? next.results : await parts.opened(answers, next.ready);
    asked.shift();
    answered();
    return results;
  });
}
