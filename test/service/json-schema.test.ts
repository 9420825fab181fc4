import {
  create,
  type DescMessage,
  fromBinary,
  fromJson,
  type JsonObject,
  type MessageShape,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import { DurationSchema, type Value, ValueSchema } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import * as publicSchema from "../../gen/agenterra/state/v1/service_pb.ts";
import * as encodedSchema from "../../gen/encoded/agenterra/state/v1/service_pb.ts";
import { converterOf } from "../../src/service/json-schema.ts";
import type { JsonValue } from "../../src/store.ts";
import { decodeValue } from "../../src/value.ts";
import { stored } from "../support/values.ts";

/** What a JSON caller says, as the encoded message that the service gets. */
function encoded<D extends DescMessage>(from: DescMessage, to: D, json: JsonObject): MessageShape<D> {
  return converterOf(from, to).toEncoded(fromJson(from, json)) as MessageShape<D>;
}

const value = { list: [null, true, -0.5, "é"], object: { "": {} }, empty: [] };
const state = JSON.parse('{"__proto__": 1, "b": "text"}') as JsonObject;
const labels = JSON.parse('{"__proto__": "1", "b": "2"}') as JsonObject;
const session = {
  sessionId: "s",
  state,
  createTime: "2026-01-01T00:00:00Z",
  workflowId: "",
  labels,
  revision: "9007199254740991",
  forkedFrom: { sessionId: "p", revision: "1" },
};
const entry = { key: "k", value, revision: "3", updateTime: "2026-01-01T00:00:00.001Z" };
const commit = {
  sessionId: "s",
  checks: [{ key: "k" }],
  changes: [
    { set: { key: "a", value: null, ttl: "1.500s" } },
    { delete: { key: "b" } },
    { increment: { key: "c", delta: 0.5 } },
    { append: { key: "d", values: [value, 1], maxItems: 2 } },
    { merge: { key: "e", value } },
    {},
  ],
  ifRevision: "0",
  metadata: { userId: "", labels, idleTtl: "60s" },
};
const error = {
  reason: "ERROR_REASON_REVISION_MISMATCH",
  metadata: labels,
  failedChecks: [{ key: "k", ifRevision: "1" }],
  message: "no",
};

describe("a message of one schema is the same message in the other", () => {
  const cases: readonly [string, DescMessage, DescMessage, JsonObject][] = [
    [
      "a save",
      publicSchema.SaveSessionRequestSchema,
      encodedSchema.SaveSessionRequestSchema,
      { session, ttl: "5s" },
    ],
    ["a commit", publicSchema.CommitRequestSchema, encodedSchema.CommitRequestSchema, commit],
    [
      "a listing",
      publicSchema.ListSessionsRequestSchema,
      encodedSchema.ListSessionsRequestSchema,
      { labels, view: "SESSION_VIEW_FULL", updatedAfter: "2026-01-01T00:00:00Z", pageSize: 5 },
    ],
    [
      "a batch",
      publicSchema.BatchRequestSchema,
      encodedSchema.BatchRequestSchema,
      { operations: [{ commit }, { getState: { sessionId: "s", atRevision: "0" } }, {}] },
    ],
    [
      "results",
      publicSchema.BatchResponseSchema,
      encodedSchema.BatchResponseSchema,
      {
        results: [
          { getState: { entry } },
          { setState: { entry } },
          { getState: {} },
          { error },
          { getSession: { session } },
        ],
      },
    ],
    [
      "events",
      publicSchema.ListEventsResponseSchema,
      encodedSchema.ListEventsResponseSchema,
      {
        events: [
          { sessionId: "s", kind: "EVENT_KIND_SAVED", entries: [entry, { key: "gone", revision: "1" }] },
        ],
      },
    ],
    [
      "a watch's message",
      publicSchema.WatchSessionResponseSchema,
      encodedSchema.WatchSessionResponseSchema,
      { snapshot: session },
    ],
  ];

  test.each(cases)("%s", (_, from, to, json) => {
    const said = fromJson(from, json);
    const inside = converterOf(from, to).toEncoded(said) as MessageShape<DescMessage>;
    expect(fromBinary(from, toBinary(to, inside))).toStrictEqual(said);
    const answered = fromBinary(to, toBinary(from, said));
    const outside = converterOf(from, to).toPublic(answered) as MessageShape<DescMessage>;
    expect(toJson(from, outside)).toStrictEqual(json);
  });

  test("any value", () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false, maxDepth: 4 }), (json) => {
        const message = encoded(publicSchema.SetStateRequestSchema, encodedSchema.SetStateRequestSchema, {
          value: json as JsonObject,
        });
        expect(decodeValue(message.value as Uint8Array)).toEqual(stored(json as JsonValue));
      }),
    );
  });

  test("every message of the service can be turned", () => {
    for (const method of publicSchema.WorkflowStateService.methods) {
      const twin = encodedSchema.WorkflowStateService.method[method.localName as "getState"];
      for (const [from, to] of [
        [method.input, twin.input],
        [method.output, twin.output],
      ] as const) {
        const turned = converterOf(from, to).toEncoded(create(from)) as MessageShape<typeof to>;
        expect(toBinary(to, turned)).toHaveLength(0);
        expect(converterOf(from, to)).toBe(converterOf(from, to));
      }
    }
  });

  test("a schema that was not generated anew is found out", () => {
    expect(() => converterOf(DurationSchema, encodedSchema.BatchResponseSchema)).toThrow(/npm run generate/);
  });
});

describe("what the validator must refuse, it must see", () => {
  const bytesOf = (message: Value): Uint8Array => {
    const request = create(publicSchema.SetStateRequestSchema, { value: message });
    const turned = converterOf(
      publicSchema.SetStateRequestSchema,
      encodedSchema.SetStateRequestSchema,
    ).toEncoded(request);
    return (turned as encodedSchema.SetStateRequest).value as Uint8Array;
  };

  test.each([
    ["a lone surrogate", { kind: { case: "stringValue", value: "\ud800" } }],
    [
      "a lone surrogate in a key",
      {
        kind: {
          case: "structValue",
          value: { fields: { "\udc00": { kind: { case: "boolValue", value: true } } } },
        },
      },
    ],
  ] as const)("%s is not repaired", (_, init) => {
    expect(() => decodeValue(bytesOf(create(ValueSchema, init as never)))).toThrow(
      expect.objectContaining({ reason: "INVALID_VALUE" }),
    );
  });

  test("a value of no kind stays one", () => {
    expect(bytesOf(create(ValueSchema))).toHaveLength(0);
  });

  test("ill-formed ids and keys pass as they are", () => {
    const request = create(publicSchema.GetStateRequestSchema, { sessionId: "\ud800", key: "\udc00" });
    const { toEncoded } = converterOf(
      publicSchema.GetStateRequestSchema,
      encodedSchema.GetStateRequestSchema,
    );
    expect(toEncoded(request)).toMatchObject({ sessionId: "\ud800", key: "\udc00" });
  });
});
