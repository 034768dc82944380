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
}

/** An address of this host. */
export interface InterfaceAddress {
  readonly ifindex: number;
  readonly address: Ip;
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
  readonly prefSrc?: Ip;
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

export type RouteChange =
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
  /** Notifications were lost: read everything again. */
  | { readonly kind: "lost" };
