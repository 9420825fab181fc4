import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { SessionSchema } from "../gen/agenterra/state/v1/state_pb.ts";
import { SessionSchema as EncodedSessionSchema } from "../gen/encoded/agenterra/state/v1/state_pb.ts";
import { encodeSchema } from "../scripts/encoded-schema.ts";

test("a field that holds a value becomes bytes and keeps its presence", () => {
  const source = `import "google/protobuf/struct.proto";
message Entry {
  google.protobuf.Value value = 1;
  optional google.protobuf.Value before = 2;
  repeated google.protobuf.Value values = 3;
  oneof change { google.protobuf.Value set = 4; }
  map<string, google.protobuf.Value> state = 5;
  map<string, string> labels = 6;
}
`;
  expect(encodeSchema(source)).toBe(`message Entry {
  optional bytes value = 1;
  optional bytes before = 2;
  repeated bytes values = 3;
  oneof change { bytes set = 4; }
  repeated EncodedEntry state = 5;
  repeated StringEntry labels = 6;
}
`);
});

test("comments and strings are left alone, and the import stays where another of its types is used", () => {
  const source = `import "google/protobuf/struct.proto";
// oneof { google.protobuf.Value value = 1;
/* map<string, string> labels = 1; } */
message M {
  google.protobuf.Struct s = 1 [json_name = "} map<string, string>"];
}
`;
  expect(encodeSchema(source)).toBe(source);
});

test("a session encoded by one schema decodes by the other", () => {
  const value = create(ValueSchema, { kind: { case: "stringValue", value: "x" } });
  const session = create(SessionSchema, { sessionId: "s", state: { a: value }, labels: { b: "y" } });
  const bytes = toBinary(SessionSchema, session);
  const encoded = fromBinary(EncodedSessionSchema, bytes);
  expect(encoded.state).toMatchObject([{ key: "a", value: toBinary(ValueSchema, value) }]);
  expect(encoded.labels).toMatchObject([{ key: "b", value: "y" }]);
  expect(fromBinary(SessionSchema, toBinary(EncodedSessionSchema, encoded))).toEqual(session);
});
