/** What the parts of the fuzzer have in common. */
import type { Random } from "../support/random.ts";
import type { TargetPorts } from "./target.ts";

/** One kind of input. */
export interface Domain {
  readonly name: string;
  /** Makes an input, gives it to the target, and looks at what comes of it. Throws a {@link Finding}. */
  step(random: Random): Promise<void>;
  close?(): void;
}

/** What a domain needs to begin. */
export interface DomainContext {
  readonly ports: TargetPorts;
  readonly secrets: Secrets;
}

/** What the third server of the target takes as credentials. */
export interface Secrets {
  readonly key: string;
  readonly privateKey: CryptoKey;
}

/** Something that must not be. */
export class Finding extends Error {
  /** The input that led to it, to be tried again. */
  readonly input: string;

  constructor(message: string, input: Uint8Array | string, options?: ErrorOptions) {
    super(message, options);
    this.name = "Finding";
    this.input = typeof input === "string" ? input : Buffer.from(input).toString("hex");
  }
}

/** gRPC's statuses that say that the server is to blame. */
const UNKNOWN = 2;
const INTERNAL = 13;
const DATA_LOSS = 15;

/** Whether a status puts the blame for bad input on the server. */
export function blamesServer(grpcStatus: number): boolean {
  return grpcStatus === UNKNOWN || grpcStatus === INTERNAL || grpcStatus === DATA_LOSS;
}
