import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { WorkflowStateError } from "../../src/errors.ts";
import type { Draft, EncodedStore, Limits, WorkflowStateStore } from "../../src/store.ts";
import { jsonStore } from "../../src/stores/json.ts";
import { type MemoryStore, memoryStore } from "../../src/stores/memory.ts";
import { errorOf } from "../support/failures.ts";
import { methodsOf } from "../support/methods-of.ts";

let memory: MemoryStore;
let store: WorkflowStateStore;
/** Another program on the same data. */
let other: WorkflowStateStore;

beforeEach(() => {
  memory = memoryStore();
  store = jsonStore(memory);
  other = jsonStore(memory);
});

afterEach(() => memory.close());

const revision = async (id = "s"): Promise<number> => (await store.getSession(id))?.revision ?? 0;

describe("values above the usual limits", () => {
  const opened = async (limits: Partial<Limits>): Promise<WorkflowStateStore> => {
    const large = memoryStore({ limits });
    onTestFinished(() => large.close());
    return jsonStore(large, { limits });
  };

  test("are replaced by others, where the store allows them", async () => {
    const store = await opened({ valueBytes: 4 << 20 });
    await store.setState("s", "text", "x".repeat(2 << 20));
    await store.update("s", (draft) => {
      draft["text"] = "short";
    });
    expect(await store.getState("s", "text")).toBe("short");
  });

  test("are changed inside, where the store allows them", async () => {
    const store = await opened({ valueNodes: 50_000 });
    await store.setState(
      "s",
      "list",
      Array.from({ length: 20_000 }, (_, i) => i),
    );
    await store.update("s", (draft: { list: number[] }) => {
      draft.list.push(1);
    });
    expect(await store.getState("s", "list")).toHaveLength(20_001);
  });
});

