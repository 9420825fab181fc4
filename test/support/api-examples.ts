/** Runs the HTTP examples of a page against a server: what is asked, and what the page says is answered. */
import { create, fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { type Client, createClient } from "@connectrpc/connect";
import { createConnectTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { type WatchSessionsResponse, WorkflowStateService } from "../../gen/agenterra/state/v1/service_pb.ts";
import type { Block } from "./markdown.ts";

/** What an example's answer was, and what the page says. */
export interface Answered {
  readonly at: string;
  readonly actual: unknown;
  readonly expected: unknown;
}

type Method = (typeof WorkflowStateService)["methods"][number];
type Stream = { readonly method: Method; readonly messages: AsyncIterator<object> };

/** Runs the examples in order; gives each answer beside the documented one, times made equal. */
export async function* runExamples(blocks: readonly Block[], url: string): AsyncGenerator<Answered> {
  const sessionManager = new Http2SessionManager(url);
  const transport = createConnectTransport({
    baseUrl: url,
    httpVersion: "2",
    useBinaryFormat: false,
    sessionManager,
  });
  const client = createClient(WorkflowStateService, transport);
  const ended = new AbortController();
  let answer: { readonly status: number; readonly body: unknown } | undefined;
  let stream: Stream | undefined;

  function open(method: Method, bodies: readonly JsonValue[]): Stream {
    const options = { signal: ended.signal };
    const messages = bodies.map((body) => fromJson(method.input, body));
    const call = client[method.localName as "watchSession"] as (
      request: unknown,
      options: object,
    ) => AsyncIterable<object>;
    const request =
      method.methodKind === "bidi_streaming" ? each(messages) : (messages[0] ?? create(method.input));
    return { method, messages: call(request, options)[Symbol.asyncIterator]() };
  }

  try {
    for (const { at, info, text } of blocks) {
      const [head = "", ...body] = text.split("\n\n");
      const [first = "", ...headers] = head.split("\n");
      if (info === "http" && first.startsWith("POST ")) {
        const path = first.slice(5);
        const method = WorkflowStateService.methods.find(({ name }) => path.endsWith(`/${name}`));
        if (method === undefined) throw new Error(`${at}: there is no RPC at ${path}`);
        if (method.methodKind === "unary") {
          const [name = "", value = ""] = headers[0]?.split(": ") ?? [];
          const response = await fetch(url + path, {
            method: "POST",
            headers: { [name]: value },
            body: body.join("\n\n"),
          });
          answer = { status: response.status, body: await response.json() };
        } else {
          stream = open(
            method,
            body
              .join("\n")
              .trim()
              .split("\n")
              .map((line) => JSON.parse(line)),
          );
          if (method.name === "WatchSessions")
            stream = { method, messages: await live(stream.messages, client) };
        }
      } else if (info === "json stream" && stream !== undefined) {
        const expected: unknown[] = JSON.parse(`[${text.trim().replaceAll("}\n{", "},\n{")}]`);
        const actual: unknown[] = [];
        while (actual.length < expected.length) {
          const { value } = await stream.messages.next();
          actual.push(toJson(stream.method.output, value));
        }
        yield { at, actual: actual.map(settled), expected: expected.map(settled) };
      } else if (answer !== undefined && (info === "json" || info === "http")) {
        const status = info === "http" ? Number(first.split(" ")[1]) : 200;
        const expected = JSON.parse(info === "http" ? body.join("\n\n") : text);
        yield {
          at,
          actual: { status: answer.status, body: settled(answer.body) },
          expected: { status, body: settled(expected) },
        };
        answer = undefined;
      }
    }
  } finally {
    ended.abort();
    sessionManager.abort();
  }
}

const PROBE = "cart-probe";

/** A watch on sessions is silent until something happens: makes something happen until it is heard, and leaves that out. */
async function live(
  messages: AsyncIterator<object>,
  client: Client<typeof WorkflowStateService>,
): Promise<AsyncIterator<object>> {
  let heard = false;
  const first = messages.next().finally(() => {
    heard = true;
  });
  while (!heard) {
    await client.setState({
      sessionId: PROBE,
      key: "heard",
      value: { kind: { case: "boolValue", value: true } },
    });
  }
  await first;
  await client.deleteSession({ sessionId: PROBE });
  const isProbe = (message: object) => (message as WatchSessionsResponse).session?.sessionId === PROBE;
  return filtered({ [Symbol.asyncIterator]: () => messages }, (message) => !isProbe(message));
}

async function* filtered<T>(items: AsyncIterable<T>, wanted: (item: T) => boolean): AsyncGenerator<T> {
  for await (const item of items) if (wanted(item)) yield item;
}

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

/** The same without what is new every time: times, page tokens, the bytes of an error. */
export function settled(answer: unknown): unknown {
  return JSON.parse(JSON.stringify(answer), (name, value: unknown) => {
    if (name === "nextPageToken" && value !== "") return "…";
    if (typeof value !== "string") return value;
    return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$/.test(value) ? "(a time)" : value;
  });
}
