/** IP pools, reservations and the settings of address management. */
import { cidrsOverlap, compareIps, parseCidr, tryParseCidr, tryParseIpInNetwork } from "#ip";
import type { Context } from "../context.ts";
import {
  bool,
  field,
  formatted,
  int,
  list,
  object,
  oneOf,
  longSelector,
  type Fields,
  type ObjectSpec,
} from "../schema.ts";
import { maskedCidr } from "../formats.ts";
import type { IpPoolSpec } from "../types.ts";
import { refuseGlobal } from "./rule.ts";

const LINK_LOCAL = [parseCidr("169.254.0.0/16"), parseCidr("fe80::/10")] as const;

const encapModes = oneOf("Never", "Always", "CrossSubnet");

export const ipPoolSpec: ObjectSpec = object(
  [
    field("cidr", formatted("cidr"), "the pool's block; cannot change", { required: true }),
    field("vxlanMode", encapModes, "VXLAN between nodes: Never, Always or CrossSubnet", {
      default: "Never",
    }),
    field("ipipMode", encapModes, "IPIP between nodes: Never, Always or CrossSubnet", {
      default: "Never",
    }),
    field("natOutgoing", bool, "masquerade packets that leave for addresses outside every pool"),
    field("disabled", bool, "no new addresses are taken from the pool"),
    field("disableBGPExport", bool, "the pool's routes are not announced to other peers"),
    field("blockSize", int(0, 128), "prefix length of the blocks that nodes take; cannot change", {
      computeDefault: (value) => (familyOf(value["cidr"]) === 6 ? 122 : 26),
    }),
    field("nodeSelector", longSelector, "the nodes that take addresses from the pool", {
      default: "all()",
    }),
    field("namespaceSelector", longSelector, "the namespaces that take addresses from the pool"),
    field(
      "allowedUses",
      list(oneOf("Workload", "Tunnel", "LoadBalancer"), { unique: true }),
      "what the addresses are for",
      { computeDefault: () => ["Workload", "Tunnel"] },
    ),
    field("assignmentMode", oneOf("Automatic", "Manual"), "Manual: only on request", {
      default: "Automatic",
    }),
  ],
  [
    { id: "pool-masked", reads: ["cidr"], check: checkMasked },
    { id: "pool-block-size", reads: ["cidr", "blockSize"], check: checkBlockSize },
    { id: "pool-link-local", reads: ["cidr"], check: checkLinkLocal },
    { id: "pool-one-encap", reads: ["cidr", "ipipMode", "vxlanMode"], check: checkEncap },
    {
      id: "pool-load-balancer",
      reads: ["allowedUses", "ipipMode", "vxlanMode", "nodeSelector"],
      check: checkLoadBalancer,
    },
    {
      id: "global-selector",
      reads: ["nodeSelector", "namespaceSelector"],
      manifestsOnly: true,
      check: (value, context) => {
        for (const name of ["nodeSelector", "namespaceSelector"]) {
          refuseGlobal(value[name] as string | undefined, name, context);
        }
      },
    },
  ],
);

export const ipReservationSpec: ObjectSpec = object([
  field("reservedCIDRs", list(formatted("cidr-or-ip")), "addresses that are never assigned"),
]);

export const ipamConfigurationSpec: ObjectSpec = object(
  [
    field("strictAffinity", bool, "nodes take addresses only from their own blocks", {
      zero: "always",
      default: false,
    }),
    field("maxBlocksPerHost", int(0), "the most blocks that a node takes; 0 for no limit"),
    field("autoAllocateBlocks", bool, "nodes take new blocks by themselves", {
      zero: "keep",
      default: true,
    }),
    field(
      "kubeVirtVMAddressPersistence",
      oneOf("Enabled", "Disabled"),
      "virtual machines keep their addresses",
    ),
    field("ipCooldownSeconds", int(0, 1200), "how long a released address rests", { zero: "keep" }),
  ],
  [
    {
      id: "ipam-strict",
      reads: ["strictAffinity", "autoAllocateBlocks", "maxBlocksPerHost"],
      check: ({ strictAffinity, autoAllocateBlocks, maxBlocksPerHost }, context) => {
        if (strictAffinity === true) return;
        const because =
          autoAllocateBlocks === false
            ? "autoAllocateBlocks: false"
            : typeof maxBlocksPerHost === "number" && maxBlocksPerHost > 0
              ? `maxBlocksPerHost: ${maxBlocksPerHost}`
              : undefined;
        if (because === undefined) return;
        context.report("ipam-strict", {
          message: `${because} needs strictAffinity`,
          hint: "add strictAffinity: true",
          at: ["strictAffinity"],
        });
      },
    },
  ],
);

