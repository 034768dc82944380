/**
 * Field numbers of Calico's felixbackend.proto for policies, profiles and their rules.
 *
 * A policy that this build cannot decide has its reasons beside it, which the wire has no place for.
 * HTTP matches are in the message, and the reader may know what to do with them; of anything else
 * only the decision can be sent: deny.
 */
import type {
  HttpMatch,
  IcmpMatch,
  Policy,
  PolicyId,
  PortRange,
  Profile,
  Protocol,
  Rule,
  RuleAction,
  ServiceAccountMatch,
  TierInfo,
} from "#policy";
import { inputError } from "#std";
import {
  bool,
  checkWire,
  field,
  int,
  list,
  message,
  nested,
  optionalList,
  optionalString,
  optionalStrings,
  required,
  string,
  stringMap,
  strings,
  unsent,
  type Codec,
  type Field,
} from "./fields.ts";
import { WIRE_BYTES, WIRE_VARINT, type WireReader } from "./wire.ts";

const policyId = message<PolicyId>({
  name: string(2),
  namespace: string(3),
  kind: string(4),
});

/** Felix's words for actions; a sender of old may say `pass`, or nothing for allow. */
const ACTIONS: Readonly<Record<string, RuleAction>> = {
  "": "allow",
  allow: "allow",
  deny: "deny",
  log: "log",
  pass: "next-tier",
  "next-tier": "next-tier",
};

const action: Field<RuleAction> = {
  ...field<RuleAction>(
    1,
    {
      wire: WIRE_BYTES,
      write: (out, value) => out.text(value),
      read: (from) => {
        const name = from.text();
        const known = Object.hasOwn(ACTIONS, name) ? ACTIONS[name] : undefined;
        if (known !== undefined) return known;
        throw inputError("bad-message", `rule action ${JSON.stringify(name)} is not known`);
      },
      json: (value) => value,
    },
    "" as RuleAction,
  ),
  absent: () => "allow",
};

/** Enum IPVersion: ANY 0, IPV4 4, IPV6 6. */
export function ipVersion(number: number): Field<4 | 6> {
  return {
    numbers: [number],
    write: (out, value) => {
      out.tag(number, WIRE_VARINT);
      out.varint(value);
    },
    read: (from, _, wire) => {
      checkWire(WIRE_VARINT, wire, number);
      const value = from.int32();
      if (value === 0) return undefined as unknown as 4 | 6;
      if (value === 4 || value === 6) return value;
      throw inputError("bad-message", `IP version ${value} is not known`, { fields: { value } });
    },
    absent: () => undefined,
    json: (out, name, value) => {
      out[name] = `IPV${value}`;
    },
  };
}

/** Oneof number_or_name. */
const protocol: Codec<Protocol> = {
  wire: WIRE_BYTES,
  write: (out, value) =>
    out.delimited(() => {
      if ("number" in value) {
        out.tag(1, WIRE_VARINT);
        out.varint(value.number);
      } else {
        out.tag(2, WIRE_BYTES);
        out.text(value.name);
      }
    }),
  read: (from) => {
    let value: Protocol | undefined;
    readFields(from, (number, wire) => {
      if (number === 1 && wire === WIRE_VARINT) value = { number: from.int32() };
      else if (number === 2 && wire === WIRE_BYTES) value = { name: from.text() };
      else from.skip(wire);
    });
    if (value !== undefined) return value;
    throw inputError("bad-message", "a protocol without number and name");
  },
  json: (value) => value,
};

function readFields(from: WireReader, take: (number: number, wire: number) => void): void {
  from.delimited(() => {
    while (!from.atEnd) {
      const { number, wire } = from.tag();
      take(number, wire);
    }
  });
}

interface TypeAndCode {
  readonly type: number;
  readonly code: number;
}
const typeAndCode = message<TypeAndCode>({ type: int(1), code: int(2) });

/** Oneof of the type alone and type with code: a code of 0 is another thing than none. */
function icmp(typeNumber: number, bothNumber: number): Field<IcmpMatch> {
  return {
    numbers: [typeNumber, bothNumber],
    write: (out, { type, code }) => {
      if (code === undefined) {
        out.tag(typeNumber, WIRE_VARINT);
        out.varint(type);
      } else {
        out.tag(bothNumber, WIRE_BYTES);
        typeAndCode.write(out, { type, code });
      }
    },
    read: (from, number, wire) => {
      checkWire(number === typeNumber ? WIRE_VARINT : WIRE_BYTES, wire, number);
      return number === typeNumber ? { type: from.int32() } : typeAndCode.read(from);
    },
    absent: () => undefined,
    json: (out, name, { type, code }) => {
      if (code === undefined) out[`${name}Type`] = type;
      else out[`${name}TypeCode`] = typeAndCode.json({ type, code });
    },
  };
}

const portRange = message<PortRange>({ first: int(1), last: int(2) });

const serviceAccountMatch = message<ServiceAccountMatch>({
  selector: string(1),
  names: strings(2),
});

type HttpPath = HttpMatch["paths"][number];

/** Oneof path_match. */
const httpPath: Codec<HttpPath> = {
  wire: WIRE_BYTES,
  write: (out, value) =>
    out.delimited(() => {
      out.tag("exact" in value ? 1 : 2, WIRE_BYTES);
      out.text("exact" in value ? value.exact : value.prefix);
    }),
  read: (from) => {
    // A path without either matches every path.
    let value: HttpPath = { prefix: "" };
    readFields(from, (number, wire) => {
      if (number === 1 && wire === WIRE_BYTES) value = { exact: from.text() };
      else if (number === 2 && wire === WIRE_BYTES) value = { prefix: from.text() };
      else from.skip(wire);
    });
    return value;
  },
  json: (value) => value,
};

