/** What rtnetlink tells and takes, decoded. Addresses are canonical text. */
import type { Cidr, Ip, Mac } from "#ip";

export interface Link {
  readonly index: number;
  readonly name: string;
  /** IFF_UP: switched on. */
  readonly adminUp: boolean;
  /** IFF_RUNNING: switched on and has carrier. */
  readonly operUp: boolean;
  /** Bytes; 0 when not told. */
  readonly mtu: number;
  readonly mac?: Mac;
  /** IFLA_INFO_KIND, e.g. `veth`; absent for a real device. */
  readonly kind?: string;
  /** Of kind `vxlan`. */
  readonly vxlan?: VxlanSettings;
}

/** What a VXLAN device cannot change, or what we would not change under traffic. */
export interface VxlanSettings {
  readonly vni: number;
  /** UDP port. */
  readonly port: number;
  /** Source of what it sends. */
  readonly local?: Ip;
  /** Index of the interface that it sends by; absent: as the routes say. */
  readonly parent?: number;
  /** Where packets go whose MAC is in no forwarding entry. */
  readonly group?: Ip;
  /** Whether it takes forwarding entries from what it receives. */
  readonly learning: boolean;
  /** Whether what it sends over IPv4 has a UDP checksum; over IPv6 it always has. */
  readonly checksum: boolean;
}

/** An address of this host. */
export interface InterfaceAddress {
  readonly ifindex: number;
  readonly address: Ip;
  readonly prefixLen: number;
}

export interface Route {
  readonly dst: Cidr;
  readonly table: number;
  /** RTPROT_*: who made it. */
  readonly protocol: number;
  /** RTN_* */
  readonly type: number;
  /** RT_SCOPE_*; IPv6 has none and reports RT_SCOPE_UNIVERSE. */
  readonly scope: number;
  readonly tos: number;
  /** Metric; 0 in IPv6 requests means 1024. */
  readonly priority: number;
  /** Absent: several next hops, a next-hop object, or none. */
  readonly oif?: number;
  readonly gateway?: Ip;
  /** The gateway is on the link, whatever the addresses there say. */
  readonly onlink?: boolean;
  readonly prefSrc?: Ip;
  /** Path MTU; absent: the interface's. */
  readonly mtu?: number;
}

export interface Neighbour {
  readonly ifindex: number;
  readonly address: Ip;
  readonly mac?: Mac;
  /** NUD_* */
  readonly state: number;
  /** NDA_PROTOCOL, numbered as RTPROT_*; 0 when not told. */
  readonly protocol: number;
}

/** Packets to a MAC go through the tunnel to a host (`bridge fdb`). */
export interface ForwardingEntry {
  readonly ifindex: number;
  readonly mac: Mac;
  /** Absent: to nowhere. */
  readonly host?: Ip;
  /** NUD_* */
  readonly state: number;
}

/** A device to be made, off at first. */
export interface NewLink {
  readonly name: string;
  readonly mac?: Mac;
  readonly mtu: number;
  readonly kind: "vxlan" | "ipip";
  /** Of kind `vxlan`. */
  readonly vxlan?: VxlanSettings;
}

export type RouteChange =
  | { readonly kind: "createLink"; readonly link: NewLink }
  /** What is named is set; the rest stays. */
  | {
      readonly kind: "setLink";
      readonly index: number;
      readonly up?: true;
      readonly mtu?: number;
      readonly mac?: Mac;
    }
  | { readonly kind: "deleteLink"; readonly index: number }
  | { readonly kind: "addAddress"; readonly address: InterfaceAddress }
  | { readonly kind: "deleteAddress"; readonly address: InterfaceAddress }
  | { readonly kind: "replaceForwarding"; readonly entry: ForwardingEntry }
  | { readonly kind: "deleteForwarding"; readonly entry: ForwardingEntry }
  | { readonly kind: "replaceRoute"; readonly route: Route }
  | { readonly kind: "deleteRoute"; readonly route: Route }
  | { readonly kind: "replaceNeighbour"; readonly neighbour: Neighbour }
  | { readonly kind: "deleteNeighbour"; readonly neighbour: Neighbour };

export type RouteEvent =
  | { readonly kind: "link"; readonly link: Link; readonly present: boolean }
  | { readonly kind: "address"; readonly address: InterfaceAddress; readonly present: boolean }
  /** `replaced`: it took the place of another one with the same destination and metric. */
  | {
      readonly kind: "route";
      readonly route: Route;
      readonly present: boolean;
      readonly replaced: boolean;
    }
  /** Of entries that are not permanent only that they go. */
  | { readonly kind: "neighbour"; readonly neighbour: Neighbour; readonly present: boolean }
  | { readonly kind: "forwarding"; readonly entry: ForwardingEntry; readonly present: boolean }
  /** Notifications were lost: read everything again. */
  | { readonly kind: "lost" };