function familyOf(cidr: unknown): 4 | 6 | undefined {
  return typeof cidr === "string" ? tryParseCidr(cidr)?.family : undefined;
}

function checkMasked(value: Fields, context: Context): void {
  const { cidr } = value as unknown as IpPoolSpec;
  const parsed = tryParseIpInNetwork(cidr);
  if (parsed === undefined || compareIps(parsed.ip, parsed.cidr) === 0) return;
  context.report("pool-masked", {
    message: `${cidr} has bits beyond its prefix`,
    value: cidr,
    hint: `did you mean ${maskedCidr(cidr) ?? ""}?`,
    at: ["cidr"],
  });
}

function checkBlockSize(value: Fields, context: Context): void {
  const { cidr: text, blockSize, disabled } = value as unknown as IpPoolSpec;
  const cidr = tryParseCidr(text);
  if (cidr === undefined) return;
  const [min, max] = cidr.family === 4 ? [20, 32] : [116, 128];
  if (blockSize < min || blockSize > max) {
    context.report("pool-block-size", {
      message: `a block size of ${blockSize}`,
      value: blockSize,
      allowed: `${min}–${max} for IPv${cidr.family}`,
      at: ["blockSize"],
    });
    return;
  }
  if (disabled === true || cidr.prefixLen <= blockSize) return;
  context.report("pool-size", {
    message: `${text} is smaller than one block of /${blockSize}`,
    value: text,
    allowed: `a block of /${blockSize} or larger`,
    hint: `did you mean blockSize: ${cidr.prefixLen}?`,
    at: ["cidr"],
  });
}

function checkLinkLocal(value: Fields, context: Context): void {
  const { cidr: text } = value as unknown as IpPoolSpec;
  const cidr = tryParseCidr(text);
  if (cidr === undefined || !LINK_LOCAL.some((one) => cidrsOverlap(one, cidr))) return;
  context.report("pool-link-local", {
    message: `${text} overlaps link-local addresses`,
    value: text,
    allowed: "a block outside 169.254.0.0/16 and fe80::/10",
    at: ["cidr"],
  });
}

function checkEncap(value: Fields, context: Context): void {
  const { cidr, ipipMode, vxlanMode } = value as unknown as IpPoolSpec;
  if (familyOf(cidr) === 6 && ipipMode !== "Never") {
    context.report("pool-ipip-v4", {
      message: `IPIP (${ipipMode}) on an IPv6 pool`,
      value: ipipMode,
      allowed: "Never",
      hint: `did you mean vxlanMode: ${ipipMode}?`,
      at: ["ipipMode"],
    });
  }
  if (ipipMode !== "Never" && vxlanMode !== "Never") {
    context.report("pool-one-encap", {
      message: `both ipipMode: ${ipipMode} and vxlanMode: ${vxlanMode}`,
      allowed: "Never for one of them",
      at: ["ipipMode"],
    });
  }
}

function checkLoadBalancer(value: Fields, context: Context): void {
  const spec = value as unknown as IpPoolSpec;
  if (!spec.allowedUses.includes("LoadBalancer")) return;
  const refuse = (at: string, message: string, allowed: string): void =>
    context.report("pool-load-balancer", { message, allowed, at: [at] });
  if (spec.allowedUses.length > 1) {
    refuse("allowedUses", "LoadBalancer stands beside other uses", "[LoadBalancer]");
  }
  for (const at of ["ipipMode", "vxlanMode"] as const) {
    if (spec[at] !== "Never") refuse(at, "a load-balancer pool has an encapsulation", "Never");
  }
  if (spec.nodeSelector !== "all()") {
    refuse("nodeSelector", "a load-balancer pool selects nodes", "all()");
  }
}
