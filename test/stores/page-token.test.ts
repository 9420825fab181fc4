import { describe, expect, test } from "vitest";
import type { DurableStore } from "../../src/stores/durable.ts";
import { type MemoryStore, memoryStore } from "../../src/stores/memory.ts";
import { encodeValue } from "../../src/value.ts";
import { DurableFile } from "../support/durable-file.ts";

/** A token's parts: what the listing was asked for, and the position. */
function partsOf(token: string): unknown[] {
  return JSON.parse(atob(token.replaceAll("-", "+").replaceAll("_", "/")));
}

const withPart = (token: string, place: number, part: string): string =>
  btoa(JSON.stringify(partsOf(token).with(place, "PART")).replace('"PART"', part));

const NUMBERS = ["1.5", "-1", "1e300", "9007199254740992", '"1"', "null"];
const TEXTS = [String.raw`"\ud800"`, String.raw`"a\udc00"`, "7"];

const STORES: Record<string, () => Promise<MemoryStore | DurableStore>> = {
  memory: async () => memoryStore(),
  SQLite: async () => (await new DurableFile().open()).store,
};

describe.each(Object.entries(STORES))("a forged page token of a store in %s", (_, open) => {
  test("is refused as no token of the listing, whatever position it names", async () => {
    const store = await open();
    for (const sessionId of ["a", "b"])
      for (const key of ["j", "k"]) await store.setState({ sessionId, key, value: encodeValue(1) });
    const order = "UPDATE_TIME_DESC";
    const listings: [list: (pageToken?: string) => Promise<{ nextPageToken: string }>, parts: string[][]][] =
      [
        [(pageToken) => store.listState({ sessionId: "a", pageSize: 1, pageToken }), [TEXTS]],
        [(pageToken) => store.listEvents({ sessionId: "a", pageSize: 1, pageToken }), [NUMBERS]],
        [
          (pageToken) => store.listEvents({ sessionId: "a", pageSize: 1, reverse: true, pageToken }),
          [NUMBERS],
        ],
        [(pageToken) => store.listSessions({ pageSize: 1, pageToken }), [TEXTS, NUMBERS]],
        [(pageToken) => store.listSessions({ pageSize: 1, order, pageToken }), [TEXTS, NUMBERS]],
      ];
    for (const [list, parts] of listings) {
      const { nextPageToken } = await list();
      await list(withPart(nextPageToken, 1, JSON.stringify(partsOf(nextPageToken)[1])));
      for (const [i, forged] of parts.entries())
        for (const part of forged)
          await expect(list(withPart(nextPageToken, i + 1, part)), part).rejects.toMatchObject({
            reason: "INVALID_PAGE_TOKEN",
          });
    }
  });
});
