/**
 * Elements in memory and on the wire. An interval set's element is two in the kernel: its first
 * value, and the first value after it with NFT_SET_ELEM_INTERVAL_END. Over a concatenation
 * (pipapo) it is one, with the last value of each field in NFTA_SET_ELEM_KEY_END.
 */
import { inputError } from "#std";
import type { NetlinkReader } from "../reader.ts";
import { NetlinkWriter } from "../writer.ts";
import {
  NFT_DATA_VERDICT,
  NFT_SET_CONCAT,
  NFT_SET_ELEM_CATCHALL,
  NFT_SET_ELEM_INTERVAL_END,
  NFT_SET_INTERVAL,
  NFTA_DATA_VALUE,
  NFTA_LIST_ELEM,
  NFTA_SET_ELEM,
  NFTA_SET_ELEM_LIST,
} from "./constants.ts";
import { decodeValue, decodeVerdict } from "./expr-decode.ts";
import { encodeVerdict } from "./expr-encode.ts";
import type { SetLayout } from "./sets.ts";
import type { NftElement, PackedBytes, Verdict } from "./types.ts";

export type ElementKey = PackedBytes;
/**
 * Set: "". Map: its data, four bytes as a number, others as the bytes of NFTA_SET_ELEM_DATA. Interval: one
 * code unit for the length of the end, the end, the data.
 */
export type ElementValue = number | string;
export type Elements = Map<ElementKey, ElementValue>;

/** nft's `*`: matches when nothing else does. This program never writes it, but must delete it. */
const CATCHALL: ElementKey = "catchall";

const NO_VALUE = "";
const scratch = new NetlinkWriter(512);

export function elementKey(layout: SetLayout, key: NftElement["key"]): ElementKey {
  if (typeof key !== "object") return key;
  return layout.keyLen === 4 ? beNumber(key) : latin1(key, layout.keyLen);
}

function beNumber(bytes: Uint8Array): number {
  return (
    ((bytes[0] ?? 0) << 24) | ((bytes[1] ?? 0) << 16) | ((bytes[2] ?? 0) << 8) | (bytes[3] ?? 0)
  );
}

function keyText(layout: SetLayout, element: NftElement): string {
  const key = elementKey(layout, element.key);
  return typeof key === "number" ? latin1Number(key) : key;
}

/** Throws an input error when the key or data do not fit the set. */
export function checkElement(name: string, layout: SetLayout, element: NftElement): void {
  const length = typeof element.key === "number" ? 4 : element.key.length;
  const bad =
    badLength(layout, length) ||
    (element.end !== undefined && badLength(layout, element.end.length)) ||
    (element.end !== undefined && (layout.flags & NFT_SET_INTERVAL) === 0) ||
    (element.data === undefined) !== (layout.dataType === 0) ||
    (element.data instanceof Uint8Array && element.data.length !== layout.dataLen);
  if (bad) {
    throw inputError("bad-element", `element does not fit set ${name}`, {
      fields: { set: name, keyLength: length, wanted: layout.keyLen },
    });
  }
}

/** A single field may come padded to four bytes. */
function badLength(layout: SetLayout, length: number): boolean {
  return length !== layout.keyLen && length !== ((layout.keyLen + 3) & ~3);
}

export function elementValue(layout: SetLayout, element: NftElement): ElementValue {
  const data = dataValue(element.data);
  if ((layout.flags & NFT_SET_INTERVAL) === 0) return data;
  const text = typeof data === "number" ? latin1Number(data) : data;
  let end = "";
  if (element.end !== undefined) {
    end = latin1(element.end, layout.keyLen);
  } else if ((layout.flags & NFT_SET_CONCAT) !== 0) {
    end = keyText(layout, element);
  }
  return String.fromCharCode(end.length) + end + text;
}

function dataValue(data: NftElement["data"]): ElementValue {
  if (data === undefined) return NO_VALUE;
  if (data instanceof Uint8Array) return data.length === 4 ? beNumber(data) : valueBytes(data);
  return verdictBytes(data);
}

/** The bytes inside NFTA_SET_ELEM_DATA. */
function valueBytes(data: Uint8Array): string {
  scratch.reset();
  scratch.attrBytes(NFTA_DATA_VALUE, data);
  return scratch.latin1Since(0);
}

