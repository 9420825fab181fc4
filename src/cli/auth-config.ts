/** The `auth` section of a config file: who may call, and what each may do. Everything about it is checked at the start. */
import { createPublicKey } from "node:crypto";
import { dirname, resolve } from "node:path";
import type { CertificateOptions } from "../server/auth/certificates.ts";
import { JWT_ALGORITHMS, type JwtAlgorithm, type JwtOptions } from "../server/auth/jwt.ts";
import type { KeyOptions } from "../server/auth/keys.ts";
import type { AuthOptions, GrantOptions } from "../server/auth.ts";
import { readFile } from "./config-file.ts";
import { UsageError } from "./usage-error.ts";

/** SHA-256 of nothing: a key that was forgotten to be filled in. */
const OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/**
 * Reads the section. Paths in it are seen from the config file. Fails with a {@link UsageError} that names the member.
 * @param section what the file holds as `auth`
 */
export function authOf(section: Readonly<Record<string, unknown>>, configPath: string): AuthOptions {
  const auth = new Member("auth", section);
  auth.only("keys", "jwt", "certificates", "grants");
  const keys = auth.list("keys")?.map(keyOf);
  const certificates = auth.list("certificates")?.map(certificateOf);
  const jwt = auth.has("jwt") ? jwtOf(auth.member("jwt"), configPath) : undefined;
  if (keys === undefined && jwt === undefined && certificates === undefined) {
    throw new UsageError('config file: "auth" needs "keys", "jwt" or "certificates"');
  }
  return { keys, jwt, certificates, grants: (auth.list("grants") ?? []).map(grantOf) };
}

function keyOf(key: Member): KeyOptions {
  key.only("sha256", "principal", "namespaces");
  const sha256 = key.text("sha256").toLowerCase();
  if (!/^[\da-f]{64}$/.test(sha256))
    throw key.wrong("sha256", "64 hexadecimal digits, as new-key prints them");
  if (sha256 === OF_NOTHING) throw key.wrong("sha256", "that of a key, and this one is that of nothing");
  return { sha256, principal: key.text("principal"), namespaces: key.texts("namespaces") };
}

function certificateOf(certificate: Member): CertificateOptions {
  certificate.only("subjectAltName", "principal", "namespaces");
  const subjectAltName = certificate.text("subjectAltName");
  if (!/^(?:URI|DNS|email|IP Address):./.test(subjectAltName)) {
    throw certificate.wrong(
      "subjectAltName",
      'a name with its kind, such as "URI:spiffe://example.org/worker"',
    );
  }
  return {
    subjectAltName,
    principal: certificate.text("principal"),
    namespaces: certificate.texts("namespaces"),
  };
}

function jwtOf(jwt: Member, configPath: string): JwtOptions {
  jwt.only("issuer", "audience", "algorithms", "jwksUrl", "publicKeyFile", "namespaceClaim");
  const algorithms = jwt.texts("algorithms");
  if (algorithms.length === 0 || !algorithms.every((name) => JWT_ALGORITHMS.includes(name as JwtAlgorithm))) {
    throw jwt.wrong("algorithms", `a list of some of ${JWT_ALGORITHMS.join(", ")}`);
  }
  if (jwt.has("jwksUrl") === jwt.has("publicKeyFile")) {
    throw new UsageError('config file: "auth.jwt" needs one of "jwksUrl" and "publicKeyFile"');
  }
  return {
    issuer: jwt.text("issuer"),
    audience: jwt.text("audience"),
    algorithms: algorithms as JwtAlgorithm[],
    ...(jwt.has("namespaceClaim") ? { namespaceClaim: jwt.text("namespaceClaim") } : {}),
    ...(jwt.has("jwksUrl")
      ? { jwksUrl: jwksUrlOf(jwt) }
      : { publicKey: publicKeyOf(jwt, resolve(dirname(configPath), jwt.text("publicKeyFile"))) }),
  };
}

function jwksUrlOf(jwt: Member): string {
  const text = jwt.text("jwksUrl");
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const local = url?.protocol === "http:" && ["127.0.0.1", "[::1]", "localhost"].includes(url.hostname);
  // Whoever can change the keys on their way can make tokens.
  if (url?.protocol !== "https:" && !local) throw jwt.wrong("jwksUrl", "an https URL");
  return text;
}

function publicKeyOf(jwt: Member, path: string): string {
  const pem = readFile(path, "public key").toString("utf8");
  try {
    createPublicKey(pem);
  } catch {
    throw jwt.wrong("publicKeyFile", "a file with a public key as PEM");
  }
  if (pem.includes("PRIVATE KEY")) throw jwt.wrong("publicKeyFile", "a public key, and this one is private");
  return pem;
}

function grantOf(grant: Member): GrantOptions {
  grant.only("principal", "action", "namespace", "sessionIdPrefix");
  const action = grant.text("action");
  if (action !== "read" && action !== "write" && action !== "admin") {
    throw grant.wrong("action", '"read", "write" or "admin"');
  }
  const sessionIdPrefix = grant.has("sessionIdPrefix") ? grant.text("sessionIdPrefix") : undefined;
  return {
    principal: grant.text("principal"),
    action,
    namespace: grant.text("namespace"),
    ...(sessionIdPrefix === undefined ? {} : { sessionIdPrefix }),
  };
}

/** An object of the file, by its path. */
class Member {
  readonly #path: string;
  readonly #value: Readonly<Record<string, unknown>>;

  constructor(path: string, value: unknown) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new UsageError(`config file: "${path}" must be an object`);
    }
    this.#path = path;
    this.#value = value as Readonly<Record<string, unknown>>;
  }

  /** Fails if there are other members: one that is misspelt must not count as absent. */
  only(...names: readonly string[]): void {
    const other = Object.keys(this.#value).find((name) => !names.includes(name));
    if (other !== undefined) {
      throw new UsageError(`config file: "${this.#path}" has no "${other}": there are ${names.join(", ")}`);
    }
  }

  has(name: string): boolean {
    return this.#value[name] !== undefined;
  }

  member(name: string): Member {
    return new Member(`${this.#path}.${name}`, this.#value[name]);
  }

  list(name: string): Member[] | undefined {
    const value = this.#value[name];
    if (value === undefined) return undefined;
    if (!Array.isArray(value)) throw this.wrong(name, "a list");
    return value.map((each, i) => new Member(`${this.#path}.${name}[${i}]`, each));
  }

  text(name: string): string {
    const value = this.#value[name];
    if (typeof value !== "string" || value === "") throw this.wrong(name, "a text");
    return value;
  }

  texts(name: string): string[] {
    const value = this.#value[name];
    if (!Array.isArray(value) || !value.every((each) => typeof each === "string" && each !== "")) {
      throw this.wrong(name, "a list of texts");
    }
    return value;
  }

  wrong(name: string, what: string): UsageError {
    return new UsageError(`config file: "${this.#path}.${name}" must be ${what}`);
  }
}
