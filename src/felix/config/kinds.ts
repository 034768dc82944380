/**
 * The types of Felix's parameters: how raw text (environment, file, datastore) becomes a value. Raw
 * text is all there is at the edge; a kind says no with a message that names what is allowed.
 * Durations are milliseconds inside, whatever unit the raw text has.
 */
import { inputError } from "#std";

export interface Kind<T> {
  /** What is allowed, for the documentation and for errors. */
  readonly schema: string;
  /** Throws MargayError `invalid-value`. */
  readonly parse: (raw: string) => T;
  /** What raw `none` means. */
  readonly zero: T;
  /** The value as raw text again. */
  show(value: T): string;
}

export interface Param<T> {
  readonly kind: Kind<T>;
  /** Raw text; "" means the kind's zero value. */
  readonly default: string;
  readonly doc: string;
  /** Not from the datastore: only environment and file. */
  readonly local: boolean;
  /** Raw `none` is refused. */
  readonly nonZero: boolean;
  /** A value that does not parse ends the agent instead of falling back to the default. */
  readonly dieOnFail: boolean;
  /** This build acts on it. Others are accepted, and named in the log when set. */
  readonly used: boolean;
  /** Field of FelixConfiguration when it is more than the name with another capitalisation. */
  readonly v3?: string;
}

export type ParamTable = Readonly<Record<string, Param<unknown>>>;

/** Space-separated words: `local`, `non-zero`, `die`, `used`, `v3=<field>`. */
export function param<T>(kind: Kind<T>, defaultRaw: string, flags: string, doc: string): Param<T> {
  const words = new Set(flags.split(" "));
  const v3 = /\bv3=(\w+)/.exec(flags)?.[1];
  return {
    kind,
    default: defaultRaw,
    doc,
    local: words.has("local"),
    nonZero: words.has("non-zero"),
    dieOnFail: words.has("die"),
    used: words.has("used"),
    ...(v3 === undefined ? {} : { v3 }),
  };
}

export function refuse(schema: string, raw: string): never {
  throw inputError("invalid-value", `${JSON.stringify(raw)} is not ${schema}`, {
    fields: { value: raw, allowed: schema },
  });
}

const TRUE = new Set(["true", "1", "yes", "y", "t"]);
const FALSE = new Set(["false", "0", "no", "n", "f"]);

function parseBool(raw: string): boolean {
  const word = raw.toLowerCase();
  if (TRUE.has(word)) return true;
  if (FALSE.has(word)) return false;
  return refuse("true or false", raw);
}

export const bool: Kind<boolean> = {
  schema: "true or false",
  zero: false,
  parse: parseBool,
  show: String,
};

export const optionalBool: Kind<boolean | undefined> = {
  schema: "true or false, or unset to decide from the IP pools",
  zero: undefined,
  parse: (raw) => (raw === "" ? undefined : parseBool(raw)),
  show: (value) => (value === undefined ? "" : String(value)),
};

export function int(min = -(2 ** 53 - 1), max = 2 ** 53 - 1): Kind<number> {
  const schema =
    min < -(2 ** 52)
      ? "an integer"
      : `an integer from ${min}${max > 2 ** 52 ? " up" : ` to ${max}`}`;
  return {
    schema,
    zero: 0,
    parse(raw) {
      // Go's strconv with base 0: decimal, 0x, 0o, 0b, sign.
      const match = /^([+-]?)(\d+|0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+)$/.exec(raw);
      if (match === null) return refuse(schema, raw);
      const value = Number(match[2]) * (match[1] === "-" ? -1 : 1);
      return value < min || value > max ? refuse(schema, raw) : value;
    },
    show: String,
  };
}

const MARK_MASK = "a 32-bit mask with at least 8 bits set";
export const markMask: Kind<number> = {
  schema: MARK_MASK,
  zero: 0,
  parse(raw) {
    const value = int(0, 0xff_ff_ff_ff).parse(raw);
    const bits = value.toString(2).replaceAll("0", "").length;
    return bits < 8 ? refuse(MARK_MASK, raw) : value;
  },
  show: (value) => `0x${value.toString(16)}`,
};

const GO_UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** Plain numbers are in the parameter's own unit; `1m30s` as in FelixConfiguration is understood too. */
function duration(unitMs: number, unitName: string): Kind<number> {
  const schema = `a number of ${unitName}`;
  return {
    schema,
    zero: 0,
    parse(raw) {
      if (/^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(raw)) return Number(raw) * unitMs;
      if (!/^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/.test(raw)) return refuse(schema, raw);
      let total = 0;
      for (const [, number, unit] of raw.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)) {
        total += Number(number) * (GO_UNITS[unit ?? ""] ?? Number.NaN);
      }
      return total;
    },
    show: (value) => String(value / unitMs),
  };
}

export const seconds = duration(1000, "seconds");
export const millis = duration(1, "milliseconds");

/** Case-insensitive; the value has the spelling given here. */
export function oneOf<const O extends string>(...options: readonly O[]): Kind<O | ""> {
  const schema = `one of ${options.join(", ")}`;
  return {
    schema,
    zero: "",
    parse: (raw) =>
      options.find((option) => option.toLowerCase() === raw.toLowerCase()) ?? refuse(schema, raw),
    show: (value) => value,
  };
}

export function matching(schema: string, pattern: RegExp): Kind<string> {
  return {
    schema,
    zero: "",
    parse: (raw) => (raw === "" || pattern.test(raw) ? raw : refuse(schema, raw)),
    show: (value) => value,
  };
}

export const text = matching("text", /^/);
export const hostname = matching("a host name", /^[a-zA-Z0-9_.-]+$/);
export const hostAddress = matching("a host name or address", /^[a-zA-Z0-9:._{}-]{1,64}$/);
export const authority = matching("host:port", /^[^:/]+:\d+$/);
export const ifaceList = matching(
  "a comma-separated list of interface names or prefixes",
  /^[a-zA-Z0-9_-]{1,15}(?:,[a-zA-Z0-9_-]{1,15})*$/,
);
export const ifaceParam = matching("an interface name or prefix+", /^[a-zA-Z0-9:._+-]{1,15}$/);
export const logRate = matching(
  "a rate such as 10/second",
  /^[1-9]\d{0,3}\/(?:second|minute|hour|day)$/,
);
/** A DNS-1123 label short enough for Calico's region prefix. */
export const region = matching(
  "a DNS label of at most 46 characters",
  /^[a-z0-9](?:[a-z0-9-]{0,44}[a-z0-9])?$/,
);

const REGEXP = "a regular expression";
export const regexp: Kind<RegExp | undefined> = {
  schema: REGEXP,
  zero: undefined,
  parse(raw) {
    try {
      return raw === "" ? undefined : new RegExp(raw);
    } catch {
      return refuse(REGEXP, raw);
    }
  },
  show: (value) => value?.source ?? "",
};
