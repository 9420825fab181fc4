/** Values at and beyond their limits: what the validator takes is stored, and reads back the same by every protocol. */
import { isDeepStrictEqual } from "node:util";
import { WorkflowStateError } from "../../src/errors.ts";
import type { JsonValue } from "../../src/store.ts";
import { encodeValue } from "../../src/value.ts";
import { jsonText, restoreKeys } from "../../src/wire/json-keys.ts";
import { grpcFrame, requestBytes } from "../support/attack-messages.ts";
import type { Random } from "../support/random.ts";
import { bytes, field, protobufBytes, protobufJson } from "../support/values.ts";
import { connectCall, GrpcCaller } from "./calls.ts";
import { blamesServer, type Domain, type DomainContext, Finding } from "./domain.ts";
import { mutatedMessage } from "./mutate.ts";

const SESSION = "values";
const KEY = { sessionId: SESSION, key: "k" };
const READ = grpcFrame(requestBytes("GetState", KEY));
const NAMES = [
  "",
  "a",
  "__proto__",
  "constructor",
  "\\",
  "\n",
  "\u0000",
  "ключ",
  "🛒",
  "x".repeat(300),
  "\ufdd0",
  "0",
];
const NUMBERS = [0, -0, 1.5, -1, 2 ** 53, 5e-324, Number.MAX_VALUE, 1e21, 0.1];
const TEXTS = [
  "",
  "text",
  "é".repeat(200),
  "🛒",
  "\u0000\u001f\u007f",
  "\ufeff",
  '"\\',
  "\u2028",
  "\ud7ff\ue000",
];

/** Fuzzes values. */
export function valuesDomain({ ports }: DomainContext): Domain {
  const fast = new GrpcCaller(ports.mixed);

  async function step(random: Random): Promise<void> {
    if (random.chance(0.3)) return ofBytes(random);
    const value = anyValue(random);
    const text = JSON.stringify(value);
    const expected = tried(() => encodeValue(value));
    const set = grpcFrame(requestOf(protobufBytes(value)));
    const written = await fast.call("SetState", set);
    if ((written.status === 0) !== (expected !== undefined)) {
      throw new Finding(
        `The validator ${expected ? "takes" : "refuses"} a value that SetState answers with ${written.status}: ${written.message}`,
        text,
      );
    }
    const answer = await connectCall(ports.mixed, "SetState", JSON.stringify({ ...KEY, value }));
    if ((answer.status === 200) !== (expected !== undefined) && !answer.text.includes("REQUEST_TOO_LARGE")) {
      throw new Finding(
        `A value is ${expected ? "taken" : "refused"} in binary, and in JSON answered with ${answer.text}`,
        text,
      );
    }
    if (expected === undefined) return;
    const back = await connectCall(ports.mixed, "GetState", JSON.stringify(KEY));
    const { entry } = parsed(back.text) as { readonly entry?: { readonly value: unknown } };
    if (!isDeepStrictEqual(entry?.value, parsed(text)))
      throw new Finding(`A value reads back as ${back.text}`, text);
    const read = await fast.call("GetState", READ);
    if (!Buffer.from(read.body, "hex").includes(Buffer.from(expected)))
      throw new Finding("A value reads back as other bytes", text);
  }

  /** Bytes that may be a value: what protobuf-es reads of them, if they are taken, is what is read again. */
  async function ofBytes(random: Random): Promise<void> {
    const mutated = mutatedMessage(random, encodeValue(anyValue(random, 4)));
    const written = await fast.call("SetState", grpcFrame(requestOf(mutated)));
    if (blamesServer(written.status))
      throw new Finding(`SetState answers ${written.status}: ${written.message}`, mutated);
    if (written.status !== 0) return;
    const meant = tried(() => protobufJson(mutated));
    const { text } = await connectCall(ports.mixed, "GetState", JSON.stringify(KEY));
    const { entry } = parsed(text) as { readonly entry?: { readonly value: unknown } };
    if (!isDeepStrictEqual(entry?.value, positive(meant))) {
      throw new Finding(
        `Bytes that protobuf-es reads as ${JSON.stringify(meant)} read back as ${text}`,
        mutated,
      );
    }
  }

  return { name: "values", step, close: () => fast.close() };
}

function requestOf(value: Uint8Array): Uint8Array {
  return bytes(field(0x0a, SESSION), field(0x12, "k"), field(0x1a, value));
}

/** What is given, `undefined` where it is refused. */
function tried<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch (error) {
    if (WorkflowStateError.is(error) || error instanceof Error) return undefined;
    throw error;
  }
}

/** JSON has no -0 once it was stored. */
function positive(value: JsonValue | undefined): unknown {
  return value === undefined ? undefined : parsed(JSON.stringify(value));
}

/** Reads JSON, keys with escapes in it too: those some V8 misread. */
function parsed(text: string): unknown {
  const read = { value: JSON.parse(jsonText.decode(Buffer.from(text))) as unknown };
  restoreKeys(read);
  return read.value;
}

function anyValue(random: Random, most = 40): JsonValue {
  switch (random.between(0, 5)) {
    case 0:
      return nested(random, random.between(most > 30 ? 29 : 1, Math.min(most, 35)));
    case 1:
      return Array.from({ length: most > 30 ? random.between(9_990, 10_005) : most }, () =>
        random.one([null, true, 0]),
      );
    case 2:
      return "x".repeat(most > 30 ? (1 << 20) - random.between(0, 12) : most);
    default:
      return tree(random, random.between(1, 6));
  }
}

function nested(random: Random, levels: number): JsonValue {
  let value: JsonValue = random.one([null, "x", 1]);
  for (let n = 1; n < levels; n++) value = random.chance(0.5) ? [value] : { [random.one(NAMES)]: value };
  return value;
}

function tree(random: Random, depth: number): JsonValue {
  if (depth === 0 || random.chance(0.3)) {
    return random.one([null, true, false, random.one(NUMBERS), random.one(TEXTS), random.next() * 1e6]);
  }
  const length = random.between(0, 4);
  if (random.chance(0.5)) return Array.from({ length }, () => tree(random, depth - 1));
  return Object.fromEntries(Array.from({ length }, () => [random.one(NAMES), tree(random, depth - 1)]));
}
