/** A self-signed certificate for localhost, made on the spot: no key lies in the repository, and none expires. */
import { generateKeyPairSync, type KeyObject, sign, X509Certificate } from "node:crypto";

/** A key and a certificate, as PEM. */
export interface Identity {
  readonly key: string;
  readonly cert: string;
}

/** Makes one that is valid from yesterday until tomorrow. */
export function selfSigned(): Identity {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const certificate = new X509Certificate(signed(privateKey, body(publicKey)));
  return {
    key: privateKey.export({ type: "pkcs8", format: "pem" }) as string,
    cert: certificate.toString(),
  };
}

const ECDSA_WITH_SHA256 = sequence(der(0x06, Buffer.from("2a8648ce3d040302", "hex")));
const DAY_MS = 86_400_000;

/** The TBSCertificate of RFC 5280, 4.1. */
function body(publicKey: KeyObject): Buffer {
  const name = sequence(
    der(0x31, sequence(der(0x06, Buffer.from("550403", "hex")), der(0x0c, Buffer.from("localhost")))),
  );
  // subjectAltName: a name and the loopback address.
  const names = sequence(der(0x82, Buffer.from("localhost")), der(0x87, Buffer.from([127, 0, 0, 1])));
  const extension = sequence(der(0x06, Buffer.from("551d11", "hex")), der(0x04, names));
  return sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.from([1])),
    ECDSA_WITH_SHA256,
    name,
    sequence(time(Date.now() - DAY_MS), time(Date.now() + DAY_MS)),
    name,
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, sequence(extension)),
  );
}

function signed(privateKey: KeyObject, content: Buffer): Buffer {
  const signature = sign("sha256", content, privateKey);
  return sequence(content, ECDSA_WITH_SHA256, der(0x03, Buffer.concat([Buffer.from([0]), signature])));
}

function time(ms: number): Buffer {
  return der(0x18, Buffer.from(`${new Date(ms).toISOString().replaceAll(/[-:T]|\..*/g, "")}Z`));
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return der(0x30, Buffer.concat(parts));
}

function der(tag: number, content: Buffer): Buffer {
  const { length } = content;
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}
