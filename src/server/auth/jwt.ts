/** JWTs (RFC 7519) from an issuer whose keys are known by a file or a JWKS. */
import { createHash, createPublicKey } from "node:crypto";
import {
  createRemoteJWKSet,
  customFetch,
  errors,
  type FetchImplementation,
  type JWTVerifyGetKey,
  jwtVerify,
  type KeyObject,
} from "jose";
import { LRUCache } from "lru-cache";
import { WorkflowStateError } from "../../errors.ts";
import { type Caller, unauthenticated } from "./caller.ts";

/** Whose tokens are taken, and what is read of them. */
export interface JwtOptions {
  /** `iss` must be this. */
  readonly issuer: string;
  /** `aud` must be or hold this. */
  readonly audience: string;
  /** Algorithms, all of public keys. */
  readonly algorithms: readonly JwtAlgorithm[];
  /** Where the issuer publishes its keys (RFC 7517), by https, or on this machine; or, in place of it, `publicKey`. */
  readonly jwksUrl?: string | undefined;
  /** The issuer's one key, as PEM. */
  readonly publicKey?: string | undefined;
  /** How often the JWKS is fetched at most, whatever tokens come, in milliseconds; where it failed at most 5,000. Default: 30,000. */
  readonly jwksCooldownMs?: number | undefined;
  /** The claim that names the namespace, or a list of them. Default: `namespace`. The principal is always `sub`. */
  readonly namespaceClaim?: string | undefined;
}

/** The algorithms that can be asked for. None of a shared secret: a public key must never be taken for one. */
export const JWT_ALGORITHMS = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
] as const;

export type JwtAlgorithm = (typeof JWT_ALGORITHMS)[number];

/** How far clocks may be apart. */
const CLOCK_TOLERANCE_S = 5;
/** A token longer than this is none. */
const MAX_TOKEN_LENGTH = 8_192;
/** How many tokens are known at once, and for how long without looking at their keys again. */
const KNOWN = { tokens: 10_000, ms: 60_000 };
/** How long fetched keys are good for, and how long fetching them may take. */
const JWKS = { cacheMaxAge: 600_000, timeoutDuration: 5_000 };
/** How soon after a fetch that failed there may be another, at first and at last, in milliseconds: the cooldown is for those that did not. */
const FIRST_PAUSE_MS = 100;
const LAST_PAUSE_MS = 5_000;
/** More bytes than any issuer's keys have: whoever sends more sends something else. */
const MAX_JWKS_BYTES = 1 << 20;

/** The callers of an issuer's tokens. */
export class JwtCallers {
  readonly #options: JwtOptions;
  readonly #key: KeyObject | JWTVerifyGetKey;
  readonly #known: LRUCache<string, Caller> = new LRUCache({ max: KNOWN.tokens, ttl: KNOWN.ms });

  constructor(options: JwtOptions) {
    this.#options = options;
    const cooldownDuration = options.jwksCooldownMs ?? 30_000;
    this.#key =
      options.publicKey === undefined
        ? createRemoteJWKSet(new URL(options.jwksUrl ?? ""), {
            ...JWKS,
            [customFetch]: paced(Math.min(cooldownDuration, LAST_PAUSE_MS), fetchBounded),
            cooldownDuration,
          })
        : createPublicKey(options.publicKey);
  }

  /** The caller of a token that was seen not long ago. */
  known(token: string): Caller | undefined {
    return this.#known.get(digest(token));
  }

  /** The caller of a token; `undefined`: it doesn't look like one. Rejects with UNAUTHENTICATED, STORE_UNAVAILABLE. */
  async verified(token: string): Promise<Caller | undefined> {
    if (token.length > MAX_TOKEN_LENGTH || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return undefined;
    const { issuer, audience, algorithms, namespaceClaim = "namespace" } = this.#options;
    const rules = {
      issuer,
      audience,
      algorithms: [...algorithms],
      clockTolerance: CLOCK_TOLERANCE_S,
      requiredClaims: ["exp", "sub"],
    };
    try {
      const verify =
        typeof this.#key === "function"
          ? jwtVerify(token, this.#key, rules)
          : jwtVerify(token, this.#key, rules);
      const { payload } = await verify;
      // Whatever else stands there would be another's name once it is made a text.
      if (typeof payload.sub !== "string" || payload.sub === "") throw invalid();
      const claim = payload[namespaceClaim];
      const caller = {
        principal: payload.sub,
        // An empty name is the namespace of servers that ask nobody: no token is for that.
        namespaces: (Array.isArray(claim) ? claim : [claim]).filter(
          (name) => typeof name === "string" && name !== "",
        ),
        expireTime: (Number(payload.exp) + CLOCK_TOLERANCE_S) * 1_000,
        knownBy: this.#options,
      };
      this.#known.set(digest(token), caller);
      return caller;
    } catch (error) {
      if (WorkflowStateError.is(error)) throw error;
      if (error instanceof errors.JOSEError && !isUnreachable(error)) throw invalid(error);
      // The issuer's keys can't be fetched: nobody is believed, and the caller may try again.
      throw new WorkflowStateError(
        "STORE_UNAVAILABLE",
        "The keys of the tokens' issuer can't be read now: call again.",
        {
          cause: error,
        },
      );
    }
  }
}

/** What a token is known by: what is kept in memory must not serve to call. */
function digest(token: string): string {
  return createHash("sha256").update(token).digest("base64");
}

/** Whether it is the issuer's answer that is wrong, and says nothing of the token. */
function isUnreachable(error: errors.JOSEError): boolean {
  return (
    error instanceof errors.JWKSTimeout ||
    error instanceof errors.JWKSInvalid ||
    error.code === "ERR_JOSE_GENERIC"
  );
}

/** Fetches no more bytes than the keys of an issuer can have. */
const fetchBounded: FetchImplementation = async (url, options) => {
  const response = await fetch(url, options);
  const chunks: Uint8Array[] = [];
  let size = 0;
  // Leaving the loop ends the transfer.
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > MAX_JWKS_BYTES) throw new Error(`The issuer's keys have more than ${MAX_JWKS_BYTES} bytes.`);
    chunks.push(chunk);
  }
  return new Response(response.status === 200 ? Buffer.concat(chunks) : null, { status: response.status });
};

/**
 * A fetch that fails at once where the last one was begun a moment ago: strangers decide when keys are asked for. The moment
 * doubles with each fetch that follows soon, up to so many milliseconds.
 */
function paced(mostMs: number, fetch: FetchImplementation): FetchImplementation {
  let began = Number.NEGATIVE_INFINITY;
  let pauseMs = 0;
  return async (url, options) => {
    const sinceMs = performance.now() - began;
    if (sinceMs < pauseMs)
      throw new Error("The issuer's keys were asked for a moment ago, and did not come.");
    pauseMs = Math.min(mostMs, sinceMs > 2 * mostMs ? FIRST_PAUSE_MS : 2 * pauseMs);
    began = performance.now();
    return fetch(url, options);
  };
}

function invalid(cause?: unknown): WorkflowStateError {
  return unauthenticated("The token is not valid here, or no longer: get a new one.", cause);
}
