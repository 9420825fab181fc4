import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { readKeyring, readKeyringFile } from "../../src/cli/encryption-keys.ts";
import { UsageError } from "../../src/cli/usage-error.ts";

const secret = (byte: number): string => Buffer.alloc(32, byte).toString("base64");
const VARIABLE = "WORKFLOW_STATE_ENCRYPTION_KEYS";

let folder: string;
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "workflow-state-"));
  file = join(folder, "keys");
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

/** What whoever started the program gets to see. */
function said(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  throw new Error("the keys were read");
}

describe("a file of keys", () => {
  test("is read if it is its owner's alone", async () => {
    await writeFile(file, `# keys\nnew:${secret(1)}\nold:${secret(2)}\n`, { mode: 0o600 });
    expect(readKeyringFile(file).ids).toEqual(["new", "old"]);
    expect(readKeyring(file).ids).toEqual(["new", "old"]);
    await chmod(file, 0o400);
    expect(readKeyring(file).ids).toEqual(["new", "old"]);
  });

  test("is refused if others can read or write it", async () => {
    await writeFile(file, `new:${secret(1)}\n`, { mode: 0o600 });
    for (const mode of [0o644, 0o640, 0o604, 0o620, 0o602, 0o601]) {
      await chmod(file, mode);
      // Windows has no such modes.
      if (process.platform === "win32") expect(readKeyring(file).ids).toEqual(["new"]);
      else
        expect(said(() => readKeyring(file))).toBe(
          `the keys in ${file} could be read by others than the file's owner: run chmod 600 on it`,
        );
    }
  });

  test("that is missing, no file, or wrong is refused, and nothing that is in it shown", async () => {
    expect(said(() => readKeyring(file))).toBe("the file of encryption keys can't be read (ENOENT)");
    await chmod(folder, 0o700);
    expect(said(() => readKeyring(folder))).toBe("the file of encryption keys can't be read (EISDIR)");
    await writeFile(file, `new:${secret(1)}\nold=${secret(2)}\n`, { mode: 0o600 });
    const wrong = said(() => readKeyring(file));
    expect(wrong).toContain("Line 2");
    expect(wrong).not.toContain(secret(2));
    await writeFile(file, "# none\n");
    expect(said(() => readKeyring(file))).toContain("needs a key");
    // A key where a file is wanted is not shown either, also if it is no good one.
    for (const key of [secret(3), `k:${secret(3)}x`, `k:${secret(3).slice(0, 40)}`])
      expect(said(() => readKeyring(key))).not.toContain(secret(3).slice(0, 20));
  });
});

describe("keys in the environment", () => {
  test("are read from the variable itself, or from the file that it names", async () => {
    for (const keys of [`a:${secret(1)}`, `\n# two\n\na:${secret(1)}\nb:${secret(2)}\n`]) {
      vi.stubEnv(VARIABLE, keys);
      expect(readKeyring(keys).ids[0]).toBe("a");
    }
    await writeFile(file, `f:${secret(1)}`, { mode: 0o600 });
    vi.stubEnv(VARIABLE, file);
    expect(readKeyring(file).ids).toEqual(["f"]);
    const wrong = `a:${secret(1)}\nb:${secret(2).slice(1)}`;
    vi.stubEnv(VARIABLE, wrong);
    const message = said(() => readKeyring(wrong));
    expect(message).toContain(VARIABLE);
    expect(message).toContain("Line 2");
    expect(message).not.toContain(secret(2).slice(1, 20));
  });

  test("are refused from a command line, where anyone could read them, and not shown", () => {
    vi.stubEnv(VARIABLE, undefined);
    const message = said(() => readKeyring(`a:${secret(1)}`));
    expect(message).toContain("wants a file");
    expect(message).not.toContain(secret(1));
  });
});
