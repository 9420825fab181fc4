/** The schema as generic clients ask for it: buf curl, with no file of ours. */
import { fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { ServerReflection as V1 } from "../../gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as V1Alpha } from "../../gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { ended, start } from "../support/run-node.ts";
import { serving } from "../support/serving.ts";

const SERVICES = [
  "agenterra.state.v1.WorkflowStateService",
  "grpc.health.v1.Health",
  "grpc.reflection.v1.ServerReflection",
  "grpc.reflection.v1alpha.ServerReflection",
];

async function bufCurl(...args: readonly string[]): Promise<string> {
  const run = await ended(start("buf", ["curl", "--http2-prior-knowledge", "--protocol", "grpc", ...args]));
  expect(run).toMatchObject({ status: 0 });
  return run.stdout;
}

test("a generic client lists the services and calls one that it knows by reflection only", async () => {
  const { url } = await serving({ reflection: true });

  expect((await bufCurl("--list-services", url)).trim().split("\n").sort()).toEqual(SERVICES);
  const method = `${url}/${SERVICES[0]}/SetState`;
  const answer = await bufCurl("-d", '{"session_id":"s","key":"k","value":{"a":[1]}}', "--reflect", method);
  expect(JSON.parse(answer)).toMatchObject({ entry: { key: "k", value: { a: [1] }, revision: "1" } });
});

test.each([
  ["v1", V1],
  ["v1alpha", V1Alpha],
] as const)("%s answers every kind of question", async (_, service) => {
  const { url } = await serving({ reflection: true });
  const client = createClient(service as typeof V1, createGrpcTransport({ baseUrl: url }));
  const questions = [
    { case: "fileByFilename", value: "agenterra/state/v1/state.proto" },
    { case: "fileContainingSymbol", value: `${SERVICES[0]}.GetState` },
    { case: "fileContainingSymbol", value: "agenterra.state.v1.Session" },
    { case: "fileContainingSymbol", value: "agenterra.state.v1.ErrorReason" },
    { case: "allExtensionNumbersOfType", value: "agenterra.state.v1.Session" },
    { case: "fileContainingExtension", value: { containingType: "a.B", extensionNumber: 1 } },
    { case: "fileContainingSymbol", value: "no.Such" },
  ] as const;
  async function* asked() {
    for (const messageRequest of questions) yield { messageRequest };
  }
  const answers: unknown[] = [];
  for await (const { messageResponse } of client.serverReflectionInfo(asked())) {
    const { value } = messageResponse;
    answers.push(
      messageResponse.case === "fileDescriptorResponse"
        ? messageResponse.value.fileDescriptorProto.map(
            (file) => fromBinary(FileDescriptorProtoSchema, file).name,
          )
        : value,
    );
  }
  const state = "agenterra/state/v1/state.proto";
  const wkt = ["google/protobuf/timestamp.proto", "google/protobuf/struct.proto"];
  expect(answers).toEqual([
    expect.arrayContaining([state, ...wkt]),
    expect.arrayContaining(["agenterra/state/v1/service.proto", state, ...wkt]),
    expect.arrayContaining([state]),
    expect.arrayContaining([state]),
    expect.objectContaining({ extensionNumber: [] }),
    expect.objectContaining({ errorCode: 5 }),
    expect.objectContaining({ errorCode: 5 }),
  ]);
});

test("without being asked to, a server tells nobody its schema", async () => {
  const { url } = await serving();
  const client = createClient(V1, createGrpcTransport({ baseUrl: url }));
  async function* asked() {
    yield { messageRequest: { case: "listServices", value: "" } } as const;
  }
  await expect(async () => {
    for await (const _ of client.serverReflectionInfo(asked()));
  }).rejects.toThrow(/unimplemented/);
});