const SIMPLE_VERDICTS = new Map<string, string>();

/** The bytes inside NFTA_SET_ELEM_DATA. */
function verdictBytes(verdict: Verdict): string {
  const simple = verdict.kind !== "jump" && verdict.kind !== "goto";
  const known = simple ? SIMPLE_VERDICTS.get(verdict.kind) : undefined;
  if (known !== undefined) return known;
  scratch.reset();
  encodeVerdict(scratch, verdict);
  const bytes = scratch.latin1Since(0);
  if (simple) SIMPLE_VERDICTS.set(verdict.kind, bytes);
  return bytes;
}

function latin1(bytes: Uint8Array, length: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, length).toString("latin1");
}

function latin1Number(value: number): string {
  return String.fromCharCode(
    value >>> 24,
    (value >>> 16) & 0xff,
    (value >>> 8) & 0xff,
    value & 0xff,
  );
}

/** Writes one element of NEWSETELEM (or DELSETELEM, where data do not count). */
export function encodeElement(
  writer: NetlinkWriter,
  layout: SetLayout,
  key: ElementKey,
  value: ElementValue,
): void {
  if (key === CATCHALL) {
    const element = writer.beginNested(NFTA_LIST_ELEM);
    writer.attrU32Be(NFTA_SET_ELEM.flags, NFT_SET_ELEM_CATCHALL);
    writer.endNested(element);
    return;
  }
  const interval = (layout.flags & NFT_SET_INTERVAL) !== 0;
  const element = writer.beginNested(NFTA_LIST_ELEM);
  writeKey(writer, NFTA_SET_ELEM.key, key);
  if (!interval) {
    if (layout.dataType !== 0) writeData(writer, value);
    writer.endNested(element);
    return;
  }
  const text = String(value);
  const endLength = text.charCodeAt(0);
  const end = text.slice(1, 1 + endLength);
  const concat = (layout.flags & NFT_SET_CONCAT) !== 0;
  if (layout.dataType !== 0) writeIntervalData(writer, layout, text.slice(1 + endLength));
  if (concat) writeKey(writer, NFTA_SET_ELEM.keyEnd, end);
  writer.endNested(element);
  if (concat || end === "") return;
  const closing = writer.beginNested(NFTA_LIST_ELEM);
  writer.attrU32Be(NFTA_SET_ELEM.flags, NFT_SET_ELEM_INTERVAL_END);
  writeKey(writer, NFTA_SET_ELEM.key, end);
  writer.endNested(closing);
}

function writeKey(writer: NetlinkWriter, type: number, key: ElementKey): void {
  const nested = writer.beginNested(type);
  if (typeof key === "number") writer.attrU32Be(NFTA_DATA_VALUE, key);
  else writer.attrLatin1(NFTA_DATA_VALUE, key);
  writer.endNested(nested);
}

function writeData(writer: NetlinkWriter, value: ElementValue): void {
  const nested = writer.beginNested(NFTA_SET_ELEM.data);
  if (typeof value === "number") writer.attrU32Be(NFTA_DATA_VALUE, value);
  else writer.latin1(value);
  writer.endNested(nested);
}

function writeIntervalData(writer: NetlinkWriter, layout: SetLayout, data: string): void {
  if (layout.dataType === NFT_DATA_VERDICT || layout.dataLen !== 4) {
    writeData(writer, data);
    return;
  }
  const nested = writer.beginNested(NFTA_SET_ELEM.data);
  writer.attrLatin1(NFTA_DATA_VALUE, data);
  writer.endNested(nested);
}

interface WireElement {
  readonly flags: number;
  readonly key: ElementKey | undefined;
  readonly keyEnd: string;
  readonly data: ElementValue;
}

/**
 * Gathers the elements in the answers to a GETSETELEM dump. When the dump starts over they are wrong;
 * then the ruleset's generation is another too, and the reader forgets them.
 */
export class ElementsDecoder {
  readonly #layout: SetLayout;
  readonly #found: Elements = new Map();
  readonly #bounds: WireElement[] = [];
  #strange = false;

  constructor(layout: SetLayout) {
    this.#layout = layout;
  }

