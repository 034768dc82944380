/**
 * Messages as tables: each property of one of our objects is declared with its field number and
 * kind, and from that comes writing, reading and the JSON form. The compiler checks that a table has
 * every property of its type, so that a message cannot gain a field that is not sent.
 *
 * Proto3: what equals its default is not written, and what is not there reads as its default.
 */
import { inputError } from "#std";
import { WIRE_BYTES, WIRE_VARINT, type WireReader, type WireWriter } from "./wire.ts";

/** A value by itself: a member of a list, a key or value of a map, the content of a field. */
export interface Codec<T> {
  readonly wire: number;
  write(out: WireWriter, value: T): void;
  read(from: WireReader): T;
  json(value: T): unknown;
}

/** One property of a message; it may stand for several field numbers (a oneof). */
export interface Field<T> {
  readonly numbers: readonly number[];
  /** Nothing when the value is the default. */
  write(out: WireWriter, value: T): void;
  /** `before`: what an earlier occurrence gave. */
  read(from: WireReader, number: number, wire: number, before: T | undefined): T;
  /** Of a message that lacks the field; undefined: the property is left out. */
  readonly absent: () => T | undefined;
  /** Adds nothing when the value is the default. */
  json(out: Record<string, unknown>, name: string, value: T): void;
}

type Fields<T> = { readonly [K in keyof T]-?: Field<Exclude<T[K], undefined>> };

const text: Codec<string> = {
  wire: WIRE_BYTES,
  write: (out, value) => out.text(value),
  read: (from) => from.text(),
  json: (value) => value,
};

const int32: Codec<number> = {
  wire: WIRE_VARINT,
  write: (out, value) => out.varint(value),
  read: (from) => from.int32(),
  json: (value) => value,
};

const boolean: Codec<boolean> = {
  wire: WIRE_VARINT,
  write: (out, value) => out.varint(value ? 1 : 0),
  read: (from) => from.varint() !== 0,
  json: (value) => value,
};

const WIRE_64 = 1;
const float64: Codec<number> = {
  wire: WIRE_64,
  write: (out, value) => out.double(value),
  read: (from) => from.double(),
  json: (value) => value,
};

export function checkWire(expected: number, wire: number, number: number): void {
  if (wire === expected) return;
  throw inputError("bad-message", `field ${number} has wire type ${wire} instead of ${expected}`, {
    fields: { field: number },
  });
}

export function field<T>(number: number, codec: Codec<T>, fallback: T): Field<T> {
  return {
    numbers: [number],
    write: (out, value) => {
      if (value === fallback) return;
      out.tag(number, codec.wire);
      codec.write(out, value);
    },
    read: (from, _, wire) => {
      checkWire(codec.wire, wire, number);
      return codec.read(from);
    },
    absent: () => fallback,
    json: (out, name, value) => {
      if (value !== fallback) out[name] = codec.json(value);
    },
  };
}

export const string = (number: number): Field<string> => field(number, text, "");
export const bool = (number: number): Field<boolean> => field(number, boolean, false);
export const int = (number: number): Field<number> => field(number, int32, 0);
export const double = (number: number): Field<number> => field(number, float64, 0);

/** Not there when it is empty. */
export function optionalString(number: number): Field<string> {
  return { ...string(number), absent: () => undefined };
}

/** Names by number; the first must be 0's. */
export function enumeration<N extends string>(
  number: number,
  name: string,
  numbers: Readonly<Record<N, number>>,
): Field<N> {
  const entries = Object.entries(numbers) as [N, number][];
  const nameOf = new Map(entries.map(([key, value]) => [value, key]));
  const codec: Codec<N> = {
    wire: WIRE_VARINT,
    write: (out, value) => out.varint(numbers[value]),
    read: (from) => {
      const value = from.int32();
      const known = nameOf.get(value);
      if (known !== undefined) return known;
      throw inputError("bad-message", `${name} ${value} is not known`, {
        fields: { enum: name, value },
      });
    },
    json: (value) => value,
  };
  return field(number, codec, nameOf.get(0) as N);
}

/** Values that are or-ed together; in JSON a name when one alone is it. */
export function bitmap(number: number, names: Readonly<Record<string, number>>): Field<number> {
  const codec: Codec<number> = {
    ...int32,
    json: (value) => Object.keys(names).find((name) => names[name] === value) ?? value,
  };
  return field(number, codec, 0);
}

export function list<T>(number: number, codec: Codec<T>): Field<readonly T[]> {
  return {
    numbers: [number],
    write: (out, values) => {
      for (const value of values) {
        out.tag(number, codec.wire);
        codec.write(out, value);
      }
    },
    read: (from, _, wire, before) => {
      checkWire(codec.wire, wire, number);
      const values = (before ?? []) as T[];
      values.push(codec.read(from));
      return values;
    },
    absent: () => [],
    json: (out, name, values) => {
      if (values.length > 0) out[name] = values.map((value) => codec.json(value));
    },
  };
}

export const strings = (number: number): Field<readonly string[]> => list(number, text);

/** Ours alone: not on the wire. */
export function unsent<T>(): Field<T> {
  return {
    numbers: [],
    write: () => undefined,
    read: () => undefined as T,
    absent: () => undefined,
    json: () => undefined,
  };
}

/** Not there when it is empty. */
export function optionalList<T>(number: number, codec: Codec<T>): Field<readonly T[]> {
  return { ...list(number, codec), absent: () => undefined };
}

export function optionalStrings(number: number): Field<readonly string[]> {
  return optionalList(number, text);
}

