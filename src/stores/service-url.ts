/** The URL of a service, as `openStore` takes it in Node and in browsers: where it is, and how to speak to it. */
import { WorkflowStateError } from "../errors.ts";
import type { Limits } from "../store.ts";
import type { HeadersOption, RetryOptions } from "./remote.ts";

/** Options of a store that a service keeps; those that a URL can say too (`?protocol=connect`) win over the URL. */
export interface ServiceOptions<Protocol extends string> {
  /** The protocol to speak. */
  readonly protocol?: Protocol | undefined;
  /** How messages are written; absent: binary. */
  readonly codec?: "binary" | "json" | undefined;
  /** Headers for every call, or a function that gives them: for tokens. */
  readonly headers?: HeadersOption | undefined;
  /** The tenant that every call is for; absent: the default one. */
  readonly namespace?: string | undefined;
  /** How long a call may take with all its attempts, in milliseconds; absent: 30,000. */
  readonly timeoutMs?: number | undefined;
  /** How calls are tried again when the service can't be reached or can't answer. */
  readonly retry?: RetryOptions | undefined;
  /** A watch on a session that hears nothing for so long connects anew, in milliseconds; absent: 45,000. */
  readonly silenceMs?: number | undefined;
  /** What values may be, where the service is configured otherwise than by default. */
  readonly limits?: Partial<Limits> | undefined;
}

/** The values that each name may have. */
type Choices = Readonly<Record<string, readonly string[]>>;

/** A service's address, and what was chosen by each name. */
export interface ServiceUrl<C extends Choices> {
  readonly baseUrl: string;
  readonly chosen: { readonly [Name in keyof C]?: C[Name][number] };
}

/**
 * Takes a service's URL apart: its query may choose by the names of `choices`, from the values there; what `options` say
 * wins. Fails with INVALID_REQUEST, in words that don't repeat the URL: it may hold secrets.
 */
export function parseServiceUrl<C extends Choices>(
  url: URL,
  choices: C,
  options: { readonly [Name in keyof C]?: unknown },
): ServiceUrl<C> {
  if (url.username !== "" || url.password !== "") {
    throw invalidUrl("The URL of a service can't hold credentials: give them as headers.");
  }
  for (const name of url.searchParams.keys()) {
    if (!Object.hasOwn(choices, name)) {
      throw invalidUrl(
        `The query of a service's URL may say ${Object.keys(choices).join(", ")}, and nothing else.`,
      );
    }
  }
  const chosen: { [Name in keyof C]?: C[Name][number] } = {};
  for (const [name, values] of Object.entries(choices)) {
    const value = options[name] ?? url.searchParams.get(name);
    if (value === null) continue;
    const known = values.find((choice) => choice === value);
    if (known === undefined) throw invalidUrl(`${name} must be one of ${values.join(", ")}.`, name);
    chosen[name as keyof C] = known;
  }
  return { baseUrl: url.origin + url.pathname.replace(/\/+$/, ""), chosen };
}

/** The error of a URL, or of the option of that name, that can't be used. */
export function invalidUrl(message: string, field = "url"): WorkflowStateError {
  return new WorkflowStateError("INVALID_REQUEST", message, { metadata: { field } });
}