  /** The body of one message. */
  read(body: NetlinkReader): void {
    body.skip(4);
    while (body.nextAttr()) {
      if (body.attrType !== NFTA_SET_ELEM_LIST.elements) continue;
      const list = body.nested();
      while (list.nextAttr()) this.#add(decodeElement(list.nested(), this.#layout));
    }
  }

  #add(element: WireElement | undefined): void {
    const { flags } = this.#layout;
    if (element === undefined) this.#strange = true;
    else if (element.key === undefined) this.#found.set(CATCHALL, NO_VALUE);
    else if ((flags & NFT_SET_INTERVAL) === 0) this.#found.set(element.key, element.data);
    else if ((flags & NFT_SET_CONCAT) === 0) this.#bounds.push(element);
    else this.#found.set(element.key, joined(element.keyEnd, element.data));
  }

  /**
   * `undefined` when they are not such as this program writes (a range without its end, unknown
   * data): the set must be made anew.
   */
  elements(): Elements | undefined {
    if (this.#strange || !pairBounds(this.#bounds, this.#found)) return undefined;
    return this.#found;
  }
}

function decodeElement(reader: NetlinkReader, layout: SetLayout): WireElement | undefined {
  let flags = 0;
  let key: ElementKey | undefined;
  let keyEnd = "";
  let data: ElementValue = NO_VALUE;
  while (reader.nextAttr()) {
    if (reader.attrType === NFTA_SET_ELEM.flags) flags = reader.attrU32Be();
    else if (reader.attrType === NFTA_SET_ELEM.key) {
      key = decodeKey(reader.nested(), layout);
    } else if (reader.attrType === NFTA_SET_ELEM.keyEnd) {
      const bytes = decodeValue(reader.nested());
      if (bytes === undefined || bytes.length < layout.keyLen) return undefined;
      keyEnd = latin1(bytes, layout.keyLen);
    } else if (reader.attrType === NFTA_SET_ELEM.data) {
      const decoded = decodeData(reader.nested(), layout);
      if (decoded === undefined) return undefined;
      data = decoded;
    }
  }
  return { flags, key, keyEnd, data };
}

/** As `elementKey`, without a copy on the way. */
function decodeKey(data: NetlinkReader, layout: SetLayout): ElementKey | undefined {
  while (data.nextAttr()) {
    if (data.attrType !== NFTA_DATA_VALUE) continue;
    return layout.keyLen === 4 ? data.attrI32Be() : data.attrLatin1();
  }
  return undefined;
}

function decodeData(data: NetlinkReader, layout: SetLayout): ElementValue | undefined {
  if (layout.dataType === NFT_DATA_VERDICT) {
    const verdict = decodeVerdict(data);
    return verdict === undefined ? undefined : verdictBytes(verdict);
  }
  const bytes = decodeValue(data);
  return bytes === undefined ? undefined : dataValue(bytes);
}

function joined(end: string, data: ElementValue): string {
  return (
    String.fromCharCode(end.length) + end + (typeof data === "number" ? latin1Number(data) : data)
  );
}

/** False if starts and ends do not alternate. */
function pairBounds(bounds: WireElement[], into: Elements): boolean {
  const text = (key: ElementKey | undefined): string =>
    typeof key === "number" ? latin1Number(key) : (key ?? "");
  const isEnd = (bound: WireElement): boolean => (bound.flags & NFT_SET_ELEM_INTERVAL_END) !== 0;
  const sorted = bounds
    .map((bound) => ({ bound, at: text(bound.key), end: isEnd(bound) }))
    // Where one range ends and the next begins, the end comes first.
    .sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : Number(b.end) - Number(a.end)));
  let open: WireElement | undefined;
  for (const { bound, at, end } of sorted) {
    if (!end) {
      if (open !== undefined) return false;
      open = bound;
    } else if (open?.key !== undefined) {
      into.set(open.key, joined(at, open.data));
      open = undefined;
    } else if (/[^\0]/u.test(at)) {
      return false;
    }
    // nft closes the space below the first range with an end at zero; it means nothing.
  }
  if (open?.key !== undefined) into.set(open.key, joined("", open.data));
  return true;
}