/** Written also when it is empty: a message's presence says something. */
export function nested<T>(number: number, codec: Codec<T>): Field<T> {
  return {
    numbers: [number],
    write: (out, value) => {
      out.tag(number, WIRE_BYTES);
      codec.write(out, value);
    },
    read: (from, _, wire) => {
      checkWire(WIRE_BYTES, wire, number);
      return codec.read(from);
    },
    absent: () => undefined,
    json: (out, name, value) => {
      out[name] = codec.json(value);
    },
  };
}

/** A property that our objects always have; a sender that leaves it out means an empty one. */
export function required<T>(number: number, codec: MessageCodec<T>): Field<T> {
  return { ...nested(number, codec), absent: () => codec.empty() };
}

export function stringMap(number: number): Field<Readonly<Record<string, string>>> {
  return mapField(number, text, text, "", "");
}

export function optionalMap<V>(
  number: number,
  values: MessageCodec<V>,
): Field<Readonly<Record<number, V>>> {
  const all = mapField<number, V>(number, int32, values, 0, undefined, () => values.empty());
  return { ...all, absent: () => undefined };
}

/** Entries are messages with the key as field 1 and the value as field 2. */
function mapField<K extends string | number, V>(
  number: number,
  keys: Codec<K>,
  values: Codec<V>,
  noKey: K,
  noValue: V | undefined,
  empty: () => V = () => noValue as V,
): Field<Readonly<Record<K, V>>> {
  const readEntry = (from: WireReader, into: Record<K, V>): void => {
    let key = noKey;
    let value: V | undefined;
    while (!from.atEnd) {
      const tag = from.tag();
      if (tag.number === 1 && tag.wire === keys.wire) key = keys.read(from);
      else if (tag.number === 2 && tag.wire === values.wire) value = values.read(from);
      else from.skip(tag.wire);
    }
    into[key] = value ?? empty();
  };
  const entries = (value: Readonly<Record<K, V>>): [K, V][] =>
    Object.entries(value).map(([key, member]) => [
      (typeof noKey === "number" ? Number(key) : key) as K,
      member as V,
    ]);
  return {
    numbers: [number],
    write: (out, value) => {
      for (const [key, member] of entries(value)) {
        out.tag(number, WIRE_BYTES);
        out.delimited(() => {
          out.tag(1, keys.wire);
          keys.write(out, key);
          out.tag(2, values.wire);
          values.write(out, member);
        });
      }
    },
    read: (from, _, wire, before) => {
      checkWire(WIRE_BYTES, wire, number);
      // No prototype: a key may have any name.
      const into = (before ?? Object.create(null)) as Record<K, V>;
      from.delimited(() => readEntry(from, into));
      return into;
    },
    absent: () => Object.create(null) as Record<K, V>,
    json: (out, name, value) => {
      const all = entries(value);
      if (all.length === 0) return;
      out[name] = Object.fromEntries(all.map(([key, member]) => [key, values.json(member)]));
    },
  };
}

export interface MessageCodec<T> extends Codec<T> {
  /** With every field at its default. */
  empty(): T;
}

interface MessageHooks<T> {
  /** What is written instead. */
  readonly onWrite?: (value: T) => T;
  /** What was read becomes; with the numbers of the fields that the table lacks. */
  readonly onRead?: (value: T, unknown: readonly number[]) => T;
}

/** Fields are written by ascending number, and oneofs after the others, as Felix writes them. */
export function message<T extends object>(
  fields: Fields<T>,
  { onWrite, onRead }: MessageHooks<T> = {},
): MessageCodec<T> {
  type Entry = { readonly name: string; readonly field: Field<unknown> };
  const entries: Entry[] = Object.entries(fields).map(([name, declared]) => ({
    name,
    field: declared as Field<unknown>,
  }));
  const first = ({ field: { numbers } }: Entry): number => numbers[0] ?? 0;
  const inOrder = entries.toSorted(
    (a, b) =>
      Number(a.field.numbers.length > 1) - Number(b.field.numbers.length > 1) ||
      first(a) - first(b),
  );
  const byNumber = new Map(
    entries.flatMap((entry) => entry.field.numbers.map((number) => [number, entry] as const)),
  );
  const readAll = (from: WireReader): T => {
    const value: Record<string, unknown> = {};
    const unknown: number[] = [];
    while (!from.atEnd) {
      const { number, wire } = from.tag();
      const entry = byNumber.get(number);
      if (entry === undefined) {
        unknown.push(number);
        from.skip(wire);
        continue;
      }
      const member = entry.field.read(from, number, wire, value[entry.name]);
      if (member !== undefined) value[entry.name] = member;
    }
    const whole = complete(value, entries) as T;
    return onRead === undefined ? whole : onRead(whole, unknown);
  };
  return {
    wire: WIRE_BYTES,
    write: (out, value) =>
      out.delimited(() => {
        const written = (onWrite === undefined ? value : onWrite(value)) as Record<string, unknown>;
        for (const { name, field: declared } of inOrder) {
          const member = written[name];
          if (member !== undefined) declared.write(out, member);
        }
      }),
    read: (from) => from.delimited(() => readAll(from)),
    json: (value) => {
      const out: Record<string, unknown> = {};
      for (const { name, field: declared } of entries) {
        const member = (value as Record<string, unknown>)[name];
        if (member !== undefined) declared.json(out, name, member);
      }
      return out;
    },
    empty: () => complete({}, entries) as T,
  };
}

function complete(
  value: Record<string, unknown>,
  entries: readonly { readonly name: string; readonly field: Field<unknown> }[],
): Record<string, unknown> {
  for (const { name, field: declared } of entries) {
    if (Object.hasOwn(value, name)) continue;
    const absent = declared.absent();
    if (absent !== undefined) value[name] = absent;
  }
  return value;
}
