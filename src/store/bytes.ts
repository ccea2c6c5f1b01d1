/**
 * Text and octets. Paths, tokens and permissions are octet strings whose bytes are the characters 0 to 255 (`latin1`), so
 * that whatever a client sent comes back unchanged; values are octets, which people's tools read as UTF-8.
 */

export function latin1(bytes: Uint8Array, from = 0, to = bytes.length): string {
  let text = '';
  // In pieces: the arguments of a call live on the stack.
  for (let at = from; at < to; at += 1024) text += String.fromCharCode(...bytes.subarray(at, Math.min(to, at + 1024)));
  return text;
}

export function fromLatin1(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

export function fromUtf8(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of text) {
    let code = character.codePointAt(0)!;
    if (code >= 0xd800 && code < 0xe000) code = 0xfffd; // Half of a surrogate pair stands for no character.
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63));
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
    else bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
  }
  return Uint8Array.from(bytes);
}

/** Octets that are no UTF-8 become U+FFFD, one each. */
export function utf8(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; ) {
    const lead = bytes[at]!;
    const more = lead < 0x80 ? 0 : lead < 0xc2 ? -1 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : lead < 0xf5 ? 3 : -1;
    let code = more === 0 ? lead : lead & (0x3f >> more);
    let good = more >= 0 && at + more < bytes.length;
    for (let i = 1; good && i <= more; i++) {
      const next = bytes[at + i]!;
      good = (next & 0xc0) === 0x80;
      code = (code << 6) | (next & 63);
    }
    // Longer than needed, a surrogate, or beyond the last character.
    if ((more === 2 && code < 0x800) || (more === 3 && (code < 0x10000 || code > 0x10ffff))) good = false;
    if (code >= 0xd800 && code < 0xe000) good = false;
    text += String.fromCodePoint(good ? code : 0xfffd);
    at += good ? more + 1 : 1;
  }
  return text;
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
