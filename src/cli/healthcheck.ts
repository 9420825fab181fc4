/** `workflow-state healthcheck`: whether a server is ready, for containers that have no other program. */
import { Failure, UsageError } from "./usage-error.ts";

/** How long a server may take to answer. */
const TIMEOUT_MS = 3_000;

/** Asks a server's `/readyz`. Fails with a {@link Failure} unless it is ready. */
export async function healthcheck({
  url = "http://127.0.0.1:7410",
}: {
  readonly url?: string;
}): Promise<void> {
  if (!/^https?:$/.test(URL.canParse(url) ? new URL(url).protocol : "")) {
    throw new UsageError("--url must be a server's, such as http://127.0.0.1:7410");
  }
  let status: number;
  try {
    ({ status } = await fetch(new URL("/readyz", url), { signal: AbortSignal.timeout(TIMEOUT_MS) }));
  } catch (cause) {
    throw new Failure("the server can't be reached", { cause });
  }
  if (status !== 200) throw new Failure("the server is not ready");
  console.log("ready");
}
