/** The server's schema told to generic clients, by gRPC's reflection protocol in both of its versions. */
import { type DescFile, type DescService, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, type ConnectRouter } from "@connectrpc/connect";
import { ServerReflection as V1 } from "../../gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as V1Alpha } from "../../gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { endingWith } from "./call.ts";

/** What both versions ask, less their names. */
interface Question {
  readonly host: string;
  readonly messageRequest: { readonly case?: string | undefined; readonly value?: unknown };
}

/** What both versions answer. */
type Answer =
  | { case: "fileDescriptorResponse"; value: { fileDescriptorProto: Uint8Array[] } }
  | { case: "listServicesResponse"; value: { service: { name: string }[] } }
  | { case: "allExtensionNumbersResponse"; value: { baseTypeName: string; extensionNumber: number[] } }
  | { case: "errorResponse"; value: { errorCode: number; errorMessage: string } };

/**
 * The routes of the reflection protocol.
 * @param services what the server serves; the reflection services are told of as well
 * @param stopping ends all conversations
 */
export function reflectionRoutes(
  services: readonly DescService[],
  stopping: AbortSignal,
): (router: ConnectRouter) => void {
  const all = [...services, V1, V1Alpha];
  const files = new Map<string, DescFile>();
  for (const { file } of all) for (const each of withImports(file)) files.set(each.name, each);
  const symbols = new Map<string, DescFile>();
  for (const file of files.values()) for (const name of symbolsOf(file)) symbols.set(name, file);

  function answer({ messageRequest: { case: what, value } }: Question): Answer {
    switch (what) {
      case "listServices":
        return {
          case: "listServicesResponse",
          value: { service: all.map(({ typeName: name }) => ({ name })) },
        };
      case "fileByFilename":
        return described(files.get(String(value).replace(/\.proto$/, "")));
      case "fileContainingSymbol":
        return described(symbols.get(String(value)));
      case "allExtensionNumbersOfType":
        return symbols.has(String(value))
          ? {
              case: "allExtensionNumbersResponse",
              value: { baseTypeName: String(value), extensionNumber: [] },
            }
          : NOT_FOUND;
      default:
        return NOT_FOUND;
    }
  }

  return (router) => {
    for (const service of [V1, V1Alpha]) {
      router.service(service, {
        async *serverReflectionInfo(questions: AsyncIterable<Question>) {
          for await (const question of endingWith(questions, stopping)) {
            yield { validHost: question.host, originalRequest: question, messageResponse: answer(question) };
          }
        },
      } as never);
    }
  };
}

const NOT_FOUND: Answer = {
  case: "errorResponse",
  value: { errorCode: Code.NotFound, errorMessage: "There is nothing by that name here." },
};

/** A file with all that it imports, each before what imports it. */
function withImports(file: DescFile, seen: Set<DescFile> = new Set()): Set<DescFile> {
  if (!seen.has(file)) {
    for (const imported of file.dependencies) withImports(imported, seen);
    seen.add(file);
  }
  return seen;
}

function described(file: DescFile | undefined): Answer {
  if (file === undefined) return NOT_FOUND;
  const protos = Array.from(withImports(file), ({ proto }) => toBinary(FileDescriptorProtoSchema, proto));
  // The file that was asked for comes first.
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto: protos.reverse() } };
}

function* symbolsOf(file: DescFile): Generator<string> {
  for (const { typeName, methods } of file.services) {
    yield typeName;
    for (const { name } of methods) yield `${typeName}.${name}`;
  }
  const nested = [...file.messages];
  for (const message of nested) {
    yield message.typeName;
    nested.push(...message.nestedMessages);
    for (const { typeName } of message.nestedEnums) yield typeName;
  }
  for (const { typeName } of file.enums) yield typeName;
}
