import { describe, expect, test } from "vitest";
import { sqlitePath } from "../../src/stores/sqlite-url.ts";

describe("the path in the URL of a SQLite file", () => {
  test.each([
    ["sqlite:state.db", "state.db"],
    ["sqlite:./state.db", "./state.db"],
    ["SQLite:../up/state.db", "../up/state.db"],
    ["sqlite:/var/lib/state.db", "/var/lib/state.db"],
    ["sqlite:///var/lib/state.db", "/var/lib/state.db"],
    ["sqlite:./my state.db", "./my state.db"],
    ["sqlite:./my%20state.db", "./my state.db"],
    ["sqlite:./100%25%3F%23.db", "./100%?#.db"],
    ["sqlite:./%F0%9F%9B%92 ü.db", "./🛒 ü.db"],
    ["sqlite:C:\\data\\state.db", "C:\\data\\state.db"],
    ["sqlite:C:/data/state.db", "C:/data/state.db"],
    ["sqlite:///C:/data/state.db", "C:/data/state.db"],
    ["sqlite:/c:/data/state.db", "c:/data/state.db"],
  ])("%s is %s", (url, path) => {
    expect(sqlitePath(url)).toBe(path);
  });

  test.each([
    "sqlite:",
    "sqlite://",
    "sqlite://secret.db",
    "sqlite://host/secret.db",
    "sqlite::memory:",
    "sqlite:./secret.db?mode=ro",
    "sqlite:./secret.db#here",
    "sqlite:./secret%.db",
    "sqlite:./secret%ff.db",
    "sqlite:./secret%00.db",
  ])("%j is refused, and not repeated", (url) => {
    expect(() => sqlitePath(url)).toThrow(
      expect.objectContaining({
        reason: "INVALID_REQUEST",
        metadata: { field: "url" },
        message: expect.not.stringContaining("secret"),
      }),
    );
  });
});
