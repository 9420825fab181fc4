/**
 * Who makes a call: preshared keys, JWTs and client certificates, each turned into an {@link Identity} with its grants.
 * What is not proven is refused; a server with none of these set up asks nobody.
 */
import type { X509Certificate } from "node:crypto";
import type { WorkflowStateError } from "../errors.ts";
import { type Action, ANYBODY, type Grant, type Identity } from "../service/access.ts";
import { type Caller, unauthenticated } from "./auth/caller.ts";
import { type CertificateOptions, certificateCaller } from "./auth/certificates.ts";
import { JwtCallers, type JwtOptions } from "./auth/jwt.ts";
import { type KeyOptions, keyCallers } from "./auth/keys.ts";

/** Who may call, and what each may do. At least one of `keys`, `jwt` and `certificates` must be given. */
export interface AuthOptions {
  /** Preshared keys. Several can be one principal's, so that they rotate. */
  readonly keys?: readonly KeyOptions[] | undefined;
  readonly jwt?: JwtOptions | undefined;
  /** Client certificates by a subject alternative name; they come by TLS that asks for them. */
  readonly certificates?: readonly CertificateOptions[] | undefined;
  /** What is allowed. What no grant allows is not. */
  readonly grants: readonly GrantOptions[];
}

/** What a principal may do. */
export interface GrantOptions {
  /** The principal's name; `"*"`: every one. */
  readonly principal: string;
  /** `"write"` includes `"read"`, `"admin"` both. */
  readonly action: Action;
  /** The namespace, if the credentials are for it; `"*"`: each that they are for. */
  readonly namespace: string;
  /** Only sessions whose id begins with this; absent: all. */
  readonly sessionIdPrefix?: string | undefined;
}

/** What a caller shows. */
export interface Credentials {
  /** The `authorization` header. */
  readonly authorization: string | undefined;
  /** What stands for the connection: what is known of it is kept as long as this. */
  readonly connection: object;
  /** The certificate of the connection's peer, if TLS has verified it. */
  readonly certificate: () => X509Certificate | undefined;
}

/** Tells who makes a call. */
export interface Identify {
  /** The caller, if that is known at once; `undefined`: `identify` says, or says what is wrong. */
  known(credentials: Credentials): Identity | undefined;
  /** The caller. Rejects with UNAUTHENTICATED, or STORE_UNAVAILABLE while the keys of tokens can't be had. */
  identify(credentials: Credentials): Promise<Identity>;
}

/** Asks callers who they are. */
export class Authenticator implements Identify {
  #rules: Rules;
  readonly #streams: Set<OpenStream> = new Set();

  constructor(options: AuthOptions | undefined) {
    this.#rules = this.#rulesOf(options);
  }

  known(credentials: Credentials): Identity | undefined {
    return this.#rules.known(credentials);
  }

  identify(credentials: Credentials): Promise<Identity> {
    return this.#rules.identify(credentials);
  }

