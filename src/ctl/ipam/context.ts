/** What each of IPAM's commands gets. */
import type { Ipam } from "#ipam";
import { tryParseIp, type Ip } from "#ip";
import { inputError } from "#std";
import type { Client } from "../client.ts";

export interface IpamCommandContext {
  readonly client: Client;
  readonly ipam: Ipam;
  readonly nowMs: number;
  readonly out: (text: string) => void;
}

/** Throws `bad-ip`. */
export function addressOf(text: string): Ip {
  const ip = tryParseIp(text);
  if (ip !== undefined) return ip;
  throw inputError("bad-ip", `invalid IP address: ${text}`);
}
