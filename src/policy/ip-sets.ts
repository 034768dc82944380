/** Members of IP sets, indexed for questions of `evaluate`; fed with the texts of messages. */
import { canonicalIp, formatIp, parseCidrOrIp, PrefixTrie, type Ip } from "#ip";
import { bug, inputError } from "#std";
import { PROTOCOLS } from "./flow.ts";
import type { IpSetId } from "./types.ts";

export interface IpSetMembers {
  /** False for a set of addresses with ports. */
  containsIp(ip: Ip): boolean;
  /** False for a set without ports, and for protocols that no member can name. */
  containsIpPort(ip: Ip, protocol: number, port: number): boolean;
}

/** `IP`: addresses; `NET`: CIDR blocks; `IP_AND_PORT`: `ip,(tcp|udp|sctp):port`. */
export type IpSetKind = "IP" | "NET" | "IP_AND_PORT";

interface MutableMembers extends IpSetMembers {
  add(member: string): void;
  remove(member: string): void;
}

export class IpSetIndex {
  readonly #sets = new Map<IpSetId, MutableMembers>();

  get(id: IpSetId): IpSetMembers | undefined {
    return this.#sets.get(id);
  }

  /** The whole set, old members forgotten. Throws an input error on a malformed member. */
  replace(id: IpSetId, kind: IpSetKind, members: Iterable<string>): void {
    const set: MutableMembers = kind === "IP_AND_PORT" ? new PortMembers() : new NetMembers();
    for (const member of members) set.add(member);
    this.#sets.set(id, set);
  }

  /** Change of a set that exists; a bug of the caller otherwise. */
  update(id: IpSetId, added: Iterable<string>, removed: Iterable<string>): void {
    const set = this.#sets.get(id);
    if (!set) throw bug("members for an IP set that does not exist", { id });
    for (const member of removed) set.remove(member);
    for (const member of added) set.add(member);
  }

  remove(id: IpSetId): void {
    this.#sets.delete(id);
  }
}

class NetMembers implements MutableMembers {
  readonly #blocks = new PrefixTrie<true>();

  add(member: string): void {
    this.#blocks.set(parseCidrOrIp(member), true);
  }

  remove(member: string): void {
    this.#blocks.delete(parseCidrOrIp(member));
  }

  containsIp(ip: Ip): boolean {
    return this.#blocks.longestMatch(ip) !== undefined;
  }

  containsIpPort(): boolean {
    return false;
  }
}

const PORT_MEMBER = /^([^,]+),(tcp|udp|sctp):(\d{1,5})$/;

class PortMembers implements MutableMembers {
  readonly #members = new Set<string>();

  add(member: string): void {
    this.#members.add(canonicalMember(member));
  }

  remove(member: string): void {
    this.#members.delete(canonicalMember(member));
  }

  containsIp(): boolean {
    return false;
  }

  containsIpPort(ip: Ip, protocol: number, port: number): boolean {
    return this.#members.has(memberKey(formatIp(ip), protocol, port));
  }
}

function canonicalMember(member: string): string {
  const [, ip = "", protocol = "", port = ""] = PORT_MEMBER.exec(member) ?? [];
  if (ip === "") {
    throw inputError(
      "bad-member",
      `${JSON.stringify(member)} is no member of an IP and port set, expected ip,(tcp|udp|sctp):port`,
    );
  }
  return memberKey(canonicalIp(ip), PROTOCOLS[protocol as "tcp" | "udp" | "sctp"], Number(port));
}

function memberKey(ip: string, protocol: number, port: number): string {
  return `${ip},${protocol}:${port}`;
}
