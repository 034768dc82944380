/** A block's stored bytes, as Calico writes them. What is read is checked whole: a damaged block gives no address. */
import { compareIps, formatCidr, tryParseIpInNetwork, type Cidr } from "#ip";
import { inputError } from "#std";
import { blockSize, type Attribute, type Block } from "./block.ts";
import { Ordered, parseJson, recordOf, sortedMap, writeJson } from "./json.ts";

const KNOWN: ReadonlySet<string> = new Set([
  "cidr",
  "affinity",
  "affinity_claim_time",
  "allocations",
  "unallocated",
  "attributes",
  "sequenceNumber",
  "sequenceNumberForAllocation",
  "deleted",
  "hostAffinity",
]);

export function encodeBlock(block: Block): string {
  const numbers = [...block.allocatedAt].map(
    ([ordinal, number]) => [`${ordinal}`, number] as const,
  );
  return writeJson(
    new Ordered([
      ["cidr", formatCidr(block.cidr)],
      ["affinity", block.affinity],
      ["affinity_claim_time", block.claimTime],
      ["allocations", block.allocations],
      ["unallocated", block.unallocated],
      ["attributes", block.attributes.map(attributeFields)],
      ["sequenceNumber", block.sequenceNumber],
      ["sequenceNumberForAllocation", sortedMap(numbers)],
      ["deleted", block.deleted],
      ...block.unknown,
    ]),
  );
}

/** Throws `bad-block` for what is no block, or not that of `cidr`. */
export function decodeBlock(text: string, cidr: Cidr): Block {
  const fields = recordOf(parseJson(text));
  if (fields === undefined) throw badBlock(cidr, "it is no object");
  const own = tryParseIpInNetwork(String(fields["cidr"]))?.cidr;
  if (own === undefined || compareIps(own, cidr) !== 0 || own.prefixLen !== cidr.prefixLen) {
    throw badBlock(cidr, `its cidr is ${String(fields["cidr"])}`);
  }
  const attributes = listOf(fields["attributes"]).map((one) => attributeOf(one, cidr));
  const allocations = listOf(fields["allocations"]).map((one) => {
    if (one === null) return null;
    if (typeof one === "number" && attributes[one] !== undefined) return one;
    throw badBlock(cidr, "an allocation has no attributes");
  });
  const unallocated = listOf(fields["unallocated"]).map(Number);
  checkOrdinals(cidr, allocations, unallocated);
  return {
    cidr,
    ...affinityOf(fields),
    allocations,
    unallocated,
    attributes,
    sequenceNumber: integer(fields["sequenceNumber"], cidr),
    allocatedAt: new Map(
      Object.entries(recordOf(fields["sequenceNumberForAllocation"]) ?? {}).map(
        ([ordinal, number]) => [Number(ordinal), integer(number, cidr)],
      ),
    ),
    deleted: fields["deleted"] === true,
    unknown: Object.entries(fields).filter(([key]) => !KNOWN.has(key)),
  };
}

/** Calico before version 3 kept the bare host in a field of its own. */
function affinityOf(
  fields: Readonly<Record<string, unknown>>,
): Pick<Block, "affinity" | "claimTime"> {
  const { affinity, hostAffinity, affinity_claim_time: time } = fields;
  const claimTime = typeof time === "string" ? time : undefined;
  if (typeof affinity === "string" && affinity !== "") return { affinity, claimTime };
  const legacy = typeof hostAffinity === "string" && hostAffinity !== "";
  return { affinity: legacy ? `host:${hostAffinity}` : null, claimTime };
}

/** Every address is either allocated or in the queue, and there once. */
function checkOrdinals(
  cidr: Cidr,
  allocations: readonly (number | null)[],
  unallocated: readonly number[],
): void {
  if (allocations.length !== blockSize(cidr)) {
    throw badBlock(cidr, `it has ${allocations.length} addresses`);
  }
  const free = new Set(unallocated);
  const whole =
    free.size === unallocated.length &&
    unallocated.every((ordinal) => allocations[ordinal] === null) &&
    allocations.filter((one) => one === null).length === free.size;
  if (!whole) throw badBlock(cidr, "its allocations and its list of free addresses contradict");
}

function attributeFields(attribute: Attribute): Ordered {
  const texts = (record: Readonly<Record<string, string>>) => sortedMap(Object.entries(record));
  return new Ordered([
    ["handle_id", attribute.handle],
    ["secondary", texts(attribute.secondary)],
    ["alternateOwnerAttrs", attribute.alternate && texts(attribute.alternate)],
    ["releasedAt", attribute.releasedAt],
  ]);
}

function attributeOf(value: unknown, cidr: Cidr): Attribute {
  const fields = recordOf(value);
  if (fields === undefined) throw badBlock(cidr, "its attributes are no objects");
  const { handle_id: handle, secondary, alternateOwnerAttrs, releasedAt } = fields;
  const alternate = recordOf(alternateOwnerAttrs);
  return {
    handle: typeof handle === "string" ? handle : null,
    secondary: textsOf(recordOf(secondary) ?? {}),
    alternate: alternate && textsOf(alternate),
    releasedAt: typeof releasedAt === "string" ? releasedAt : undefined,
  };
}

function textsOf(record: Readonly<Record<string, unknown>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, String(value)]));
}

function integer(value: unknown, cidr: Cidr): bigint {
  if (typeof value === "bigint") return value;
  if (typeof value === "number" && Number.isInteger(value)) return BigInt(value);
  if (value === undefined) return 0n;
  throw badBlock(cidr, "a sequence number is no integer");
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as readonly unknown[]) : [];
}

function badBlock(cidr: Cidr, why: string): Error {
  return inputError("bad-block", `the IPAM block ${formatCidr(cidr)} is damaged: ${why}`, {
    fields: { cidr: formatCidr(cidr) },
  });
}
