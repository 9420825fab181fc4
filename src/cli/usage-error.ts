/** What whoever started the program has to put right. Its message is one line, and all that they get to see. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}
