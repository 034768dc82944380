/**
 * Whether a message that comes from outside says what a graph could say: addresses, CIDRs, ports
 * and the IP sets that it changes. A dataplane takes the graph's own messages as they are.
 */
import type { IpSetType, ToDataplane, WorkloadEndpoint } from "#calc";
import { tryParseCidr, tryParseIp, tryParseIpInNetwork, tryParseMac } from "#ip";
import type { IcmpMatch, PortRange, Protocol, Rule } from "#policy";
import { inputError } from "#std";

const MEMBER_WITH_PORT = /^([^,]+),(?:tcp|udp|sctp):(\d{1,5})$/;
/** As the kernel has it (IFNAMSIZ less the end); it becomes a part of paths. */
const INTERFACE = /^(?!\.{1,2}$)[^/\s]{1,15}$/;
const MAX_PORT = 65535;
const MAX_BYTE = 255;

function wrong(what: string, value: unknown): never {
  throw inputError("bad-message", `${JSON.stringify(value)} is not ${what}`, {
    fields: { value },
  });
}

function ip(text: string): void {
  if (tryParseIp(text) === undefined) wrong("an IP address", text);
}

function cidr(text: string): void {
  if (tryParseCidr(text) === undefined) wrong("a CIDR", text);
}

/** "" stands for none. */
function optional(check: (text: string) => void, text: string): void {
  if (text !== "") check(text);
}

function each(check: (text: string) => void, texts: readonly string[] = []): void {
  for (const text of texts) check(text);
}

export class MessageChecker {
  readonly #ipSets = new Map<string, IpSetType>();

  /** Throws the input error `bad-message`. Messages must come in the stream's order. */
  check(message: ToDataplane): void {
    switch (message.case) {
      case "ipsetUpdate": {
        const { id, type, members } = message.value;
        this.#ipSets.set(id, type);
        for (const member of members) checkMember(type, member);
        return;
      }
      case "ipsetDeltaUpdate":
        this.#checkDelta(message.value);
        return;
      case "ipsetRemove":
        if (!this.#ipSets.delete(message.value.id))
          wrong("an IP set that is there", message.value.id);
        return;
      case "activePolicyUpdate":
        checkRules(message.value.policy);
        return;
      case "activeProfileUpdate":
        checkRules(message.value.profile);
        return;
      default:
        checkAddresses(message);
    }
  }

  #checkDelta({
    id,
    addedMembers,
    removedMembers,
  }: Extract<ToDataplane, { case: "ipsetDeltaUpdate" }>["value"]): void {
    const type = this.#ipSets.get(id);
    if (type === undefined) return wrong("an IP set that is there", id);
    for (const member of addedMembers) checkMember(type, member);
    for (const member of removedMembers) checkMember(type, member);
  }
}

function checkAddresses(message: ToDataplane): void {
  switch (message.case) {
    case "workloadEndpointUpdate":
      checkWorkload(message.value.endpoint);
      return;
    case "hostEndpointUpdate":
      optional(checkInterface, message.value.endpoint.name);
      each(ip, message.value.endpoint.expectedIpv4Addrs);
      each(ip, message.value.endpoint.expectedIpv6Addrs);
      return;
    case "routeUpdate":
      cidr(message.value.dst);
      optional(ip, message.value.dstNodeIp);
      return;
    case "routeRemove":
      cidr(message.value.dst);
      return;
    case "ipamPoolUpdate":
      cidr(message.value.pool.cidr);
      return;
    case "vtepUpdate": {
      const { ipv4Addr, ipv6Addr, parentDeviceIp, parentDeviceIpv6, mac, macV6 } = message.value;
      for (const text of [ipv4Addr, ipv6Addr, parentDeviceIp, parentDeviceIpv6]) optional(ip, text);
      for (const text of [mac, macV6]) optional(checkMac, text);
      return;
    }
    case "hostMetadataUpdate":
      optional(ipInNetwork, message.value.ipv4Addr);
      optional(ipInNetwork, message.value.ipv6Addr);
      return;
    default:
  }
}

function checkWorkload(endpoint: WorkloadEndpoint): void {
  checkInterface(endpoint.name);
  optional(checkMac, endpoint.mac);
  each(cidr, endpoint.ipv4Nets);
  each(cidr, endpoint.ipv6Nets);
  each(cidr, endpoint.allowSpoofedSourcePrefixes);
  for (const { extIp, intIp } of [...endpoint.ipv4Nat, ...endpoint.ipv6Nat]) {
    ip(extIp);
    ip(intIp);
  }
}

function checkInterface(text: string): void {
  if (!INTERFACE.test(text)) wrong("the name of an interface", text);
}

function checkMac(text: string): void {
  if (tryParseMac(text) === undefined) wrong("a MAC address", text);
}

/** An address with or without the length of its network. */
function ipInNetwork(text: string): void {
  if (tryParseIp(text) === undefined && tryParseIpInNetwork(text) === undefined) {
    wrong("an address in a network", text);
  }
}

function checkMember(type: IpSetType, member: string): void {
  switch (type) {
    case "IP":
      ip(member);
      return;
    case "NET":
      cidr(member);
      return;
    default: {
      const [, address, port] = MEMBER_WITH_PORT.exec(member) ?? [];
      if (address === undefined || Number(port) > MAX_PORT)
        return wrong("ip,protocol:port", member);
      ip(address);
    }
  }
}

function checkRules(lists: {
  readonly inboundRules: readonly Rule[];
  readonly outboundRules: readonly Rule[];
}): void {
  for (const rule of lists.inboundRules) checkRule(rule);
  for (const rule of lists.outboundRules) checkRule(rule);
}

function checkRule(rule: Rule): void {
  each(cidr, rule.srcNet);
  each(cidr, rule.dstNet);
  each(cidr, rule.notSrcNet);
  each(cidr, rule.notDstNet);
  for (const ports of [rule.srcPorts, rule.dstPorts, rule.notSrcPorts, rule.notDstPorts]) {
    for (const range of ports ?? []) checkPorts(range);
  }
  for (const protocol of [rule.protocol, rule.notProtocol]) checkProtocol(protocol);
  for (const icmp of [rule.icmp, rule.notIcmp]) checkIcmp(icmp);
}

function checkPorts({ first, last }: PortRange): void {
  if (first < 0 || first > last || last > MAX_PORT) wrong("a range of ports", { first, last });
}

/** A name that nobody knows makes the rule undecidable, as one from a datastore does. */
function checkProtocol(protocol: Protocol | undefined): void {
  if (protocol === undefined || "name" in protocol) return;
  if (protocol.number < 0 || protocol.number > MAX_BYTE)
    wrong("a protocol number", protocol.number);
}

function checkIcmp(icmp: IcmpMatch | undefined): void {
  if (icmp === undefined) return;
  for (const value of [icmp.type, icmp.code ?? 0]) {
    if (value < 0 || value > MAX_BYTE) wrong("an ICMP type or code", value);
  }
}
