/**
 * `npx node samples/grpc-js-client.ts [URL]`: the service as any gRPC client sees it. Nothing but the .proto files and
 * @grpc/grpc-js; what is done here by hand, a client in another language does the same way.
 */
import { join } from "node:path";
import {
  type Client,
  type ClientReadableStream,
  credentials,
  makeClientConstructor,
  type ServiceDefinition,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { fromJSON, loadSync, type MessageTypeDefinition } from "@grpc/proto-loader";
import { withServer } from "./with-server.ts";

/** A message as proto-loader gives and takes it: a plain object, its fields named in camelCase. */
type Message = Readonly<Record<string, unknown>>;
type Unary = (request: Message, callback: (error: ServiceError | null, answer: Message) => void) => void;
interface WorkflowStateClient extends Client {
  readonly setState: Unary;
  readonly getState: Unary;
  readonly commit: Unary;
  watchSession(request: Message): ClientReadableStream<Message>;
}

const definition = loadSync("agenterra/state/v1/service.proto", {
  includeDirs: [join(import.meta.dirname, "../proto")],
  // Revisions are int64, and far below 2^53.
  longs: Number,
  enums: String,
  // What is not on the wire has its default: a revision of 0, an empty list.
  defaults: true,
});
const WorkflowStateService = makeClientConstructor(
  definition["agenterra.state.v1.WorkflowStateService"] as ServiceDefinition,
  "WorkflowStateService",
) as unknown as new (
  ...args: ConstructorParameters<typeof Client>
) => WorkflowStateClient;

// The status that gRPC puts into `grpc-status-details-bin`: google/rpc/status.proto, as far as it is needed here.
const googleRpc = fromJSON({
  nested: {
    Any: { fields: { typeUrl: { type: "string", id: 1 }, value: { type: "bytes", id: 2 } } },
    Status: { fields: { details: { rule: "repeated", type: "Any", id: 3 } } },
  },
});

await withServer(process.argv[2], async (url) => {
  const client = new WorkflowStateService(new URL(url).host, credentials.createInsecure());
  const sessionId = `orders-${Date.now()}`;
  try {
    const set = await call(client, "setState", {
      sessionId,
      key: "customer",
      value: toValue({ name: "Ada", vip: true }),
    });
    console.log("set customer:", (set["entry"] as Message)["revision"]);

    const got = await call(client, "getState", { sessionId, key: "customer" });
    console.log("get customer:", fromValue((got["entry"] as Message)["value"] as Message));

    const missing = await call(client, "getState", { sessionId, key: "nothing" });
    console.log("get nothing:", missing["entry"] ?? "no entry, and no error");

    // Two changes in one atomic write. Sent again with the same requestId it would not count twice.
    const commit = {
      sessionId,
      changes: [
        { increment: { key: "orders", delta: 3 } },
        { append: { key: "log", values: [toValue("ordered")] } },
      ],
      requestId: "order-1",
    };
    for (let attempt = 1; attempt <= 2; attempt++) {
      const { revision, entries } = await call(client, "commit", commit);
      const values = (entries as Message[]).map(({ key, value }) => [key, fromValue(value as Message)]);
      console.log(`commit, attempt ${attempt}: revision ${revision},`, Object.fromEntries(values));
    }

    // The entry is at revision 2 by now, so nothing is written.
    const late = { sessionId, key: "orders", value: toValue(0), ifRevision: 1 };
    await call(client, "setState", late).catch((error: ServiceError) => {
      const { reason, failedChecks } = errorDetail(error);
      console.log(`late set: ${status[error.code]},`, reason, failedChecks);
    });

    // From the beginning, so what was written above comes first. A watch doesn't end by itself.
    const watch = client.watchSession({ sessionId, afterRevision: 0 });
    let events = 0;
    for await (const { event } of watch as AsyncIterable<Message>) {
      const { kind, revision, entries } = event as Message;
      console.log(`watched: ${kind} ${revision},`, (entries as Message[]).map(({ key }) => key).join(" "));
      events++;
      if (events === 2) {
        break;
      }
    }
    // Leaving the loop alone would not tell the service.
    watch.cancel();
  } finally {
    client.close();
  }
});

function call(
  client: WorkflowStateClient,
  rpc: "setState" | "getState" | "commit",
  request: Message,
): Promise<Message> {
  return new Promise((resolve, reject) => {
    client[rpc](request, (error, answer) => (error === null ? resolve(answer) : reject(error)));
  });
}

/** The typed detail of a failed call. */
function errorDetail(error: ServiceError): Message {
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  const { details } = decode(googleRpc["Status"], bytes as Buffer) as { details: { value: Buffer }[] };
  return decode(definition["agenterra.state.v1.ErrorDetail"], details[0]?.value ?? Buffer.alloc(0));
}

function decode(type: unknown, bytes: Buffer): Message {
  return (type as MessageTypeDefinition<Message, Message>).deserialize(bytes);
}

/** Plain JSON as a `google.protobuf.Value`. */
function toValue(json: unknown): Message {
  if (json === null) return { nullValue: 0 };
  if (typeof json === "number") return { numberValue: json };
  if (typeof json === "string") return { stringValue: json };
  if (typeof json === "boolean") return { boolValue: json };
  if (Array.isArray(json)) return { listValue: { values: json.map(toValue) } };
  const fields = Object.entries(json as object).map(([key, value]) => [key, toValue(value)]);
  return { structValue: { fields: Object.fromEntries(fields) } };
}

/** A `google.protobuf.Value` as plain JSON. */
function fromValue(value: Message): unknown {
  const [[kind, of] = []] = Object.entries(value);
  if (kind === "nullValue") return null;
  if (kind === "listValue") return ((of as Message)["values"] as Message[]).map(fromValue);
  if (kind !== "structValue") return of;
  const fields = Object.entries((of as Message)["fields"] as Record<string, Message>);
  return Object.fromEntries(fields.map(([key, field]) => [key, fromValue(field)]));
}
