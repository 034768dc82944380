/** Ethernet (EUI-48) addresses. */
import { inputError } from "#std";

declare const macBrand: unique symbol;

/** Lower-case hex, two digits each, with colons. */
export type Mac = string & { readonly [macBrand]: true };

const MAC = /^[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}$/i;

/** Takes `:` or `-` between the bytes, either case. Throws `bad-mac`, an input error. */
export function parseMac(text: string): Mac {
  const mac = tryParseMac(text);
  if (mac !== undefined) return mac;
  throw inputError(
    "bad-mac",
    `${JSON.stringify(text)} is no MAC address, expected one like 0a:1b:2c:3d:4e:5f`,
    { fields: { text } },
  );
}

export function tryParseMac(text: string): Mac | undefined {
  return MAC.test(text) ? (text.toLowerCase().replaceAll("-", ":") as Mac) : undefined;
}

/** 6 bytes in the order of the wire. */
export function macBytes(mac: Mac): Uint8Array {
  return Uint8Array.from(mac.split(":"), (pair) => Number.parseInt(pair, 16));
}

export function macFromBytes(bytes: Uint8Array): Mac {
  if (bytes.length !== 6) throw inputError("bad-mac", `a MAC of ${bytes.length} bytes, not 6`);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":") as Mac;
}
