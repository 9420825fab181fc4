/** `workflow-state healthcheck`: whether a server is ready, for containers that have no other program. */
import { get as httpGet } from "node:http";
import { get as httpsGet } from "node:https";
import { isLoopback } from "../server/loopback.ts";
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
  let status: number | undefined;
  try {
    status = await statusOf(new URL("/readyz", url));
  } catch (cause) {
    throw new Failure("the server can't be reached", { cause });
  }
  if (status !== 200) throw new Failure("the server is not ready");
  console.log("ready");
}

function statusOf(url: URL): Promise<number | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
  const options = {
    agent: false,
    signal: AbortSignal.timeout(TIMEOUT_MS),
    // A certificate is for the name that callers know, never for this machine's own address; and nothing is told to it.
    rejectUnauthorized: !isLoopback(url.hostname.replace(/^\[|\]$/g, "")),
  };
  const get = url.protocol === "https:" ? httpsGet : httpGet;
  get(url, options, (response) => {
    response.resume();
    resolve(response.statusCode);
  }).on("error", reject);
  return promise;
}
