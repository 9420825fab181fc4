/** What a request shows of its caller, whichever version of HTTP it came by. */
import type { X509Certificate } from "node:crypto";
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { Http2ServerRequest, ServerHttp2Stream } from "node:http2";
import type { TLSSocket } from "node:tls";
import type { Credentials } from "./auth.ts";

/** The credentials of a request. */
export function credentialsOf(request: IncomingMessage | Http2ServerRequest): Credentials {
  return "stream" in request
    ? http2Credentials(request.stream, request.headers)
    : {
        authorization: request.headers.authorization,
        connection: request.socket,
        certificate: () => certificateOf(request.socket as TLSSocket),
      };
}

/** The credentials of a stream of HTTP/2. */
export function http2Credentials(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Credentials {
  return {
    authorization: headers.authorization,
    // A stream that has ended has lost its session, and nobody waits for what becomes of it.
    connection: stream.session ?? stream,
    certificate: () => certificateOf(stream.session?.socket as TLSSocket | undefined),
  };
}

function certificateOf(socket: TLSSocket | undefined): X509Certificate | undefined {
  return socket?.authorized === true ? socket.getPeerX509Certificate() : undefined;
}