describe("what is written", () => {
  test("the draft of a missing session is empty, and the session is made", async () => {
    const length = await store.update("s", (draft) => {
      const before = Object.keys(draft).length;
      draft["a"] = 1;
      return before;
    });
    expect(length).toBe(0);
    expect(await store.getSession("s")).toMatchObject({ state: { a: 1 }, revision: 1 });
  });

  test("only what changed, in one commit: assigned, deleted, and changed inside", async () => {
    await store.saveSession({ sessionId: "s", state: { a: 1, b: [1, { c: 2 }], d: "x", e: { f: 1 }, g: 0 } });
    await store.update(
      "s",
      (draft: { a: number; b: [number, { c: number }]; d?: string; e: object; g: number }) => {
        draft.a += 1;
        draft.b[1].c = 3;
        delete draft.d;
        draft.e = { f: 1 };
        draft.g = -0;
      },
    );
    expect((await store.getSession("s"))?.state).toEqual({ a: 2, b: [1, { c: 3 }], e: { f: 1 }, g: 0 });
    const { events } = await store.listEvents("s", { afterRevision: 1 });
    expect(events.map(({ entries }) => entries.map(({ key }) => key))).toEqual([["a", "b", "d"]]);
  });

  test("nothing, where nothing changed", async () => {
    await store.saveSession({ sessionId: "s", state: { a: 1, list: [1] } });
    expect(await store.update("s", () => "read only")).toBe("read only");
    await store.update("s", (draft: { a: number; list: number[]; gone?: number }) => {
      draft.list.push(2);
      draft.list.pop();
      draft.a = 1;
      delete draft.gone;
    });
    expect(await revision()).toBe(1);
    await store.update("missing", (draft) => void draft["x"]);
    expect(await store.getSession("missing")).toBeUndefined();
  });

  test("nothing, where a client in another language ordered an object otherwise", async () => {
    // {"b": 2, "a": 1} with the members' value fields before their keys.
    const member = (key: number, number: number[]): number[] => [
      0x0a,
      14,
      0x12,
      9,
      0x11,
      ...number,
      0x0a,
      1,
      key,
    ];
    const two = [0, 0, 0, 0, 0, 0, 0, 0x40];
    const one = [0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
    const body = [...member(98, two), ...member(97, one)];
    const value = Uint8Array.from([0x2a, body.length, ...body]);
    await memory.setState({ sessionId: "s", key: "o", value });
    const read = await store.update("s", (draft) => draft["o"]);
    expect(read).toEqual({ b: 2, a: 1 });
    expect(await revision()).toBe(1);
  });

  test("nothing, where the function throws", async () => {
    const boom = new Error("boom");
    const sync = store.update("s", (draft) => {
      draft["a"] = 1;
      throw boom;
    });
    await expect(sync).rejects.toBe(boom);
    const later = store.update("s", async (draft) => {
      draft["a"] = 1;
      await Promise.resolve();
      throw boom;
    });
    await expect(later).rejects.toBe(boom);
    // Also not one that looks like a conflict of its own: that is the caller's.
    const mismatch = new WorkflowStateError("REVISION_MISMATCH", "of another session");
    let calls = 0;
    const foreign = store.update("s", () => {
      calls += 1;
      throw mismatch;
    });
    await expect(foreign).rejects.toBe(mismatch);
    expect(calls).toBe(1);
    expect(await store.getSession("s")).toBeUndefined();
  });

  test("nothing, where a value is not plain JSON; the error names the key", async () => {
    const bad = store.update("s", (draft: Record<string, unknown>) => {
      draft["fine"] = 1;
      draft["list"] = [1, undefined];
    });
    const error = await errorOf(bad);
    expect([error.reason, error.metadata]).toMatchObject(["INVALID_VALUE", { key: "list", path: "$[1]" }]);
    const wrongKey = store.update("s", (draft) => {
      draft[""] = 1;
    });
    expect((await errorOf(wrongKey)).reason).toBe("INVALID_KEY");
    expect(await store.getSession("s")).toBeUndefined();
  });
});

describe("what is returned", () => {
  test("what the function returned, awaited", async () => {
    expect(await store.update("s", (draft) => Object.keys(draft).length)).toBe(0);
    expect(await store.update("s", async () => "later")).toBe("later");
  });

  test("the draft itself as a plain object", async () => {
    await store.saveSession({ sessionId: "s", state: { a: 1, b: { c: 1 }, gone: 1 } });
    const assign = (draft: Draft): Draft => {
      delete draft["gone"];
      return Object.assign(draft, { a: 2, d: [1] });
    };
    const plain = await store.update("s", assign);
    expect(plain).toEqual({ a: 2, b: { c: 1 }, d: [1] });
    expect(Object.getPrototypeOf(plain)).toBe(Object.prototype);
    expect(await store.update("s", async (draft) => assign(draft))).toEqual(plain);
    plain["a"] = 3;
    expect(await store.getState("s", "a")).toBe(2);
  });
});

describe("conflicts", () => {
  /** Updates, while another program does something between the reading and the commit of the first attempt. */
  async function meanwhile<R>(
    what: () => Promise<unknown>,
    change: (draft: Draft) => R,
  ): Promise<[R, number]> {
    let attempts = 0;
    const result = await store.update("s", async (draft) => {
      attempts += 1;
      const returned = change(draft);
      if (attempts === 1) await what();
      return returned;
    });
    return [result, attempts];
  }

  beforeEach(() => store.saveSession({ sessionId: "s", state: { a: 1, b: 1 } }));

  test("a change of a key that was written is tried again", async () => {
    const [, attempts] = await meanwhile(
      () => other.setState("s", "a", 10),
      (draft) => {
        draft["a"] = (draft["a"] as number) + 1;
      },
    );
    expect([attempts, await store.getState("s", "a")]).toEqual([2, 11]);
  });

  test("a change of a key that was only read is tried again", async () => {
    const [, attempts] = await meanwhile(
      () => other.setState("s", "a", 10),
      (draft) => {
        draft["b"] = (draft["a"] as number) + 1;
      },
    );
    expect([attempts, await store.getState("s", "b")]).toEqual([2, 11]);
  });

  test("a key that was looked for and not there is checked, too", async () => {
    const [, attempts] = await meanwhile(
      () => other.setState("s", "lock", "taken"),
      (draft) => {
        draft["b"] = "lock" in draft ? "locked" : "free";
      },
    );
    expect([attempts, await store.getState("s", "b")]).toEqual([2, "locked"]);
  });

  test("a change of another key is no conflict", async () => {
    const [, attempts] = await meanwhile(
      () => other.setState("s", "c", 10),
      (draft) => {
        draft["a"] = 2;
      },
    );
    expect([attempts, (await store.getSession("s"))?.state]).toEqual([1, { a: 2, b: 1, c: 10 }]);
  });

  test("one who enumerated the keys is told of every change, a new and a removed key too", async () => {
    let counted = 0;
    const count = (draft: Draft): void => {
      draft["keys"] = Object.keys(draft).filter((key) => key !== "keys");
      draft["counted"] = ++counted;
    };
    expect(await meanwhile(() => other.setState("s", "c", 10), count)).toEqual([undefined, 2]);
    expect(await store.getState("s", "keys")).toEqual(["a", "b", "c"]);
    expect(await meanwhile(() => other.deleteState("s", "c"), count)).toEqual([undefined, 2]);
    expect(await store.getState("s", "keys")).toEqual(["a", "b", "counted"]);
    await meanwhile(
      () => other.deleteSession("s"),
      (draft) => {
        draft["keys"] = Object.keys(draft);
      },
    );
    expect((await store.getSession("s"))?.state).toEqual({ keys: [] });
  });

  test("an enumeration goes through after a commit that left no entry behind", async () => {
    await store.deleteState("s", "b");
    let attempts = 0;
    const keys = await store.update("s", (draft) => {
      attempts += 1;
      draft["n"] = Object.keys(draft).length;
      return Object.keys(draft);
    });
    // The revision is not on any entry: the first attempt learns it.
    expect([keys, attempts]).toEqual([["a", "n"], 2]);
    await store.saveSession({ sessionId: "empty", state: {} });
    await store.update("empty", (draft) => {
      draft["n"] = Object.keys(draft).length;
    });
    expect(await store.getState("empty", "n")).toBe(0);
  });

  test("too many keys for checks are checked by the session's revision", async () => {
    const narrow = jsonStore(memory, { limits: { checks: 2 } });
    let attempts = 0;
    await narrow.update("s", async (draft) => {
      attempts += 1;
      draft["sum"] = ["a", "b", "c"].reduce((sum, key) => sum + ((draft[key] as number | undefined) ?? 0), 0);
      if (attempts === 1) await other.setState("s", "c", 5);
    });
    expect([attempts, await store.getState("s", "sum")]).toEqual([2, 7]);
  });

  test("when the attempts run out the conflict is thrown", async () => {
    let n = 0;
    const update = store.update(
      "s",
      async (draft) => {
        n += 1;
        draft["a"] = 100 + n;
        await other.setState("s", "a", -n);
      },
      { attempts: 3 },
    );
    const error = await errorOf(update);
    expect(error.reason).toBe("REVISION_MISMATCH");
    expect(error.failedChecks).toMatchObject([{ key: "a" }]);
    expect(n).toBe(3);
  });

  test("updates of one session through one store take turns", async () => {
    let attempts = 0;
    await Promise.all(
      Array.from({ length: 50 }, () =>
        store.update("s", async (draft) => {
          attempts += 1;
          await Promise.resolve();
          draft["a"] = (draft["a"] as number) + 1;
        }),
      ),
    );
    expect([attempts, await store.getState("s", "a")]).toEqual([50, 51]);
  });

  test("many programs at once lose nothing", async () => {
    await Promise.all(
      Array.from({ length: 20 }, () =>
        jsonStore(memory).update("s", async (draft) => {
          await Promise.resolve();
          draft["a"] = (draft["a"] as number) + 1;
        }),
      ),
    );
    expect(await store.getState("s", "a")).toBe(21);
  });

  test("an update inside an update of the same session is refused, as it would wait for ever", async () => {
    const nested = store.update("s", () => store.update("s", () => 1));
    expect((await errorOf(nested)).reason).toBe("INVALID_REQUEST");
    expect(await store.update("s", () => store.update("t", () => 1))).toBe(1);
  });

  test("an abort ends the waiting for a turn, and the attempts", async () => {
    const abort = new AbortController();
    const held = Promise.withResolvers<void>();
    const first = store.update("s", () => held.promise);
    const waiting = store.update("s", () => 1, { signal: abort.signal });
    abort.abort("enough");
    await expect(waiting).rejects.toBe("enough");
    held.resolve();
    await first;
    await expect(store.update("s", () => 1, { signal: abort.signal })).rejects.toBe("enough");

    const later = new AbortController();
    const conflicting = store.update(
      "s",
      async (draft) => {
        draft["a"] = 0;
        await other.setState("s", "a", 1);
        later.abort("later");
      },
      { signal: later.signal },
    );
    await expect(conflicting).rejects.toBe("later");
  });

  test("an abort does not wait for the function, and lets later updates go on", async () => {
    const abort = new AbortController();
    const held = Promise.withResolvers<void>();
    let kept: Draft = {};
    const stuck = store.update(
      "s",
      (draft) => {
        kept = draft;
        return held.promise;
      },
      { signal: abort.signal },
    );
    const next = store.update("s", (draft) => {
      draft["a"] = 1;
    });
    setTimeout(() => abort.abort("enough"), 5);
    await expect(stuck).rejects.toBe("enough");
    await next;
    expect(await store.getState("s", "a")).toBe(1);
    expect(() => {
      kept["a"] = 2;
    }).toThrow(WorkflowStateError);
    held.reject(new Error("nobody hears of it"));
  });

  test("an abort by the function itself is one, also where nothing was written", async () => {
    const before = await revision();
    for (const key of ["a", undefined]) {
      const abort = new AbortController();
      const aborted = store.update(
        "s",
        (draft) => {
          if (key !== undefined) draft[key] = "changed";
          abort.abort("enough");
        },
        { signal: abort.signal },
      );
      await expect(aborted).rejects.toBe("enough");
    }
    expect(await revision()).toBe(before);
  });

  test("wrong arguments are refused", async () => {
    for (const attempts of [0, -1, 1.5, Number.NaN]) {
      expect((await errorOf(store.update("s", () => 1, { attempts }))).reason).toBe("INVALID_REQUEST");
    }
    const none = undefined as unknown as () => void;
    expect((await errorOf(store.update("s", none))).reason).toBe("INVALID_REQUEST");
    expect((await errorOf(store.update("", () => 1))).reason).toBe("INVALID_SESSION_ID");
  });

  test("an error that is no conflict is thrown as it is", async () => {
    const tooMany = store.update("s", (draft) => {
      for (let i = 0; i < 129; i++) draft[`k${i}`] = i;
    });
    expect((await errorOf(tooMany)).reason).toBe("REQUEST_TOO_LARGE");
  });
});

describe("a session of many pages", () => {
  const ENTRIES = 25;
  let calls: string[] = [];
  let paged: WorkflowStateStore;
  let onPage: (() => Promise<unknown>) | undefined;

  beforeEach(async () => {
    calls = [];
    onPage = undefined;
    await store.saveSession({
      sessionId: "s",
      state: Object.fromEntries(Array.from({ length: ENTRIES }, (_, i) => [`k${i}`, 1])),
    });
    const encoded: EncodedStore = {
      ...methodsOf(memory),
      getSession(request, context) {
        calls.push("getSession");
        return memory.getSession(request, context);
      },
      async listState(request, context) {
        calls.push(request.atRevision === undefined ? "list" : "list at");
        const page = await memory.listState(request, context);
        await onPage?.();
        return page;
      },
    };
    paged = jsonStore(encoded, { limits: { pageSize: 10 } });
  });

  const sum = (draft: Draft): void => {
    draft["sum"] = Object.entries(draft).reduce(
      (all, [key, n]) => (key === "sum" ? all : all + (n as number)),
      0,
    );
  };

  test("is read as it was at one revision", async () => {
    // Moves one from key to key: whoever sees the state at one moment always sees the same sum.
    let step = 0;
    onPage = async () => {
      if (step > 2) return;
      step += 1;
      await other.commit("s", {
        changes: [
          { kind: "increment", key: `k${step}`, delta: -1 },
          { kind: "increment", key: `k${ENTRIES - step}`, delta: 1 },
        ],
      });
    };
    await paged.update("s", sum);
    expect(await store.getState("s", "sum")).toBe(ENTRIES);
    expect(calls.slice(0, 5)).toEqual(["list", "getSession", "list at", "list at", "list at"]);
  });

  test("may end while it is read", async () => {
    onPage = async () => {
      onPage = undefined;
      await other.deleteSession("s");
    };
    await paged.update("s", sum);
    expect((await store.getSession("s"))?.state).toEqual({ sum: 0 });
  });

  test("is read again when history went on faster than the reading", async () => {
    let races = 0;
    onPage = async () => {
      if (calls.at(-1) !== "list at" || races++ > 0) return;
      for (let i = 0; i < 300; i++) await other.setState("s", "k0", 1);
    };
    await paged.update("s", sum);
    expect(await store.getState("s", "sum")).toBe(ENTRIES);

    onPage = async () => {
      for (let i = 0; i < 300; i++) await other.setState("s", "k0", 1);
    };
    expect((await errorOf(paged.update("s", sum, { attempts: 2 }))).reason).toBe("HISTORY_COMPACTED");
  });
});
