/** Client certificates: a subject alternative name says whom they stand for. That they are genuine TLS has seen to. */
import type { X509Certificate } from "node:crypto";
import type { Caller } from "./caller.ts";

/** A certificate's name and whom it stands for. */
export interface CertificateOptions {
  /** With its kind: `URI:spiffe://example.org/worker` or `DNS:worker.example.org`. */
  readonly subjectAltName: string;
  readonly principal: string;
  readonly namespaces: readonly string[];
}

/** Whom a certificate stands for; `undefined`: nobody. */
export function certificateCaller(
  known: readonly CertificateOptions[],
  certificate: X509Certificate,
): Caller | undefined {
  const names = new Set(alternativeNames(certificate.subjectAltName ?? ""));
  const found = known.find(({ subjectAltName }) => names.has(subjectAltName));
  if (found === undefined) return undefined;
  const { principal, namespaces } = found;
  return { principal, namespaces, expireTime: certificate.validToDate.getTime(), knownBy: found };
}

/** The names in Node's text of them: `DNS:a, URI:b`; a name with a comma or a quote in it stands in quotes, as JSON does. */
function alternativeNames(text: string): string[] {
  const names: string[] = [];
  for (const [, kind = "", quoted, plain = ""] of text.matchAll(
    /(?:^|, )([A-Za-z ]+):(?:("(?:[^"\\]|\\.)*")|([^,"]*))(?=, |$)/g,
  )) {
    names.push(`${kind}:${quoted === undefined ? plain : JSON.parse(quoted)}`);
  }
  return names;
}
