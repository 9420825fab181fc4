/** How answers in JSON are read, by every transport of ours: with their keys as they are. */
import type { Interceptor } from "@connectrpc/connect";
import { jsonText, restoreKeys } from "../wire/json-keys.ts";

/** What a transport for JSON is made with, so that it reads keys as they are. */
export const jsonAnswers: {
  readonly jsonOptions: { readonly textDecoder: typeof jsonText; readonly ignoreUnknownFields: true };
  readonly interceptors: Interceptor[];
} = {
  jsonOptions: { textDecoder: jsonText, ignoreUnknownFields: true },
  interceptors: [
    (next) => async (request) => {
      const answer = await next(request);
      if (answer.stream) return { ...answer, message: eachRestored(answer.message) };
      restoreKeys(answer.message);
      return answer;
    },
  ],
};

/** What a transport for JSON by fetch needs beside: connect reads answers of unary calls by `json()`, not by its decoder. */
export async function fetchJson(...[input, init]: Parameters<typeof fetch>): Promise<Response> {
  const response = await fetch(input, init);
  const json = async (): Promise<unknown> =>
    JSON.parse(jsonText.decode(new Uint8Array(await response.arrayBuffer())));
  return Object.defineProperty(response, "json", { value: json });
}

async function* eachRestored<T extends object>(messages: AsyncIterable<T>): AsyncGenerator<T> {
  for await (const message of messages) {
    restoreKeys(message);
    yield message;
  }
}
