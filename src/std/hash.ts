/**
 * Digests and the names derived from them. Calico's names of IP sets, chains and interfaces are
 * content hashes, so equal input must give equal bytes here and there. Only importer of
 * `@noble/hashes`: pure code, the same in agent and browser.
 */
import { sha1 as nobleSha1 } from "@noble/hashes/legacy.js";
import { sha224 as nobleSha224, sha256 as nobleSha256 } from "@noble/hashes/sha2.js";
import { bug } from "./errors.ts";

/** Strings are hashed as UTF-8. */
export type HashInput = string | Uint8Array;

const utf8Encoder = new TextEncoder();
const BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const HEX_OF_BYTE: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  byte.toString(16).padStart(2, "0"),
);

export function utf8Bytes(text: string): Uint8Array {
  return utf8Encoder.encode(text);
}

/** 20 bytes. For names only (Calico's interface names and tunnel MACs), never for security. */
export function sha1(input: HashInput): Uint8Array {
  return nobleSha1(bytesOf(input));
}

/** 28 bytes. */
export function sha224(input: HashInput): Uint8Array {
  return nobleSha224(bytesOf(input));
}

/** 32 bytes. */
export function sha256(input: HashInput): Uint8Array {
  return nobleSha256(bytesOf(input));
}

/** RFC 4648 §5 alphabet, without padding. */
export function base64Url(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const word = ((bytes[i] ?? 0) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
    text += BASE64URL.charAt(word >> 18) + BASE64URL.charAt((word >> 12) & 63);
    if (left > 1) text += BASE64URL.charAt((word >> 6) & 63);
    if (left > 2) text += BASE64URL.charAt(word & 63);
  }
  return text;
}

/** Lower-case, two digits per byte. */
export function hex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += HEX_OF_BYTE[byte] ?? "";
  return text;
}

/** `<prefix>:<base64url(SHA-224(prefix:content))>`: the id of an IP set or selector. */
export function makeUniqueId(prefix: string, content: string): string {
  return `${prefix}:${base64Url(sha224(`${prefix}:${content}`))}`;
}

/**
 * `prefix + suffix` where that fits into `maxLen` characters; otherwise the suffix is replaced by
 * `_` and as much of its SHA-256 as fits. A suffix that begins with `_` and fits exactly is hashed
 * too, since it could otherwise equal a hashed one. An empty suffix gives `_`.
 */
export function lengthLimitedId(prefix: string, suffix: string, maxLen: number): string {
  const room = maxLen - prefix.length;
  if (room < 2) throw bug("no room for a name after its prefix", { prefix, maxLen });
  if (suffix === "") return `${prefix}_`;
  const suffixLen = utf8Bytes(suffix).length;
  if (suffixLen > room || (suffixLen === room && suffix.startsWith("_"))) {
    return `${prefix}_${base64Url(sha256(suffix))}`.slice(0, maxLen);
  }
  return prefix + suffix;
}

function bytesOf(input: HashInput): Uint8Array {
  return typeof input === "string" ? utf8Bytes(input) : input;
}
