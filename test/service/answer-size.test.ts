/** How large answers may be, against how large they are as messages. */
import { toBinary } from "@bufbuild/protobuf";
import { expect, onTestFinished, test } from "vitest";
import {
  BatchResponseSchema,
  CommitResponseSchema,
} from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import { mostOfBatch, mostOfCommit, trimmedResults } from "../../src/service/answer-size.ts";
import { type Change, type CommitRequest, DEFAULT_LIMITS, type EncodedForm } from "../../src/store.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { encodeValue } from "../../src/value.ts";
import { responseToWire } from "../../src/wire.ts";

test("room for a commit is as much as its answer has, be it computed", async () => {
  const store = memoryStore();
  onTestFinished(() => store.close());
  const long = encodeValue(["x".repeat(900_000)]);
  const keys = ["a", "b", "c", "d"];
  for (const key of keys) await store.setState({ sessionId: "s", key, value: long });
  const commits: readonly CommitRequest<EncodedForm>[] = [
    {
      sessionId: "s",
      changes: keys.map((key) => ({ kind: "append", key, values: [encodeValue(1)] })),
    },
    {
      sessionId: "s",
      changes: keys.map((key): Change<EncodedForm> => ({ kind: "set", key, value: long })),
    },
    { sessionId: "s", changes: keys.map((key): Change<EncodedForm> => ({ kind: "delete", key })) },
    {
      sessionId: "s",
      changes: keys.map((key): Change<EncodedForm> => ({ kind: "increment", key, delta: 1 })),
    },
  ];
  for (const commit of commits) {
    const answer = responseToWire.commit(await store.commit(commit));
    const { length } = toBinary(CommitResponseSchema, answer);
    const most = mostOfCommit(commit, DEFAULT_LIMITS);
    expect(length).toBeLessThanOrEqual(most);
    expect(most).toBeLessThanOrEqual(DEFAULT_LIMITS.requestBytes);
    expect(mostOfBatch([{ kind: "commit", ...commit }], DEFAULT_LIMITS)).toBe(most);
    // Those that name no value take no room for one.
    if (!commit.changes?.some(({ kind }) => kind === "append" || kind === "set"))
      expect(most).toBeLessThan(1_000);
  }
});

test("the answer of a batch that names more keys than it has room for leaves entries out", () => {
  const limitBytes = 40_000;
  const entries = Array.from({ length: 128 }, (_, i) => ({
    key: `${i}`.padStart(112, "k"),
    revision: 1,
    updateTime: 1,
  }));
  const results = Array.from({ length: 10 }, () => ({
    kind: "commit" as const,
    revision: 1,
    time: 1,
    entries,
  }));
  const kept = trimmedResults(results, limitBytes);
  expect(kept.map((result) => result.kind === "commit" && result.entries.length)).toEqual([
    128,
    ...Array.from({ length: 9 }, () => 0),
  ]);
  expect(toBinary(BatchResponseSchema, responseToWire.batch(kept)).length).toBeLessThanOrEqual(limitBytes);
});
