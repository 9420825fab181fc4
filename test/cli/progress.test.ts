import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { Progress } from "../../src/cli/progress.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllEnvs();
});

/** Collects what is written. */
function collector(terminal: { readonly isTTY?: boolean; readonly columns?: number } = {}): {
  stream: ConstructorParameters<typeof Progress>[1] & object;
  written: string[];
} {
  const written: string[] = [];
  return {
    stream: { ...terminal, write: (text: string | Uint8Array) => written.push(String(text)) > 0 },
    written,
  };
}

function progress(verb: string, stream: ConstructorParameters<typeof Progress>[1]): Progress {
  const made = new Progress(verb, stream);
  onTestFinished(() => made.end());
  return made;
}

describe("where there is no terminal", () => {
  test("a line comes every five seconds, and none at the end", () => {
    const { stream, written } = collector();
    const shown = progress("copying", stream);
    shown.update({ sessions: 7 });
    vi.advanceTimersByTime(4_999);
    expect(written).toEqual([]);
    vi.advanceTimersByTime(1);
    shown.update({ sessions: 1234, of: 5000, note: "2 left out" });
    vi.advanceTimersByTime(5_000);
    shown.update({ verb: "encrypting", sessions: 0, note: "" });
    vi.advanceTimersByTime(5_000);
    shown.end();
    vi.advanceTimersByTime(20_000);
    expect(written).toEqual([
      "copying 7 sessions\n",
      "copying 1,234 of 5,000 sessions, 2 left out\n",
      "encrypting 0 of 5,000 sessions\n",
    ]);
  });

  test("nor on a terminal that can't draw", () => {
    vi.stubEnv("TERM", "dumb");
    const { stream, written } = collector({ isTTY: true });
    progress("copying", stream);
    vi.advanceTimersByTime(5_000);
    expect(written).toEqual(["copying 0 sessions\n"]);
  });
});

describe("on a terminal", () => {
  beforeEach(() => {
    vi.stubEnv("TERM", "xterm");
  });

  test("a bar is drawn over itself, and taken away at the end", () => {
    const { stream, written } = collector({ isTTY: true, columns: 200 });
    const shown = progress("copying", stream);
    vi.advanceTimersByTime(100);
    shown.update({ sessions: 50, of: 200 });
    vi.advanceTimersByTime(100);
    shown.update({ sessions: 210 });
    vi.advanceTimersByTime(100);
    shown.end();
    expect(written).toEqual([
      "\rcopying 0 sessions\x1b[K",
      "\r[######------------------] 25% copying 50 of 200 sessions\x1b[K",
      "\r[########################]100% copying 210 of 200 sessions\x1b[K",
      "\r\x1b[K",
    ]);
  });

  test("it says the part of a file where sessions can't be counted", () => {
    const { stream, written } = collector({ isTTY: true });
    progress("importing", stream).update({ sessions: 3, part: 0.509 });
    vi.advanceTimersByTime(100);
    expect(written).toEqual([
      "\r[############------------] 50% importing 3 sessions (50% of the file)\x1b[K",
    ]);
  });

  test("it fits the line", () => {
    const { stream, written } = collector({ isTTY: true, columns: 20 });
    progress("copying", stream).update({ sessions: 3, of: 4 });
    vi.advanceTimersByTime(100);
    expect(written).toEqual(["\r[##################\x1b[K"]);
  });

  test("what was never drawn is not taken away", () => {
    const { stream, written } = collector({ isTTY: true });
    progress("copying", stream).end();
    expect(written).toEqual([]);
  });
});
