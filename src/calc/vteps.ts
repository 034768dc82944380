/** The VXLAN tunnel end of each node: its tunnel address, MAC and the address of its real device. */
import type { ModelNode } from "#model";
import { hex, sha1 } from "#std";
import type { EventSequencer, VtepUpdate } from "./sequencer.ts";

/** Only while some pool uses VXLAN. */
export class VtepResolver {
  readonly #out: Pick<EventSequencer, "vteps">;
  readonly #vteps = new Map<string, VtepUpdate>();
  readonly #dirty = new Set<string>();
  #enabled = false;

  constructor(out: Pick<EventSequencer, "vteps">) {
    this.#out = out;
  }

  setNode(name: string, node: ModelNode | null): void {
    const vtep = node === null ? undefined : vtepOf(name, node);
    if (vtep === undefined) this.#vteps.delete(name);
    else this.#vteps.set(name, vtep);
    this.#dirty.add(name);
  }

  flush(enabled: boolean): void {
    const touched = enabled === this.#enabled ? this.#dirty : this.#vteps.keys();
    this.#enabled = enabled;
    for (const name of [...touched, ...this.#dirty]) {
      const vtep = this.#vteps.get(name);
      if (vtep === undefined || !enabled) this.#out.vteps.remove(name);
      else this.#out.vteps.update(name, vtep);
    }
    this.#dirty.clear();
  }
}

/** Needs, per family, a tunnel address and an address of the node. */
function vtepOf(name: string, node: ModelNode): VtepUpdate | undefined {
  const hasV4 = node.ipv4VxlanTunnelAddr !== "" && node.hostIpv4 !== "";
  const hasV6 = node.ipv6VxlanTunnelAddr !== "" && node.hostIpv6 !== "";
  if (!hasV4 && !hasV6) return undefined;
  return {
    node: name,
    mac: hasV4 ? node.vxlanTunnelMac || defaultMac(name) : "",
    ipv4Addr: hasV4 ? node.ipv4VxlanTunnelAddr : "",
    parentDeviceIp: hasV4 ? withoutLength(node.hostIpv4) : "",
    macV6: hasV6 ? node.vxlanTunnelMacV6 || defaultMac(`${name}-v6`) : "",
    ipv6Addr: hasV6 ? node.ipv6VxlanTunnelAddr : "",
    parentDeviceIpv6: hasV6 ? withoutLength(node.hostIpv6) : "",
  };
}

/** `66` (a locally administered address) and the first five bytes of the name's SHA-1. */
function defaultMac(name: string): string {
  const digits = hex(sha1(name).subarray(0, 5));
  return ["66", ...(digits.match(/../g) ?? [])].join(":");
}

function withoutLength(address: string): string {
  return address.split("/")[0] ?? "";
}