  /** From now on other options hold. Streams of callers of whom they say something else end with UNAUTHENTICATED. */
  reload(options: AuthOptions | undefined): void {
    this.#rules = this.#rulesOf(options);
    for (const { caller, grants, end } of [...this.#streams]) {
      if (!this.#rules.stillHolds(caller, grants)) end(changed());
    }
  }

  #rulesOf(options: AuthOptions | undefined): Rules {
    return new Rules(options, this.#streams, () => this.#rules);
  }
}

/** A stream that goes on while what its caller may do stays as it was when it began. */
interface OpenStream {
  readonly caller: Caller;
  readonly grants: readonly Grant[];
  readonly end: (reason: unknown) => void;
}

/** One set of options, and what was found by it. */
class Rules {
  readonly #options: AuthOptions | undefined;
  readonly #streams: Set<OpenStream>;
  readonly #current: () => Rules;
  readonly #byKey: (key: string) => Caller | undefined;
  readonly #jwt: JwtCallers | undefined;
  /** Identities by what their callers are made of: grants are put together once. */
  readonly #identities: WeakMap<Caller, Identity> = new WeakMap();
  readonly #byConnection: WeakMap<object, Caller | null> = new WeakMap();

  /** @param current the rules that hold now: calls that began under others may outlast them */
  constructor(options: AuthOptions | undefined, streams: Set<OpenStream>, current: () => Rules) {
    this.#options = options;
    this.#streams = streams;
    this.#current = current;
    this.#byKey = keyCallers(options?.keys ?? []);
    this.#jwt = options?.jwt && new JwtCallers(options.jwt);
  }

  known(credentials: Credentials): Identity | undefined {
    if (this.#options === undefined) return ANYBODY;
    const { authorization } = credentials;
    const token = tokenOf(authorization);
    const caller =
      authorization === undefined
        ? this.#byCertificate(credentials)
        : (this.#byKey(token) ?? this.#jwt?.known(token));
    if (caller === undefined || (caller.expireTime ?? Number.POSITIVE_INFINITY) <= Date.now())
      return undefined;
    return this.#identity(caller);
  }

  async identify(credentials: Credentials): Promise<Identity> {
    const known = this.known(credentials);
    if (known !== undefined) return known;
    const { authorization } = credentials;
    if (authorization === undefined) throw unauthenticated("This server asks who calls: send credentials.");
    const caller = await this.#jwt?.verified(tokenOf(authorization));
    if (caller === undefined) throw unauthenticated("The credentials are not valid here.");
    return this.#identity(caller);
  }

  /** Whether a caller is known by the same as before, and may do the same. */
  stillHolds(caller: Caller, grants: readonly Grant[]): boolean {
    const { keys = [], jwt, certificates = [], grants: now = [] } = this.#options ?? {};
    const known = JSON.stringify(caller.knownBy);
    return (
      [...keys, jwt, ...certificates].some((each) => JSON.stringify(each) === known) &&
      JSON.stringify(grantsOf(caller, now)) === JSON.stringify(grants)
    );
  }

  #byCertificate({ connection, certificate }: Credentials): Caller | undefined {
    let caller = this.#byConnection.get(connection);
    if (caller === undefined) {
      const shown = certificate();
      caller = (shown && certificateCaller(this.#options?.certificates ?? [], shown)) ?? null;
      this.#byConnection.set(connection, caller);
    }
    return caller ?? undefined;
  }

  #identity(caller: Caller): Identity {
    let identity = this.#identities.get(caller);
    if (identity === undefined) {
      const { principal, namespaces, expireTime } = caller;
      const grants = grantsOf(caller, this.#options?.grants ?? []);
      // The message of a call may come long after the headers that said who makes it.
      const holds = (): boolean => {
        const current = this.#current();
        return current === this || current.stillHolds(caller, grants);
      };
      const check = (): void => {
        if (!holds()) throw changed();
      };
      const onRevoked = (end: (reason: unknown) => void): (() => void) => {
        if (!holds()) {
          end(changed());
          return () => {};
        }
        const stream = { caller, grants, end };
        this.#streams.add(stream);
        return () => this.#streams.delete(stream);
      };
      identity = { principal, namespaces, grants, expireTime, check, onRevoked };
      this.#identities.set(caller, identity);
    }
    return identity;
  }
}

function changed(): WorkflowStateError {
  return unauthenticated("What these credentials are good for has changed: call again.");
}

/** The token of a header; empty where there is none. */
function tokenOf(authorization: string | undefined): string {
  return /^Bearer +([\x21-\x7e]+)$/i.exec(authorization ?? "")?.[1] ?? "";
}

function grantsOf({ principal, namespaces }: Caller, grants: readonly GrantOptions[]): Grant[] {
  return grants
    .filter((grant) => grant.principal === "*" || grant.principal === principal)
    .flatMap(({ action, namespace, sessionIdPrefix = "" }) =>
      namespaces
        .filter((name) => namespace === "*" || namespace === name)
        .map((name) => ({ action, namespace: name, sessionIdPrefix })),
    );
}
