/**
 * The wire: messages of the encoded schema (gen/encoded) to and from the requests and answers of `store.ts`.
 *
 * Four tables, one function an RPC. The service uses `requestFromWire` and `responseToWire`, a client the other two. What a
 * message can say and a request may not (a negative revision, a missing value, no kind) passes through as it is, for the
 * validator to refuse; only what `store.ts` has no words for is refused here, with INVALID_REQUEST.
 */
export { errorFromWire, errorToWire, fromConnectError, reasonOf, toConnectError } from "./wire/errors.ts";
export { type BatchFromWire, requestFromWire, requestToWire } from "./wire/requests.ts";
export { responseFromWire, responseToWire } from "./wire/responses.ts";
