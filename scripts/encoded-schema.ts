/**
 * Rewrites a .proto file of the public schema into the encoded one: wire-compatible, but a value is the bytes of
 * its `google.protobuf.Value`, and a map is a list of entries (a JS object would lose the key `__proto__`).
 */
export function encodeSchema(source: string): string {
  const blocks: string[] = [];
  // Comments and strings come first, so that nothing inside them is taken for a field.
  const tokens =
    /\/\/.*|\/\*[\s\S]*?\*\/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\boneof\s+\w+\s*\{|[{}]|\bmap\s*<\s*string\s*,\s*(?<mapped>string|\.?google\.protobuf\.Value)\s*>|(?:\b(?<label>repeated|optional)\s+)?(?<![\w.])\.?google\.protobuf\.Value(?=\s+\w+\s*=)/g;
  const rewritten = source.replace(tokens, (token: string, ...rest: unknown[]): string => {
    const { mapped, label } = rest.at(-1) as { mapped?: string; label?: string };
    if (token.startsWith("/") || token.startsWith('"') || token.startsWith("'")) {
      return token;
    }
    if (token === "}") {
      blocks.pop();
      return token;
    }
    if (token.endsWith("{")) {
      blocks.push(token.startsWith("oneof") ? "oneof" : "other");
      return token;
    }
    if (mapped !== undefined) {
      return mapped === "string" ? "repeated StringEntry" : "repeated EncodedEntry";
    }
    // A message field has presence, a plain bytes field has not: `optional` keeps it. A oneof has its own.
    return label === "repeated" ? "repeated bytes" : blocks.at(-1) === "oneof" ? "bytes" : "optional bytes";
  });
  const code = withoutComments(rewritten);
  const complete = /\bmessage\s+Session\s*\{/.test(code)
    ? `${rewritten.trimEnd()}\n${ENTRY_MESSAGES}`
    : rewritten;
  return /\bgoogle\.protobuf\.(?:Value|Struct|ListValue|NullValue)\b/.test(code)
    ? complete
    : complete.replace(/^import\s+"google\/protobuf\/struct\.proto";\n/m, "");
}

const ENTRY_MESSAGES = `
// An entry of a map whose values are google.protobuf.Value: wire-compatible with it.
message EncodedEntry {
  // The key.
  string key = 1;
  // The value, as the bytes of its google.protobuf.Value.
  bytes value = 2;
}

// An entry of a map of strings: wire-compatible with it.
message StringEntry {
  // The key.
  string key = 1;
  // The value.
  string value = 2;
}
`;

function withoutComments(source: string): string {
  return source.replace(/\/\/.*|\/\*[\s\S]*?\*\//g, "");
}
