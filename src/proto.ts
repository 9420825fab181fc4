/** The public schema, generated: messages, enums and the service, for programs that bring their own Connect client. */
export * from "../gen/agenterra/state/v1/service_pb.ts";
export * from "../gen/agenterra/state/v1/state_pb.ts";
