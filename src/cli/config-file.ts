/** The JSON file that holds settings of the program. */
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { UsageError } from "./usage-error.ts";

/** The members of a config file and the type of each; a size is a number of bytes, or `"256MiB"`. */
export const CONFIG_TYPES = {
  listen: "string",
  store: "string",
  encryptionKeys: "string",
  tlsKey: "string",
  tlsCert: "string",
  tlsClientCa: "string",
  drainTimeout: "string",
  startTimeout: "string",
  maxConnections: "number",
  maxConnectionAge: "string",
  maxConnectionAgeGrace: "string",
  maxConnectionIdle: "string",
  writeTimeout: "string",
  maxBufferedBytes: "size",
  cors: "object",
  insecureNoAuth: "boolean",
  reflection: "boolean",
  logLevel: "string",
  logFormat: "string",
  audit: "boolean",
  metrics: "string",
  traceSessionIds: "boolean",
  auth: "object",
  perPrincipal: "object",
  limits: "object",
  memory: "object",
  retention: "object",
} as const;

/** Members that are paths of files. */
const PATHS = ["encryptionKeys", "tlsKey", "tlsCert", "tlsClientCa"] as const;

interface TypeNames {
  readonly string: string;
  readonly number: number;
  readonly boolean: boolean;
  readonly object: Readonly<Record<string, unknown>>;
  readonly size: number | string;
}

type TypeName = keyof TypeNames;

/** What a value of each type is, in words. */
const IN_WORDS: Readonly<Record<TypeName, string>> = {
  string: "a string",
  number: "a number",
  boolean: "a boolean",
  object: "an object",
  size: "a number or a string",
};

/** What a config file says. */
export type ConfigFile = {
  readonly [Name in keyof typeof CONFIG_TYPES]?: TypeNames[(typeof CONFIG_TYPES)[Name]];
};

/** Reads a config file; its paths are seen from where it is. Fails with a {@link UsageError}. */
export function readConfig(path: string): ConfigFile {
  const config = parseJson(readFile(path, "config file"), path);
  for (const [name, value] of Object.entries(config)) {
    const type = Object.hasOwn(CONFIG_TYPES, name)
      ? CONFIG_TYPES[name as keyof typeof CONFIG_TYPES]
      : undefined;
    if (type === undefined) {
      throw new UsageError(`config file ${path}: there is no setting "${name}"`);
    }
    if (!isOfType(type, value)) {
      throw new UsageError(`config file ${path}: "${name}" must be ${IN_WORDS[type]}`);
    }
  }
  const file = config as ConfigFile;
  const paths = PATHS.flatMap((name) => {
    const value = file[name];
    return value === undefined ? [] : [[name, resolve(dirname(path), value)] as const];
  });
  return { ...file, ...Object.fromEntries(paths) };
}

/** Reads a file; `what` names it in the error. Fails with a {@link UsageError}. */
export function readFile(path: string, what: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new UsageError(`can't read the ${what} ${path}: ${(error as NodeJS.ErrnoException).code}`);
  }
}

/** Checks that all are whole numbers from 1 to the largest of their name. Fails with a {@link UsageError}. */
export function checkNumbers<Names>(
  what: string,
  numbers: Readonly<Record<string, unknown>>,
  largest: Names,
): { readonly [Name in keyof Names]?: number } {
  const bounds = largest as Readonly<Record<string, number>>;
  for (const [name, value] of Object.entries(numbers)) {
    const bound = Object.hasOwn(bounds, name) ? bounds[name] : undefined;
    if (bound === undefined) {
      throw new UsageError(`there is no ${what} "${name}": there are ${Object.keys(bounds).join(", ")}`);
    }
    if (!(Number.isInteger(value) && (value as number) >= 1 && (value as number) <= bound)) {
      throw new UsageError(`the ${what} "${name}" must be a whole number from 1 to ${bound}`);
    }
  }
  return numbers as { readonly [Name in keyof Names]?: number };
}

function parseJson(text: Buffer, path: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text.toString("utf8"));
  } catch {
    // Not the parser's own words: they quote the file.
    throw new UsageError(`config file ${path} is not JSON`);
  }
  if (!isObject(value)) {
    throw new UsageError(`config file ${path} must hold a JSON object`);
  }
  return value;
}

function isOfType(type: TypeName, value: unknown): boolean {
  if (type === "object") return isObject(value);
  if (type === "size") return typeof value === "number" || typeof value === "string";
  return typeof value === type;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
