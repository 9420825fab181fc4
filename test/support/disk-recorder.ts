/** Processes whose disk is recorded, or fails; what such a record says, and disks as a power loss may leave them. */
import { execFileSync } from "node:child_process";
import { closeSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "./random.ts";

const SOURCE = join(import.meta.dirname, "disk-recorder.c");
const SECTOR = 512;

/** The C compiler that makes the recorder; `undefined`: there is none, or this is no Linux. */
export const COMPILER: string | undefined =
  process.platform === "linux" ? firstThatRuns(["cc", "gcc", "clang"]) : undefined;

function firstThatRuns(names: readonly string[]): string | undefined {
  return names.find((name) => {
    try {
      execFileSync(name, ["--version"], { stdio: "ignore" });
      return true;
    } catch {
      return false;
    }
  });
}

/** Makes the recorder in a folder; gives the environment of a process that is to have it. */
export function recorderFor(folder: string, file: string): Readonly<Record<string, string>> {
  const library = join(folder, "disk-recorder.so");
  execFileSync(COMPILER ?? "cc", ["-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl", "-lpthread"]);
  return { LD_PRELOAD: library, DISK_FILE: file, DISK_RECORD: `${file}.record` };
}

/** The files that are recorded: the database, its log, its journal until it has a log, and what the process noted. */
export type RecordedFile = "main" | "log" | "notes" | "folder" | "journal";

/** One thing that a process did. */
export type DiskStep =
  | { readonly op: "write"; readonly file: RecordedFile; readonly offset: number; readonly data: Buffer }
  | { readonly op: "truncate"; readonly file: RecordedFile; readonly size: number }
  | { readonly op: "sync" | "unlink"; readonly file: RecordedFile };

const FILES: readonly RecordedFile[] = ["main", "log", "notes", "folder", "journal"];

/** Reads what a process did, in order. */
export function readRecord(path: string): DiskStep[] {
  const steps: DiskStep[] = [];
  const record = openSync(path, "r");
  const head = Buffer.alloc(16);
  try {
    while (readSync(record, head, 0, 16, null) === 16) {
      const file = FILES[head.readUInt8(1)] as RecordedFile;
      const offset = Number(head.readBigUInt64LE(8));
      const data = Buffer.alloc(head.readUInt32LE(4));
      readSync(record, data, 0, data.length, null);
      const op = head.readUInt8(0);
      if (op === 1) steps.push({ op: "write", file, offset, data });
      else if (op === 2) steps.push({ op: "truncate", file, size: offset });
      else steps.push({ op: op === 3 ? "sync" : "unlink", file });
    }
  } finally {
    closeSync(record);
  }
  return steps;
}

/** How a power loss treats what was not synced: none or all of it is there, or each piece by chance, some torn. */
export type Loss = "nothing kept" | "all kept" | "by chance";

/** A file on a disk: what is surely there, and what was done since its last sync. */
interface OnDisk {
  content: Buffer<ArrayBufferLike>;
  /** Whether its name has reached the disk. */
  named: boolean;
  pending: DiskStep[];
}

/** A disk that loses its power. */
export class Disk {
  readonly #files: Map<RecordedFile, OnDisk> = new Map();

  /** Does what the process did. */
  apply(step: DiskStep): void {
    if (step.file === "folder") {
      for (const file of this.#files.values()) file.named = true;
    } else if (step.op === "unlink") {
      this.#files.delete(step.file);
    } else {
      const file = this.#files.get(step.file) ?? { content: Buffer.alloc(0), named: false, pending: [] };
      this.#files.set(step.file, file);
      if (step.op !== "sync") {
        file.pending.push(step);
      } else {
        file.content = file.pending.reduce((content, pending) => done(content, pending), file.content);
        file.pending = [];
      }
    }
  }

  /** A file as it may be found after the power went: `undefined`: it isn't. */
  found(name: RecordedFile, loss: Loss, random: Random): Buffer | undefined {
    const file = this.#files.get(name);
    if (file === undefined) return undefined;
    if (!file.named && (loss === "nothing kept" || (loss === "by chance" && random.chance(0.5))))
      return undefined;
    let content: Buffer<ArrayBufferLike> = Buffer.from(file.content);
    for (const step of loss === "nothing kept" ? [] : file.pending) {
      if (loss === "all kept" || random.chance(0.4)) content = done(content, step);
      else if (step.op === "write" && random.chance(0.5))
        content = torn(content, step.offset, step.data, random);
    }
    return content;
  }
}

function done(content: Buffer, step: DiskStep): Buffer {
  if (step.op === "truncate")
    return step.size <= content.length ? content.subarray(0, step.size) : grown(content, step.size);
  if (step.op !== "write") return content;
  const after = grown(content, step.offset + step.data.length);
  step.data.copy(after, step.offset);
  return after;
}

/** A write of which each sector came through or didn't. */
function torn(content: Buffer, offset: number, data: Buffer, random: Random): Buffer {
  let after = content;
  for (let at = offset; at < offset + data.length; ) {
    const next = Math.min(offset + data.length, (Math.floor(at / SECTOR) + 1) * SECTOR);
    if (random.chance(0.5)) {
      after = grown(after, next);
      data.copy(after, at, at - offset, next - offset);
    }
    at = next;
  }
  return after;
}

/** At least so long: the same memory where there is room. */
function grown(content: Buffer, length: number): Buffer {
  return length <= content.length ? content : Buffer.concat([content], length);
}
