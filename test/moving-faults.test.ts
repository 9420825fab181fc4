/** Moving sessions while something comes between: other writers of the target, or a database that is away for a moment. */
import { beforeAll, expect, test } from "vitest";
import { exportLines } from "../src/cli/export-lines.ts";
import { WorkflowStateError } from "../src/errors.ts";
import { openBackend } from "../src/open.ts";
import type { EncodedStore } from "../src/store.ts";
import type { SessionKey } from "../src/stores/backend.ts";
import { copySessions } from "../src/stores/moving.ts";
import { rotateKeys } from "../src/stores/rotating.ts";
import { encodeValue } from "../src/value.ts";
import { freshUrl, withStore } from "./support/cli-stores.ts";
import { errorOf } from "./support/failures.ts";
import { gathered } from "./support/gathered.ts";
import { HAS_REDIS } from "./support/has-redis.ts";
import { ProbedBackend } from "./support/probed-backend.ts";
import { nameSkippedRedis, sharedRedis } from "./support/redis.ts";

beforeAll(() => nameSkippedRedis("moving that waits for replicas"));

const set = (store: EncodedStore, sessionId: string, value: number): Promise<unknown> =>
  store.setState({ sessionId, key: "k", value: encodeValue(value) });

/** Sets the key of each session in the store at a URL. */
const setAll = (url: string, ids: readonly string[], value: number): Promise<void> =>
  withStore(url, async (store) => {
    for (const id of ids) await set(store, id, value);
  });

/** Runs a task on the database at a URL, with room for faults. */
async function withProbed<T>(url: string, task: (probed: ProbedBackend) => Promise<T>): Promise<T> {
  const backend = await openBackend(url);
  try {
    return await task(new ProbedBackend(backend));
  } finally {
    await backend.close();
  }
}

/** Has one call fail as when a database can't be reached. @param put puts a fault in its way, or none */
function awayOnce(put: (fault: (() => void) | undefined) => void): void {
  put(() => {
    put(undefined);
    throw new WorkflowStateError("STORE_UNAVAILABLE", "The database is away.");
  });
}

test("a copy leaves alone what is written to the target while it runs", async () => {
  const [from, to] = [freshUrl(), freshUrl()];
  await setAll(from, ["s1", "s2", "s3"], 1);
  await withProbed(from, (a) => withProbed(to, (b) => copySessions(a, b)));
  await setAll(from, ["s1", "s2", "s3", "s4"], 2);
  const left: string[] = [];
  const onConflict = ({ sessionId }: SessionKey): void => void left.push(sessionId);
  const done = await withProbed(from, (a) =>
    withProbed(to, (b) => {
      b.beforeLoad = async () => {
        b.beforeLoad = undefined;
        // All were looked at together, and these two are copied later.
        await setAll(to, ["s3", "s4"], 3);
      };
      return copySessions(a, b, { concurrency: 1, onConflict });
    }),
  );
  expect(done).toEqual({ moved: 2, unchanged: 0, conflicts: 2, complete: true });
  expect(left).toEqual(["s3", "s4"]);
  await withStore(to, async (store) => {
    for (const sessionId of left)
      expect((await store.getState({ sessionId, key: "k" }))?.value).toEqual(encodeValue(3));
  });
});

test("a session whose load is made but not answered is counted as copied", async () => {
  const [from, to] = [freshUrl(), freshUrl()];
  await setAll(from, ["s1"], 1);
  const done = await withProbed(from, (a) =>
    withProbed(to, (b) => {
      b.beforeLoad = async () => {
        b.beforeLoad = undefined;
        await withProbed(to, (same) => copySessions(a, same));
        throw new WorkflowStateError("OUTCOME_UNKNOWN", "The database was lost before it answered.");
      };
      return copySessions(a, b);
    }),
  );
  expect(done).toEqual({ moved: 1, unchanged: 0, conflicts: 0, complete: true });
});

// What it had loaded itself was once found there by its next try, and taken for a session that needed no copy.
test.skipIf(!HAS_REDIS)(
  "a copy fails that waits for replicas where too few confirm what it loads",
  async () => {
    const [from, to] = [freshUrl(), (await sharedRedis()).fresh("&wait=1&waitTimeout=50")];
    await setAll(from, ["s1"], 1);
    const error = await errorOf(withProbed(from, (a) => withProbed(to, (b) => copySessions(a, b))));
    expect(error.reason).toBe("OUTCOME_UNKNOWN");
  },
);

test("a database that is away for a moment doesn't end an export, which gives each line once", async () => {
  const url = freshUrl();
  await setAll(url, ["s1", "s2", "s3"], 1);
  await withProbed(url, async (probed) => {
    const lines = await gathered(exportLines(probed, {}));
    awayOnce((fault) => {
      probed.beforeDump = fault;
    });
    expect(await gathered(exportLines(probed, {}))).toEqual(lines);
    expect(probed.beforeDump).toBeUndefined();
  });
});

test("a database that is away for a moment doesn't end a rotation of keys, which counts each value once", async () => {
  const url = freshUrl();
  await setAll(url, ["s1", "s2", "s3"], 1);
  await withProbed(url, async (probed) => {
    const away = (): void =>
      awayOnce((fault) => {
        probed.beforeRewrite = fault;
      });
    away();
    let checked = 0;
    const rotated = await rotateKeys(probed, (_, __, value) => value, {
      onProgress: ({ pass }) => {
        // The second pass begins.
        if (pass === "check" && ++checked === 3) away();
      },
    });
    expect(rotated).toEqual({ pass: "rewrite", sessions: 3, values: 3, complete: true });
    expect([checked, probed.beforeRewrite]).toEqual([3, undefined]);
  });
});