const httpMatch = message<HttpMatch>({ methods: strings(1), paths: list(2, httpPath) });
const metadata = message<NonNullable<Rule["metadata"]>>({ annotations: stringMap(1) });

/** A rule as read, with the fields of it that a newer sender knows and we do not. */
interface WireRule extends Rule {
  readonly unknownFields?: readonly number[];
}

const rule = message<WireRule>(
  {
    action,
    ipVersion: ipVersion(2),
    protocol: nested(3, protocol),
    srcNet: optionalStrings(4),
    srcPorts: optionalList(5, portRange),
    dstNet: optionalStrings(6),
    dstPorts: optionalList(7, portRange),
    icmp: icmp(8, 9),
    srcIpSetIds: optionalStrings(10),
    dstIpSetIds: optionalStrings(11),
    srcNamedPortIpSetIds: optionalStrings(12),
    dstNamedPortIpSetIds: optionalStrings(13),
    dstIpPortSetIds: optionalStrings(15),
    notProtocol: nested(102, protocol),
    notSrcNet: optionalStrings(103),
    notSrcPorts: optionalList(104, portRange),
    notDstNet: optionalStrings(105),
    notDstPorts: optionalList(106, portRange),
    notIcmp: icmp(107, 108),
    notSrcIpSetIds: optionalStrings(109),
    notDstIpSetIds: optionalStrings(110),
    notSrcNamedPortIpSetIds: optionalStrings(112),
    notDstNamedPortIpSetIds: optionalStrings(113),
    originalSrcSelector: optionalString(114),
    originalDstSelector: optionalString(115),
    originalSrcNamespaceSelector: optionalString(116),
    originalDstNamespaceSelector: optionalString(117),
    originalNotSrcSelector: optionalString(118),
    originalNotDstSelector: optionalString(119),
    srcServiceAccountMatch: nested(120, serviceAccountMatch),
    dstServiceAccountMatch: nested(121, serviceAccountMatch),
    httpMatch: nested(122, httpMatch),
    metadata: nested(123, metadata),
    originalDstService: optionalString(130),
    originalDstServiceNamespace: optionalString(131),
    originalSrcService: optionalString(132),
    originalSrcServiceNamespace: optionalString(133),
    ruleId: string(201),
    unknownFields: unsent(),
  },
  {
    onRead: (value, unknown) =>
      unknown.length === 0 ? value : { ...value, unknownFields: unknown },
  },
);

const DENY: readonly Rule[] = [{ action: "deny", ruleId: "undecidable" }];
const HTTP_FIELD = /^spec\.\w+\[\d+\]\.http$/;

type RuleLists = Pick<Policy, "inboundRules" | "outboundRules" | "unsupported">;

function decided<T extends RuleLists>(lists: T): T {
  if ((lists.unsupported ?? []).every((path) => HTTP_FIELD.test(path))) return lists;
  return { ...lists, inboundRules: DENY, outboundRules: DENY };
}

/** What the rules ask for and this build cannot decide, as `unsupported` has it. */
function withUnsupported<T extends RuleLists>(lists: T): T {
  const unsupported = [
    ...unsupportedOf("ingress", lists.inboundRules),
    ...unsupportedOf("egress", lists.outboundRules),
  ];
  return unsupported.length === 0 ? lists : { ...lists, unsupported };
}

function unsupportedOf(direction: string, rules: readonly WireRule[]): readonly string[] {
  return rules.flatMap(({ httpMatch: http, unknownFields = [] }, index) => [
    ...(http === undefined ? [] : [`spec.${direction}[${index}].http`]),
    ...unknownFields.map((number) => `spec.${direction}[${index}].field${number}`),
  ]);
}

const policy = message<Policy>(
  {
    inboundRules: list(1, rule),
    outboundRules: list(2, rule),
    untracked: bool(3),
    preDnat: bool(4),
    namespace: string(5),
    originalSelector: string(6),
    perfHints: strings(7),
    tier: string(8),
    unsupported: unsent(),
  },
  { onWrite: decided, onRead: withUnsupported },
);

const profile = message<Profile>(
  { inboundRules: list(1, rule), outboundRules: list(2, rule), unsupported: unsent() },
  { onWrite: decided, onRead: withUnsupported },
);

/** Anything but Pass is Deny. */
const defaultAction: Field<TierInfo["defaultAction"]> = {
  ...field<TierInfo["defaultAction"]>(
    4,
    {
      wire: WIRE_BYTES,
      write: (out, value) => out.text(value),
      read: (from) => (from.text() === "Pass" ? "Pass" : "Deny"),
      json: (value) => value,
    },
    "" as TierInfo["defaultAction"],
  ),
  absent: () => "Deny",
};

export const tierInfo = message<TierInfo>({
  name: string(1),
  ingressPolicies: list(2, policyId),
  egressPolicies: list(3, policyId),
  defaultAction,
});

export const activePolicyUpdate = message<{ id: PolicyId; policy: Policy }>({
  id: required(1, policyId),
  policy: required(2, policy),
});
export const activePolicyRemove = message<{ id: PolicyId }>({ id: required(1, policyId) });

const profileId = message<{ name: string }>({ name: string(1) });
export const activeProfileUpdate = message<{ id: { name: string }; profile: Profile }>({
  id: required(1, profileId),
  profile: required(2, profile),
});
export const activeProfileRemove = message<{ id: { name: string } }>({
  id: required(1, profileId),
});
