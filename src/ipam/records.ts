/** The small records beside the blocks: affinities, handles, settings. Bytes as Calico writes them. */
import { inputError } from "#std";
import { Ordered, parseJson, recordOf, sortedMap, writeJson } from "./json.ts";

/**
 * A claim of a block takes two steps. `pending`: wanted, the block is not made yet, and routes do
 * not count on it. `confirmed`: the block is the owner's. `pendingDeletion`: being given up.
 */
export type AffinityState = "pending" | "confirmed" | "pendingDeletion";

export function encodeAffinity(state: AffinityState): string {
  return writeJson(
    new Ordered([
      ["state", state],
      ["deleted", false],
    ]),
  );
}

/** An empty state is of a time when there was only one. */
export function decodeAffinity(text: string): AffinityState {
  const state = recordOf(parseJson(text))?.["state"];
  if (state === undefined || state === "" || state === "confirmed") return "confirmed";
  if (state === "pending" || state === "pendingDeletion") return state;
  throw inputError("bad-affinity", `${JSON.stringify(state)} is no state of an affinity`);
}

/** Block (canonical CIDR) → how many of its addresses are held under the handle. */
export type Handle = ReadonlyMap<string, number>;

export function encodeHandle(handle: Handle): string {
  return writeJson(
    new Ordered([
      ["block", sortedMap(handle)],
      ["deleted", false],
    ]),
  );
}

export function decodeHandle(text: string): Handle {
  const blocks = recordOf(recordOf(parseJson(text))?.["block"]) ?? {};
  return new Map(
    Object.entries(blocks).flatMap(([cidr, count]) =>
      typeof count === "number" && count > 0 ? [[cidr, count] as const] : [],
    ),
  );
}

export interface IpamConfig {
  /** A host takes addresses only from blocks of its own. */
  readonly strictAffinity: boolean;
  /** A host claims a block by itself when it has no free address. */
  readonly autoAllocateBlocks: boolean;
  /** Per family; 0 leaves the built-in limit of 20. */
  readonly maxBlocksPerHost: number;
  readonly kubeVirtVMAddressPersistence: "Enabled" | "Disabled" | undefined;
  /** How long a released address rests, 0–1200 s. */
  readonly cooldownSeconds: number;
}

export const DEFAULT_CONFIG: IpamConfig = {
  strictAffinity: false,
  autoAllocateBlocks: true,
  maxBlocksPerHost: 0,
  kubeVirtVMAddressPersistence: undefined,
  cooldownSeconds: 0,
};

export function encodeConfig(config: IpamConfig): string {
  return writeJson(
    new Ordered([
      ["strict_affinity", config.strictAffinity || undefined],
      ["auto_allocate_blocks", config.autoAllocateBlocks || undefined],
      ["maxBlocksPerHost", config.maxBlocksPerHost || undefined],
      ["kubeVirtVMAddressPersistence", config.kubeVirtVMAddressPersistence],
      ["ipCooldownSeconds", config.cooldownSeconds || undefined],
    ]),
  );
}

/** Calico leaves false and 0 out, so here an absent field is not the default. */
export function decodeConfig(text: string): IpamConfig {
  const fields = recordOf(parseJson(text)) ?? {};
  return {
    strictAffinity: fields["strict_affinity"] === true,
    autoAllocateBlocks: fields["auto_allocate_blocks"] === true,
    maxBlocksPerHost: natural(fields["maxBlocksPerHost"]),
    kubeVirtVMAddressPersistence: persistence(fields["kubeVirtVMAddressPersistence"]),
    cooldownSeconds: natural(fields["ipCooldownSeconds"]),
  };
}

/** From the spec of an IPAMConfiguration, defaults filled in. */
export function configOfResource(spec: Readonly<Record<string, unknown>>): IpamConfig {
  return {
    strictAffinity: spec["strictAffinity"] === true,
    autoAllocateBlocks: spec["autoAllocateBlocks"] !== false,
    maxBlocksPerHost: natural(spec["maxBlocksPerHost"]),
    kubeVirtVMAddressPersistence: persistence(spec["kubeVirtVMAddressPersistence"]),
    cooldownSeconds: natural(spec["ipCooldownSeconds"]),
  };
}

/** Throws `bad-config` for settings under which no host, or a host without limit, gets addresses. */
export function checkConfig(config: IpamConfig): void {
  const refuse = (message: string) => inputError("bad-config", message);
  if (!config.strictAffinity && !config.autoAllocateBlocks) {
    throw refuse("without auto-allocation of blocks, strict affinity must be on");
  }
  if (config.maxBlocksPerHost > 0 && !config.strictAffinity) {
    throw refuse("a limit of blocks per host needs strict affinity, or hosts go on by borrowing");
  }
  if (config.cooldownSeconds > 1200) throw refuse("the cool-down is at most 1200 seconds");
}

function natural(value: unknown): number {
  return typeof value === "number" && Number.isInteger(value) && value > 0 ? value : 0;
}

function persistence(value: unknown): "Enabled" | "Disabled" | undefined {
  return value === "Enabled" || value === "Disabled" ? value : undefined;
}
