/**
 * Keys of JSON objects on their way through `JSON.parse`. V8 14.6 (Node.js 26, Chrome) misreads a key that has an escape in
 * the text: after `{"a":1,"\\":2}` it reads `{"a":1,"\n":2}` as if the second key were a backslash, and says nothing. So no
 * key with an escape reaches it: {@link jsonText} writes such keys otherwise, and {@link restoredKey} reads what it wrote.
 */
/** Begins an escape of ours. Unicode keeps this code point for such use, and for no text; one in a key is escaped too. */
const MARK = "\ufdd0";
/** What a key can't have as it is: what JSON needs a backslash for, and the mark. */
const UNSAFE = /["\\\p{Cc}\ufdd0]/gu;
const ESCAPED = /\ufdd0([0-9a-f]{4})/g;

const QUOTE = '"';
const BACKSLASH = "\\";
const utf8 = new TextDecoder("utf-8", { fatal: true });

/**
 * Reads UTF-8 as the text to give to `JSON.parse`, for connect's `jsonOptions.textDecoder`. The keys of what comes out of it
 * are restored with {@link restoredKey}. Throws a TypeError for what is no UTF-8; JSON that is malformed stays so.
 */
export const jsonText: { decode(bytes: Uint8Array): string } = {
  decode: (bytes) => withSafeKeys(utf8.decode(bytes)),
};

/** The key that was meant by one in a text of {@link jsonText}. */
export function restoredKey(key: string): string {
  return key.includes(MARK)
    ? key.replace(ESCAPED, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
    : key;
}

/** Restores the keys of all maps in a message, in place. */
export function restoreKeys(message: object): void {
  const marked: [key: string, value: unknown][] = [];
  for (const [key, value] of Object.entries(message)) {
    if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value)) restoreKeys(value);
    if (key.includes(MARK)) marked.push([key, value]);
  }
  // All are taken out before any is put back: one's name may be what another becomes.
  for (const [key] of marked) Reflect.deleteProperty(message, key);
  for (const [key, value] of marked) {
    Object.defineProperty(message, restoredKey(key), {
      value,
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
}

/** The same JSON with no backslash in any key; as it is where it is none. */
function withSafeKeys(json: string): string {
  const marked = json.includes(MARK);
  let backslash = json.indexOf(BACKSLASH);
  let safe = "";
  let copied = 0;
  let open = json.indexOf(QUOTE);
  while (open >= 0 && (marked || backslash >= 0)) {
    const close = closingQuote(json, open + 1);
    if (close < 0) return json;
    if (backslash >= 0 && backslash < open) backslash = json.indexOf(BACKSLASH, open);
    const suspect = marked || (backslash >= 0 && backslash < close);
    if (suspect && isKey(json, close + 1)) {
      const name = textOf(json.slice(open, close + 1));
      if (name === undefined) return json;
      safe += json.slice(copied, open + 1) + name.replace(UNSAFE, escapeOf);
      copied = close;
    }
    open = json.indexOf(QUOTE, close + 1);
  }
  return safe + json.slice(copied);
}

/** Where the string that begins at `start` ends; -1: nowhere. */
function closingQuote(json: string, start: number): number {
  let quote = json.indexOf(QUOTE, start);
  while (quote >= 0) {
    let before = quote;
    while (before > start && json[before - 1] === BACKSLASH) before--;
    if ((quote - before) % 2 === 0) return quote;
    quote = json.indexOf(QUOTE, quote + 1);
  }
  return quote;
}

/** Whether the string before `end` names a member. */
function isKey(json: string, end: number): boolean {
  let at = end;
  while (" \t\n\r".includes(json.charAt(at)) && at < json.length) at++;
  return json[at] === ":";
}

/** The text of a JSON string, which `JSON.parse` reads well where it is alone; `undefined`: it is malformed. */
function textOf(literal: string): string | undefined {
  try {
    return JSON.parse(literal) as string;
  } catch {
    return undefined;
  }
}

function escapeOf(character: string): string {
  return MARK + character.charCodeAt(0).toString(16).padStart(4, "0");
}
