/**
 * Keeps pages of the web from a server that asks nobody who they are. A browser takes a page's own host for the server once the
 * page's name is made to point at this machine (DNS rebinding), but it goes on telling that name.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import { isIP } from "node:net";

type Request = IncomingMessage | Http2ServerRequest;
type Response = ServerResponse | Http2ServerResponse;

const REFUSAL = "This server is for its own machine: call it by its address or as localhost.\n";

/**
 * The same handler for requests to this machine by its address, by a name without a dot, by one below `localhost`, or by the
 * host of an origin that is allowed. Others are refused with 421. HTTP/2 is let through: browsers speak it with TLS only, where
 * a certificate says who is meant.
 */
export function withLocalHosts(
  handler: (request: Request, response: Response) => void,
  origins: readonly string[],
): (request: Request, response: Response) => void {
  const allowed = new Set(origins.map((origin) => new URL(origin).hostname));
  return (request, response) => {
    const name = nameIn(request.headers.host ?? "");
    if (request.httpVersionMajor > 1 || isLocal(name) || allowed.has(name)) {
      handler(request, response);
      return;
    }
    response.statusCode = 421;
    response.setHeader("content-type", "text/plain");
    response.end(REFUSAL);
  };
}

/** The name in a Host header, without the port. */
function nameIn(host: string): string {
  return host.replace(/:\d*$/, "").toLowerCase();
}

function isLocal(name: string): boolean {
  return !name.includes(".") || name.endsWith(".localhost") || isIP(name.replace(/^\[|\]$/g, "")) !== 0;
}
