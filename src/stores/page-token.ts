/** Page tokens: opaque to callers, good only for the listing that they came from. */
import { WorkflowStateError } from "../errors.ts";
import { utf8Length } from "../utf8.ts";

/**
 * A token that goes on at `position`.
 * @param query what the listing was asked for, less page size and token: a token serves only the same query.
 */
export function pageToken(query: readonly unknown[], position: readonly (string | number)[]): string {
  const text = JSON.stringify([digest(query), ...position]);
  // btoa takes bytes as characters; base64url, so that a token can stand in a URL.
  const bytes = new TextEncoder().encode(text);
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/**
 * The position in a token; `undefined` if there is no token.
 * @param shape the type of each part of the position.
 * Fails with INVALID_PAGE_TOKEN unless the token was made for the same query.
 */
export function pagePosition<Shape extends readonly ("string" | "number")[]>(
  token: string | undefined,
  query: readonly unknown[],
  ...shape: Shape
): { [K in keyof Shape]: Shape[K] extends "string" ? string : number } | undefined {
  if (token === undefined || token === "") return undefined;
  const parts = parse(token);
  const fits =
    parts !== undefined &&
    parts.length === shape.length + 1 &&
    parts[0] === digest(query) &&
    shape.every((type, i) => typeof parts[i + 1] === type && canBe(parts[i + 1]));
  if (!fits) {
    throw new WorkflowStateError(
      "INVALID_PAGE_TOKEN",
      "The page token is not one of this listing's: pass next_page_token of the page before, and keep the other fields as they were.",
      { metadata: { field: "page_token" } },
    );
  }
  return parts.slice(1) as { [K in keyof Shape]: Shape[K] extends "string" ? string : number };
}

/** Whether it can stand in a position: numbers there are revisions, counts or times, strings are keys or ids. */
function canBe(part: unknown): boolean {
  return typeof part === "string"
    ? utf8Length(part) >= 0
    : Number.isSafeInteger(part) && (part as number) >= 0;
}

function parse(token: string): unknown[] | undefined {
  try {
    const binary = atob(token.replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
    const parts: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return Array.isArray(parts) ? parts : undefined;
  } catch {
    return undefined;
  }
}

/** Tells queries apart; guards against mistakes, not against malice: a forged token reads nothing that its query may not. */
function digest(query: readonly unknown[]): number {
  const text = JSON.stringify(query);
  let hash = 0x811c9dc5; // FNV-1a
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
