/** Calls from pages of other origins: a browser lets them through only if the server says so. Off unless origins are named. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import { cors } from "@connectrpc/connect";
import { NAMESPACE_HEADER } from "../service/access.ts";

/** Which pages may call. */
export interface CorsOptions {
  /** Their origins, each as browsers write it: `https://app.example.org`. There is no wildcard. */
  readonly origins: readonly string[];
}

type Request = IncomingMessage | Http2ServerRequest;
type Response = ServerResponse | Http2ServerResponse;

/** How long a browser need not ask again, in seconds: the longest that all of them take. */
const MAX_AGE_S = 7_200;
const ALLOWED_METHODS = cors.allowedMethods.join(", ");
const ALLOWED_HEADERS = [
  ...cors.allowedHeaders,
  "Authorization",
  NAMESPACE_HEADER,
  "Traceparent",
  "Tracestate",
  "X-Request-Id",
].join(", ");
const EXPOSED_HEADERS = cors.exposedHeaders.join(", ");

/** Whether a text is an origin as browsers write it. */
export function isOrigin(text: string): boolean {
  if (text.includes("*") || !URL.canParse(text)) return false;
  const { protocol, origin } = new URL(text);
  return /^https?:$/.test(protocol) && origin === text;
}

/**
 * The same handler for pages of these origins, too. What others ask is answered as ever, and their browsers keep it from
 * them; their preflights are refused, so nothing but reads can come of them. Credentials are never allowed: a call shows who
 * makes it by a header that a page has to set.
 */
export function withCors(
  handler: (request: Request, response: Response) => void,
  { origins }: CorsOptions,
): (request: Request, response: Response) => void {
  const allowed = new Set(origins);
  return (request, response) => {
    const { origin } = request.headers;
    set(response, "vary", "Origin");
    const isAllowed = typeof origin === "string" && allowed.has(origin);
    if (isAllowed) set(response, "access-control-allow-origin", origin);
    if (request.method === "OPTIONS" && request.headers["access-control-request-method"] !== undefined) {
      if (isAllowed) {
        set(response, "access-control-allow-methods", ALLOWED_METHODS);
        set(response, "access-control-allow-headers", ALLOWED_HEADERS);
        set(response, "access-control-max-age", String(MAX_AGE_S));
      }
      response.statusCode = isAllowed ? 204 : 403;
      response.end();
      return;
    }
    if (isAllowed) set(response, "access-control-expose-headers", EXPOSED_HEADERS);
    handler(request, response);
  };
}

/** Sets a header, unless the caller has gone: then Node.js would throw. */
function set(response: Response, name: string, value: string): void {
  if (!response.headersSent && !response.destroyed) response.setHeader(name, value);
}
