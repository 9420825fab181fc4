/** The draft of a typed session's update, and what a value that doesn't fit its schema fails with. */
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { WorkflowStateError } from "./errors.ts";
import { joinPath } from "./scan.ts";
import type { Schemas } from "./session-types.ts";
import { define, invalid } from "./stores/json-form.ts";

/** A draft that shows the keys with a schema, and holds them to it. */
export class CheckedDraft implements ProxyHandler<object> {
  readonly proxy: object;
  readonly #draft: Record<string, unknown>;
  readonly #schemas: Schemas;
  readonly #touched: Set<string> = new Set();

  constructor(draft: Record<string, unknown>, schemas: Schemas) {
    this.#draft = draft;
    this.#schemas = schemas;
    this.proxy = new Proxy(Object.create(null), this);
  }

  /** Checks what was left under the keys that were looked at or written. */
  async check(): Promise<void> {
    for (const key of this.#touched) {
      if (!Object.hasOwn(this.#draft, key)) continue;
      const { issues } = await schemaOf(this.#schemas, key)["~standard"].validate(this.#draft[key]);
      if (issues !== undefined) throw misfit(key, issues);
    }
  }

  /** The values, as a plain object. */
  copy(): Record<string, unknown> {
    const copy: Record<string, unknown> = {};
    for (const key of this.ownKeys()) define(copy, key, this.#draft[key]);
    return copy;
  }

  get(_target: object, key: string | symbol): unknown {
    if (!this.#knows(key)) return undefined;
    const value = this.#draft[key];
    if (value !== undefined && !this.#touched.has(key)) {
      const result = schemaOf(this.#schemas, key)["~standard"].validate(value);
      // An asynchronous schema has its say at the end.
      if (!(result instanceof Promise) && result.issues !== undefined) throw misfit(key, result.issues);
    }
    this.#touched.add(key);
    return value;
  }

  has(_target: object, key: string | symbol): boolean {
    return this.#knows(key) && key in this.#draft;
  }

  ownKeys(): string[] {
    return Object.keys(this.#draft).filter((key) => this.#knows(key));
  }

  getOwnPropertyDescriptor(target: object, key: string | symbol): PropertyDescriptor | undefined {
    if (!this.has(target, key)) return undefined;
    return { value: this.get(target, key), writable: true, enumerable: true, configurable: true };
  }

  set(_target: object, key: string | symbol, value: unknown): boolean {
    return this.#write(key) && Reflect.set(this.#draft, key, value);
  }

  defineProperty(_target: object, key: string | symbol, property: PropertyDescriptor): boolean {
    return this.#write(key) && Reflect.defineProperty(this.#draft, key, property);
  }

  deleteProperty(_target: object, key: string | symbol): boolean {
    return this.#write(key) && Reflect.deleteProperty(this.#draft, key);
  }

  setPrototypeOf(): boolean {
    return false;
  }

  preventExtensions(): boolean {
    return false;
  }

  #knows(key: string | symbol): key is string {
    return typeof key === "string" && Object.hasOwn(this.#schemas, key);
  }

  #write(key: string | symbol): boolean {
    if (typeof key === "symbol") return false;
    schemaOf(this.#schemas, key);
    this.#touched.add(key);
    return true;
  }
}

/** The schema of a key. Fails with INVALID_REQUEST if it has none. */
export function schemaOf(schemas: Schemas, key: string): StandardSchemaV1 {
  const schema = Object.hasOwn(schemas, key) ? schemas[key] : undefined;
  if (schema === undefined) throw invalid("key", `There is no schema for the key ${JSON.stringify(key)}.`);
  return schema;
}

/** The error of a value that doesn't fit: where, without what it is: the issues' own texts may quote values. */
export function misfit(key: string, issues: readonly StandardSchemaV1.Issue[]): WorkflowStateError {
  const steps = (issues[0]?.path ?? []).map((step) => (typeof step === "object" ? step.key : step));
  const path = steps.reduce(
    (path: string, step) => joinPath(path, typeof step === "number" ? step : String(step)),
    "$",
  );
  const more = issues.length > 1 ? `, and in ${issues.length - 1} more respects` : "";
  return new WorkflowStateError(
    "INVALID_VALUE",
    `The value of ${JSON.stringify(key)} does not fit its schema at ${path}${more}.`,
    { metadata: { key, path } },
  );
}
