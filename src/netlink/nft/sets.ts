/**
 * Sets and maps: their declaration in the kernel's terms, and their elements held compactly. Keys of
 * four bytes are numbers, others strings of bytes; values are what belongs to a key: the range's end
 * and the map's data. 100,000 addresses take about 3 MB.
 */
import { inputError } from "#std";
import type { NetlinkWriter } from "../writer.ts";
import {
  NFT_DATA_VERDICT,
  NFT_SET_CONCAT,
  NFT_SET_INTERVAL,
  NFT_SET_MAP,
  NFTA_LIST_ELEM,
  NFTA_SET,
  NFTA_SET_DESC,
  NFTA_SET_FIELD_LEN,
  UDATA_SET,
} from "./constants.ts";
import { commentTriple } from "./rule.ts";
import type { KeyType, NftSet } from "./types.ts";

const HOST_ENDIAN = 1;
const BIG_ENDIAN = 2;
const MIXED = 0;

interface Datatype {
  /** enum datatypes in nft's datatype.h; only for `nft list`. */
  readonly number: number;
  /** Bytes */
  readonly len: number;
  readonly byteOrder: number;
}

const DATATYPES: Readonly<Record<KeyType, Datatype>> = {
  ipv4_addr: { number: 7, len: 4, byteOrder: BIG_ENDIAN },
  ipv6_addr: { number: 8, len: 16, byteOrder: BIG_ENDIAN },
  ether_addr: { number: 9, len: 6, byteOrder: BIG_ENDIAN },
  inet_proto: { number: 12, len: 1, byteOrder: BIG_ENDIAN },
  inet_service: { number: 13, len: 2, byteOrder: BIG_ENDIAN },
  icmp_type: { number: 14, len: 1, byteOrder: BIG_ENDIAN },
  mark: { number: 19, len: 4, byteOrder: HOST_ENDIAN },
  icmpv6_type: { number: 29, len: 1, byteOrder: BIG_ENDIAN },
  ifname: { number: 41, len: 16, byteOrder: HOST_ENDIAN },
};

/** nft writes the types of a concatenation as one number, six bits each. */
const TYPE_BITS = 6;

const SIZED_FROM = 16_384;

/** A set's declaration as the kernel keeps it; two sets with equal `signature` are interchangeable. */
export interface SetLayout {
  readonly flags: number;
  readonly keyType: number;
  /** Bytes of a key as the kernel wants it. */
  readonly keyLen: number;
  /** 0 if it is not a map. */
  readonly dataType: number;
  readonly dataLen: number;
  /** Bytes of each field; only for ranges over concatenations. */
  readonly fieldLens: readonly number[];
  readonly signature: string;
}

const pad4 = (length: number): number => (length + 3) & ~3;

/** Throws an input error when nf_tables has no such set. */
export function layoutOf(set: NftSet): SetLayout {
  const fields = set.key.map((type) => DATATYPES[type]);
  const [first] = fields;
  if (first === undefined) throw inputError("bad-set", `set ${set.name} has no key`);
  const concat = fields.length > 1;
  const interval = set.interval === true;
  const flags =
    (interval ? NFT_SET_INTERVAL : 0) |
    (set.data === undefined ? 0 : NFT_SET_MAP) |
    (concat && interval ? NFT_SET_CONCAT : 0);
  return withSignature({
    flags,
    keyType: fields.reduce((sum, { number }) => (sum << TYPE_BITS) | number, 0),
    keyLen: concat ? fields.reduce((sum, { len }) => sum + pad4(len), 0) : first.len,
    dataType: dataTypeOf(set.data),
    dataLen: set.data === undefined || set.data === "verdict" ? 0 : DATATYPES[set.data].len,
    fieldLens: concat && interval ? fields.map(({ len }) => len) : [],
  });
}

function dataTypeOf(data: NftSet["data"]): number {
  if (data === undefined) return 0;
  return data === "verdict" ? NFT_DATA_VERDICT : DATATYPES[data].number;
}

export function withSignature(layout: Omit<SetLayout, "signature">): SetLayout {
  const { flags, keyType, keyLen, dataType, dataLen, fieldLens } = layout;
  // A verdict's length is left to the kernel, which reports its own.
  const len = dataType === NFT_DATA_VERDICT ? 0 : dataLen;
  const parts = [flags, keyType >>> 0, keyLen, dataType, len, ...fieldLens];
  return { ...layout, signature: parts.join(" ") };
}

/**
 * A hash table whose size is declared is filled 2.5 times as fast as one that has to grow, but can
 * hold no more than that; a set that outgrows it is made anew. So only big sets get one, with room
 * to double. 0: none declared.
 */
export function capacityFor(layout: SetLayout, elements: number): number {
  if (elements < SIZED_FROM || (layout.flags & NFT_SET_INTERVAL) !== 0) return 0;
  return 2 ** Math.ceil(Math.log2(elements * 2));
}

/** The attributes of NEWSET after the table's name. */
export function encodeSet(
  writer: NetlinkWriter,
  set: NftSet,
  layout: SetLayout,
  id: number,
  capacity: number,
): void {
  writer.attrString(NFTA_SET.name, set.name);
  writer.attrU32Be(NFTA_SET.flags, layout.flags);
  writer.attrU32Be(NFTA_SET.keyType, layout.keyType);
  writer.attrU32Be(NFTA_SET.keyLen, layout.keyLen);
  if (layout.dataType !== 0) {
    writer.attrU32Be(NFTA_SET.dataType, layout.dataType);
    writer.attrU32Be(NFTA_SET.dataLen, layout.dataLen);
  }
  writer.attrU32Be(NFTA_SET.id, id);
  encodeDescription(writer, layout, capacity);
  writer.attrBytes(NFTA_SET.userdata, setUserdata(set));
}

function encodeDescription(writer: NetlinkWriter, layout: SetLayout, capacity: number): void {
  if (layout.fieldLens.length === 0 && capacity === 0) return;
  const desc = writer.beginNested(NFTA_SET.desc);
  if (capacity > 0) writer.attrU32Be(NFTA_SET_DESC.size, capacity);
  if (layout.fieldLens.length > 0) {
    const concat = writer.beginNested(NFTA_SET_DESC.concat);
    for (const len of layout.fieldLens) {
      const field = writer.beginNested(NFTA_LIST_ELEM);
      writer.attrU32Be(NFTA_SET_FIELD_LEN, len);
      writer.endNested(field);
    }
    writer.endNested(concat);
  }
  writer.endNested(desc);
}

/** What `nft list` needs to print keys and data the right way round, and the comment. */
function setUserdata(set: NftSet): Uint8Array {
  const [first] = set.key;
  const order = set.key.length === 1 && first !== undefined ? DATATYPES[first].byteOrder : MIXED;
  const parts: Uint8Array[] = [byteOrderTriple(UDATA_SET.keyByteOrder, order)];
  if (set.data !== undefined) {
    const dataOrder = set.data === "verdict" ? MIXED : DATATYPES[set.data].byteOrder;
    parts.push(byteOrderTriple(UDATA_SET.dataByteOrder, dataOrder));
  }
  if (set.comment !== undefined && set.comment !== "") {
    parts.push(commentTriple(UDATA_SET.comment, set.comment));
  }
  return Buffer.concat(parts);
}

function byteOrderTriple(type: number, order: number): Uint8Array {
  return Buffer.concat([Uint8Array.of(type, 4), new Uint8Array(Uint32Array.of(order).buffer)]);
}
