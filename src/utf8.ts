/** Text as its bytes in UTF-8, which is what limits count. */

/** The bytes of a text in UTF-8; -1 if it has a lone surrogate. */
export function utf8Length(text: string): number {
  const length = text.length;
  let bytes = length;
  for (let i = 0; i < length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    if (unit < 0x800) {
      bytes += 1;
    } else if (unit < 0xd800 || unit > 0xdfff) {
      bytes += 2;
    } else {
      if (unit > 0xdbff || ++i === length) return -1;
      const low = text.charCodeAt(i);
      if (low < 0xdc00 || low > 0xdfff) return -1;
      bytes += 2;
    }
  }
  return bytes;
}
