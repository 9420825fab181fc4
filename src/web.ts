/** What the package exports for browsers: the same store, from a service. */
import type { Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import type { WorkflowStateStore } from "./store.ts";
import { checkOptions } from "./stores/check-options.ts";
import { jsonStore } from "./stores/json.ts";
import { remoteStore } from "./stores/remote.ts";
import { fetchJson, jsonAnswers } from "./stores/remote-json.ts";
import { invalidUrl, parseServiceUrl, type ServiceOptions } from "./stores/service-url.ts";

export {
  type ErrorCode,
  type ErrorFacts,
  type ErrorReason,
  type FailedCheck,
  WorkflowStateError,
} from "./errors.ts";
export { openSession, TypedSession, update } from "./session.ts";
export type * from "./session-types.ts";
export type * from "./store.ts";
export { DEFAULT_LIMITS } from "./store.ts";

/** Options of {@link openStore}; the protocol is Connect unless chosen. */
export type OpenOptions = ServiceOptions<"connect" | "grpc-web">;

const CHOICES = { protocol: ["connect", "grpc-web"], codec: ["binary", "json"] } as const;

/**
 * Opens the store that a service keeps: `https://host/path`, or a path on the page's own host. The query of the URL may
 * choose as the options do: `?protocol=grpc-web&codec=json`. A pipeline is a call a batch, as browsers can't stream requests.
 *
 * The service is not asked for until the first call. Fails with INVALID_REQUEST for a URL that is no service's, and for options that
 * make no sense.
 *
 * @example
 * const store = await openStore("/state");
 * for await (const message of store.watchSession("cart-1")) console.log(message);
 */
export async function openStore(url: string, options: OpenOptions = {}): Promise<WorkflowStateStore> {
  checkOptions(options);
  const page = globalThis.location?.href;
  const parsed = URL.canParse(url, page) ? new URL(url, page) : undefined;
  if (parsed?.protocol !== "http:" && parsed?.protocol !== "https:") {
    throw invalidUrl("A browser opens the store of a service, at an http(s) URL.");
  }
  const { baseUrl, chosen } = parseServiceUrl(parsed, CHOICES, options);
  const { protocol = "connect", codec = "binary" } = chosen;
  const transport = createTransport(protocol, { baseUrl, codec });
  const { headers, timeoutMs, retry, silenceMs, limits, namespace } = options;
  const remote = remoteStore(transport, { codec, headers, timeoutMs, retry, silenceMs, duplex: false });
  return jsonStore(remote, { limits, namespace });
}

function createTransport(
  protocol: "connect" | "grpc-web",
  { baseUrl, codec }: { readonly baseUrl: string; readonly codec: "binary" | "json" },
): Transport {
  const create = protocol === "connect" ? createConnectTransport : createGrpcWebTransport;
  return codec === "binary"
    ? create({ baseUrl, useBinaryFormat: true })
    : create({ baseUrl, useBinaryFormat: false, ...jsonAnswers, fetch: fetchJson });
}
