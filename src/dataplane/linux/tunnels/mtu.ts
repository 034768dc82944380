/**
 * MTUs of tunnels and workloads: those of the configuration, or what the smallest of the host's real
 * interfaces leaves when a tunnel's header is added. The one for workloads is written to a file for
 * the CNI plugin, as Felix does.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { logger } from "#log";
import type { Link } from "#netlink";
import { messageOf } from "#std";
import type { TunnelConfig } from "../config.ts";
import { IPIP_OVERHEAD, VXLAN_OVERHEAD } from "./names.ts";

const log = logger("dataplane.mtu");

/** Felix's, for a host without an interface that the pattern names. */
const UNKNOWN_HOST_MTU = 1460;

export interface TunnelMtus {
  readonly host: number;
  readonly vxlan: Readonly<Record<4 | 6, number>>;
  readonly ipip: number;
}

export class Mtus {
  readonly #config: TunnelConfig;
  #host: number | undefined;
  #written: string | undefined;
  #complaint = "";

  constructor(config: TunnelConfig) {
    this.#config = config;
  }

  /** A host whose interfaces are all down keeps what it had: they will come back. */
  measure(links: Iterable<Link>): TunnelMtus {
    const { ipipMtu, mtuInterfaces, vxlanMtu, vxlanMtuV6 } = this.#config;
    let smallest: number | undefined;
    for (const { mtu, name, operUp } of links) {
      if (!operUp || mtu === 0 || !mtuInterfaces.test(name)) continue;
      smallest = Math.min(smallest ?? mtu, mtu);
    }
    const host = smallest ?? this.#host ?? UNKNOWN_HOST_MTU;
    this.#host = host;
    return {
      host,
      vxlan: {
        4: vxlanMtu > 0 ? vxlanMtu : host - VXLAN_OVERHEAD[4],
        6: vxlanMtuV6 > 0 ? vxlanMtuV6 : host - VXLAN_OVERHEAD[6],
      },
      ipip: ipipMtu > 0 ? ipipMtu : host - IPIP_OVERHEAD,
    };
  }

  /** The MTU for workloads. A failure is told and does not hold up traffic. */
  publish(mtu: number): void {
    const { mtuFile } = this.#config;
    const text = String(mtu);
    if (mtuFile === undefined || text === this.#written) return;
    try {
      if (readIfThere(mtuFile) !== text) writeWhole(mtuFile, text);
      this.#written = text;
    } catch (error) {
      const reason = messageOf(error);
      if (reason === this.#complaint) return;
      this.#complaint = reason;
      log.warn("the MTU for workloads cannot be written; trying again", {
        path: mtuFile,
        mtu,
        reason,
      });
    }
  }
}

/** A reader sees the old number or the new one. */
function writeWhole(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.new`, text, { mode: 0o644 });
  renameSync(`${path}.new`, path);
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
