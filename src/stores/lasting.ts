/** Failures that stay until somebody changes something: to wait for them to pass is no use. */
import type { WorkflowStateError } from "../errors.ts";

const LASTING: WeakSet<WorkflowStateError> = new WeakSet();

/** Notes that a failure will not pass by itself. Gives it back. */
export function lasting(error: WorkflowStateError): WorkflowStateError {
  LASTING.add(error);
  return error;
}

/** Whether a failure to open a store will not pass by itself: a wrong password, a missing right, an untrusted certificate. */
export function isLasting(error: WorkflowStateError): boolean {
  return LASTING.has(error);
}

/** Whether the code of a failure to connect says that the other side's certificate is not trusted, or TLS not understood. */
export function saysTlsRefused(code: unknown): boolean {
  return (
    typeof code === "string" &&
    /^(ERR_TLS_|ERR_SSL_|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_(GET_ISSUER|VERIFY_LEAF))/.test(code)
  );
}
