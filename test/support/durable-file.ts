/** Stores over one SQLite file, for the tests of what all durable stores share. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { DEFAULT_LIMITS, type Limits } from "../../src/store.ts";
import { type DurableOptions, type DurableStore, durableStore } from "../../src/stores/durable.ts";
import { type RetentionOptions, retentionOf } from "../../src/stores/retention.ts";
import { openSqlite } from "../../src/stores/sqlite.ts";
import { ProbedBackend } from "./probed-backend.ts";

/** How the stores of a file are set up. */
export interface FileOptions extends RetentionOptions, Omit<DurableOptions, "limits"> {
  readonly now?: (() => number) | undefined;
  readonly limits?: Partial<Limits> | undefined;
}

/** A store and the backend that it has. */
export interface Probed {
  readonly store: DurableStore;
  readonly backend: ProbedBackend;
}

/** A file, gone after the test, that any number of stores can be opened on. */
export class DurableFile {
  readonly #directory: string = mkdtempSync(join(tmpdir(), "workflow-state-durable-"));
  readonly #options: FileOptions;

  constructor(options: FileOptions = {}) {
    this.#options = options;
    onTestFinished(() => rmSync(this.#directory, { recursive: true }));
  }

  /** Opens another store on the file; it is closed after the test. */
  async open(): Promise<Probed> {
    const { progressIntervalMs, sweepIntervalMs, now } = this.#options;
    const limits = { ...DEFAULT_LIMITS, ...this.#options.limits };
    const options = { ...retentionOf(this.#options), limits, now };
    const backend = new ProbedBackend(await openSqlite(join(this.#directory, "state.db"), options));
    const store = durableStore(backend, { limits, progressIntervalMs, sweepIntervalMs });
    onTestFinished(() => store.close());
    return { store, backend };
  }
}

/** A store on a file of its own. */
export function openProbed(options: FileOptions = {}): Promise<Probed> {
  return new DurableFile(options).open();
}
