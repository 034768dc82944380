/**
 * One tunnel device: made, made anew when it is another's or cannot be changed into what it must be,
 * switched on, with its address and no other of the family. What is right already is not touched.
 */
import { formatIp, hostCidr, type Ip, type IpFamily, type Mac } from "#ip";
import { logger } from "#log";
import {
  errnoOf,
  refusalError,
  type InterfaceAddress,
  type Link,
  type NewLink,
  type RouteChange,
  type RouteKernel,
  type VxlanSettings,
} from "#netlink";
import { messageOf } from "#std";
import type { HostAddresses } from "../host-addresses.ts";
import { sameIp, sameVxlan, type Interfaces } from "../interfaces.ts";

const log = logger("dataplane.tunnels");
const IPV6_LINK_LOCAL_W0 = 0xfe80;

export interface DeviceSpec {
  readonly kind: NewLink["kind"];
  readonly mtu: number;
  readonly mac?: Mac;
  readonly vxlan?: VxlanSettings;
  /** Absent: not known yet; the device keeps what it has. */
  readonly address?: Ip;
}

/** `absent`: it must not be there; `as it is`: nothing can be said yet. */
export type DeviceWish = DeviceSpec | "absent" | "as it is";

export interface DeviceParts {
  readonly kernel: RouteKernel;
  readonly interfaces: Interfaces;
  readonly addresses: HostAddresses;
}

export class TunnelDevice {
  readonly name: string;
  readonly #family: IpFamily;
  readonly #parts: DeviceParts;
  #complaint = "";

  constructor(name: string, family: IpFamily, parts: DeviceParts) {
    this.name = name;
    this.#family = family;
    this.#parts = parts;
  }

  /** Undefined: there is none, or it is off. */
  get link(): Link | undefined {
    const link = this.#parts.interfaces.byName(this.name);
    return link?.adminUp === true ? link : undefined;
  }

  /** Returns the number of writes. What the kernel refuses is logged once, and tried again next time. */
  apply(wish: DeviceWish): number {
    try {
      const writes = this.#applyToWhatIsThere(wish);
      this.#complaint = "";
      return writes;
    } catch (error) {
      const complaint = messageOf(error);
      if (complaint !== this.#complaint) {
        log.error("a tunnel device cannot be made as it must be", {
          device: this.name,
          reason: complaint,
        });
      }
      this.#complaint = complaint;
      return 0;
    }
  }

  /** Somebody may have deleted it just now; of that a notification is on its way. */
  #applyToWhatIsThere(wish: DeviceWish): number {
    try {
      return this.#apply(wish);
    } catch (error) {
      if (errnoOf(error) !== "ENODEV") throw error;
      this.#parts.interfaces.resync(this.#parts.kernel);
      return this.#apply(wish);
    }
  }

  #apply(wish: DeviceWish): number {
    const found = this.#parts.interfaces.byName(this.name);
    if (wish === "as it is") return 0;
    if (wish === "absent") {
      // The one without settings belongs to the kernel's module.
      return found?.kind === "vxlan" ? this.#remove(found) : 0;
    }
    let writes = 0;
    let link = found;
    if (link !== undefined && !isCompatible(link, wish)) {
      log.warn("the tunnel device is not as it must be and is made anew", { device: this.name });
      writes += this.#remove(link);
      link = undefined;
    }
    if (link === undefined) {
      link = this.#create(wish);
      writes++;
    }
    return writes + this.#adjust(link, wish) + this.#setAddress(link, wish.address);
  }

  #create({ kind, mac, mtu, vxlan }: DeviceSpec): Link {
    const { interfaces, kernel } = this.#parts;
    const wanted: NewLink = {
      name: this.name,
      kind,
      mtu,
      ...(mac === undefined ? {} : { mac }),
      ...(vxlan === undefined ? {} : { vxlan }),
    };
    // The kernel's module may make it by itself when it is first asked for one of its kind.
    this.#write(`make device ${this.name}`, { kind: "createLink", link: wanted }, "EEXIST");
    // Its index is the kernel's choice.
    interfaces.resync(kernel);
    const link = interfaces.byName(this.name);
    if (link !== undefined) return link;
    throw new Error(`device ${this.name} was made and is not there`);
  }

  #remove(link: Link): number {
    this.#write(`delete device ${this.name}`, { kind: "deleteLink", index: link.index }, "ENODEV");
    this.#parts.interfaces.remove(link);
    return 1;
  }

  #adjust(link: Link, { mac, mtu }: DeviceSpec): number {
    const change = {
      ...(link.adminUp ? {} : { up: true as const }),
      ...(link.mtu === mtu ? {} : { mtu }),
      ...(mac === undefined || link.mac === mac ? {} : { mac }),
    };
    if (Object.keys(change).length === 0) return 0;
    const { index } = link;
    this.#write(`set up device ${this.name}`, { kind: "setLink", index, ...change });
    const { up, ...rest } = change;
    const after = { ...link, ...rest };
    this.#parts.interfaces.update(up === true ? { ...after, adminUp: true, operUp: true } : after);
    return 1;
  }

  #setAddress({ index }: Link, address: Ip | undefined): number {
    if (address === undefined) return 0;
    const { addresses } = this.#parts;
    const wanted = { ifindex: index, address, prefixLen: hostCidr(address).prefixLen };
    const here = addresses.of(index).filter((entry) => this.#isOurs(entry));
    const right = here.find(
      (entry) => sameIp(entry.address, address) && entry.prefixLen === wanted.prefixLen,
    );
    let writes = 0;
    // First: with its last IPv4 address an interface loses its routes.
    if (right === undefined) {
      const what = `give ${this.name} the address ${formatIp(address)}`;
      this.#write(what, { kind: "addAddress", address: wanted });
      addresses.update(wanted, true);
      writes++;
    }
    for (const entry of here) {
      if (entry === right) continue;
      const what = `delete address ${formatIp(entry.address)} of ${this.name}`;
      this.#write(what, { kind: "deleteAddress", address: entry }, "EADDRNOTAVAIL");
      if (!sameIp(entry.address, address)) addresses.update(entry, false);
      writes++;
    }
    return writes;
  }

  #isOurs({ address }: InterfaceAddress): boolean {
    if (address.family !== this.#family) return false;
    return address.family === 4 || address.w0 >>> 16 !== IPV6_LINK_LOCAL_W0;
  }

  /** Throws a refusal, but one that says that it is so already. */
  #write(what: string, change: RouteChange, fine = ""): void {
    const refusal = this.#parts.kernel.write([change]).get(0);
    if (refusal !== undefined && refusal.errno !== fine) throw refusalError(what, refusal);
  }
}

/**
 * What differs otherwise can be changed while packets flow. Checksums are no reason to lose any: a
 * device of Calico's is taken over with those that it has.
 */
function isCompatible(link: Link, { kind, vxlan }: DeviceSpec): boolean {
  if (link.kind !== kind) return false;
  if (link.vxlan === undefined || vxlan === undefined) return link.vxlan === vxlan;
  return sameVxlan({ ...link.vxlan, checksum: vxlan.checksum }, vxlan);
}
