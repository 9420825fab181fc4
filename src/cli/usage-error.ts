/** What ends the program with one line instead of a stack: what whoever started it gets to see. */

/** What whoever started the program has to put right; it ends with 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** What went wrong although the program was started well; it ends with 1, or 130 if it was interrupted. */
export class Failure extends Error {
  override readonly name = "Failure";
  readonly exitCode: 1 | 130;

  constructor(message: string, options: { readonly exitCode?: 1 | 130; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.exitCode = options.exitCode ?? 1;
  }
}
