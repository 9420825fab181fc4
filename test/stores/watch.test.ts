import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { Watch, type WatchSource, wake } from "../../src/stores/watch.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

function watching(source: Partial<WatchSource<string>>, progressMs: number): Watch<string> {
  const whole = { read: () => undefined, progress: () => "progress", waiting: new Set<() => void>() };
  const watch = new Watch({ ...whole, ended: () => {}, ...source }, undefined, progressMs, () => false);
  onTestFinished(async () => void (await watch.return()));
  return watch;
}

describe("the progress of a watch", () => {
  it("comes also where there is always something to read that is not for this watch", async () => {
    const waiting = new Set<() => void>();
    const busy = setInterval(() => wake(waiting), 1);
    onTestFinished(() => clearInterval(busy));
    const read = (): Promise<undefined> => new Promise((resolve) => setTimeout(() => resolve(undefined), 5));
    const watch = watching({ read, waiting }, 100);
    expect(await watch.next()).toEqual({ done: false, value: "progress" });
    expect(await watch.next()).toEqual({ done: false, value: "progress" });
  });

  it("comes when the clock of the machine is set back", async () => {
    const watch = watching({}, 20);
    expect((await watch.next()).value).toBe("progress");
    const now = Date.now;
    vi.spyOn(Date, "now").mockImplementation(() => now() - 3_600_000);
    expect((await watch.next()).value).toBe("progress");
  });
});
