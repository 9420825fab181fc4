/** Credentials: what is changed is refused, what the issuer signed is read with care, and neither is an error of the server. */
import { SignJWT } from "jose";
import { grpcFrame, requestBytes } from "../support/attack-messages.ts";
import type { Random } from "../support/random.ts";
import { GrpcCaller } from "./calls.ts";
import { type Domain, type DomainContext, Finding, type Secrets } from "./domain.ts";

const BODY = grpcFrame(requestBytes("GetState", { sessionId: "s", key: "k" }));
const OK = 0;
const PERMISSION_DENIED = 7;
const UNAUTHENTICATED = 16;
const SOON = 4_000_000_000;
const CLAIMS = {
  iss: "https://issuer.example",
  aud: "workflow-state",
  sub: "worker",
  namespace: "team",
  exp: SOON,
};

/** Fuzzes the authorization header. */
export function tokensDomain({ ports, secrets }: DomainContext): Domain {
  const caller = new GrpcCaller(ports.guarded);

  async function status(authorization: string): Promise<number> {
    const answer = await caller.call("GetState", BODY, { authorization });
    if (![OK, PERMISSION_DENIED, UNAUTHENTICATED].includes(answer.status)) {
      throw new Finding(
        `Credentials are answered ${answer.httpStatus}, ${answer.status}: ${answer.message}`,
        authorization,
      );
    }
    return answer.status;
  }

  return {
    name: "tokens",
    async step(random: Random): Promise<void> {
      if (random.chance(0.2)) {
        const key = changedText(random, secrets.key);
        const expected = key.trim() === secrets.key ? OK : UNAUTHENTICATED;
        if ((await status(`Bearer ${key}`)) !== expected)
          throw new Finding("A key that is changed is taken", key);
        return;
      }
      if (random.chance(0.4)) {
        const { claims, good } = oddClaims(random);
        const token = await signed(secrets, claims);
        const was = await status(`Bearer ${token}`);
        if (!good && was === OK)
          throw new Finding("Claims that say nothing good are taken", JSON.stringify(claims));
        return;
      }
      const token = await signed(secrets, { ...CLAIMS, jti: `${random.next()}` });
      const changed = changedToken(random, token);
      if ((await status(`Bearer ${changed}`)) === OK && !sameBytes(token, changed)) {
        throw new Finding(`A token is taken that was changed from ${token}`, changed);
      }
    },
    close: () => caller.close(),
  };
}

function signed({ privateKey }: Secrets, claims: Readonly<Record<string, unknown>>): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg: "ES256" }).sign(privateKey);
}

/** Claims of which one is odd; `good`: they may be taken. */
function oddClaims(random: Random): { readonly claims: Record<string, unknown>; readonly good: boolean } {
  const [name, value, good] = random.one<readonly [string, unknown, boolean]>([
    ["exp", "4000000000", false],
    ["exp", -1, false],
    ["exp", null, false],
    ["exp", 1e15, true],
    ["exp", [SOON], false],
    ["nbf", SOON, false],
    ["nbf", "0", false],
    ["nbf", 0, true],
    ["iat", SOON, true],
    ["iat", "x", false],
    ["iss", ["https://issuer.example"], false],
    ["iss", "https://issuer.example/", false],
    ["aud", ["other", "workflow-state"], true],
    ["aud", { "workflow-state": 1 }, false],
    ["aud", [], false],
    ["sub", "", false],
    ["sub", 7, false],
    ["sub", ["worker"], false],
    ["sub", null, false],
    ["namespace", "", false],
    ["namespace", ["team"], true],
    ["namespace", ["team", 7, null], true],
    ["namespace", [], false],
    ["namespace", { team: 1 }, false],
    ["namespace", "*", false],
    ["namespace", "__proto__", false],
    ["namespace", undefined, false],
    ["__proto__", { sub: "admin" }, true],
    ["padding", "x".repeat(9_000), false],
  ]);
  // "*", "__proto__" and other names are namespaces like any: a token for one is good there.
  const ownNamespace = name === "namespace" && typeof value === "string" && value !== "";
  return { claims: { ...CLAIMS, [name]: value }, good: good || ownNamespace };
}

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/~ ";

function changedText(random: Random, text: string): string {
  const at = random.between(0, text.length - 1);
  const letter = random.one([...ALPHABET]);
  return random.one([
    text.slice(0, at) + letter + text.slice(at + 1),
    text.slice(0, at),
    text.slice(0, at) + letter + text.slice(at),
    text + text,
    text,
  ]);
}

function changedToken(random: Random, token: string): string {
  const [head = "", payload = "", signature = ""] = token.split(".");
  const encoded = (json: unknown): string => Buffer.from(JSON.stringify(json)).toString("base64url");
  switch (random.between(0, 7)) {
    case 0:
      return `${encoded({ alg: random.one(["none", "None", "HS256", "RS256", "ES384", "", null, 7, ["ES256"]]) })}.${payload}.${signature}`;
    case 1:
      return `${encoded({ alg: "ES256", ...random.one<object>([{ crit: ["x"], x: 1 }, { b64: false, crit: ["b64"] }, { jwk: { kty: "EC" } }, { jku: "http://127.0.0.1:9/" }, { kid: "../../etc/passwd" }, { x5u: "http://127.0.0.1:9/" }]) })}.${payload}.${signature}`;
    case 2:
      return `${head}.${encoded({ ...CLAIMS, sub: "admin" })}.${signature}`;
    case 3:
      return `${head}.${payload}.`;
    case 4:
      return [head, payload, signature, signature].slice(0, random.one([1, 2, 4])).join(".");
    case 5:
      return `${head}.${payload}.${Buffer.alloc(random.one([0, 32, 63, 64, 65, 72]), random.one([0, 255])).toString("base64url")}`;
    case 6:
      return `${"A".repeat(random.one([9_000, 12_000]))}.${payload}.${signature}`;
    default:
      return changedText(random, token);
  }
}

/** Whether two tokens are of the same bytes: the last letter of a part may have bits to spare. */
function sameBytes(one: string, other: string): boolean {
  const bytesOf = (token: string): string =>
    token
      .trim()
      .split(".")
      .map((part) => Buffer.from(part, "base64url").toString("hex"))
      .join(".");
  return bytesOf(one) === bytesOf(other);
}
