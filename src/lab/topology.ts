/**
 * The lab's wires: a network namespace for the host, for each workload and for each outside peer,
 * joined by veth pairs the way Calico's CNI plugin joins them.
 *
 *   workload eth0 ── caliXXXXXXXXXXX [host] eth0 ── bridge [wire] ── eth0 outside peers
 *
 * The workload's default route points at 169.254.1.1 and fe80::ecee:eeff:feee:eeee, which the host
 * answers by proxy ARP and by the link-local address that its MAC ee:ee:ee:ee:ee:ee gives.
 * Routes to the workloads are not made here: they are the agent's work.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { hex, messageOf, sha1, systemError } from "#std";
import type { LabPeer, LabSpec, LabWorkload } from "./spec.ts";

const NETNS_DIR = "/run/netns";
const WIRE = "mgy-wire";

/** Names in `/run/netns`; private to the lab, prefixed all the same so that nobody mistakes them. */
function netnsOf(peer: string): string {
  return `mgy-${peer}`;
}

export function netnsPath(peer: string): string {
  return `${NETNS_DIR}/${netnsOf(peer)}`;
}

/** Calico's name of a workload's host-side interface: `cali` + 11 hex digits of SHA-1 of `ns.pod`. */
export function interfaceOf(workload: LabWorkload): string {
  return `cali${hex(sha1(`${workload.namespace}.${workload.name}`)).slice(0, 11)}`;
}

/** A locally administered MAC that follows from the name, so that the endpoint can declare it. */
export function macOf(workload: LabWorkload): string {
  const digits = hex(sha1(`mac.${workload.namespace}.${workload.name}`)).slice(0, 10);
  return `02:${digits.match(/../g)?.join(":") ?? ""}`;
}

export function isIpv6(address: string): boolean {
  return address.includes(":");
}

export function bareAddress(address: string): string {
  return address.split("/")[0] ?? address;
}

export function buildTopology(spec: LabSpec): void {
  mkdirSync(NETNS_DIR, { recursive: true });
  const peers = [spec.host, ...spec.outside];
  for (const name of [WIRE, ...[...peers, ...spec.workloads].map((peer) => netnsOf(peer.name))]) {
    ip(["netns", "add", name]);
    quietIpv6(name);
  }
  batch(WIRE, ["link add br0 type bridge stp_state 0 forward_delay 0", "link set br0 up"]);
  peers.forEach((peer, index) => connectToWire(peer, index));
  // The first address of each outside peer is on the host's link; the others are behind it.
  for (const peer of spec.outside) routesToOutside(spec.host, peer);
  for (const workload of spec.workloads) connectWorkload(spec.host, workload);
}

/** Duplicate address detection costs a second per address and finds nothing here. */
function quietIpv6(netns: string): void {
  run("ip", [
    "netns",
    "exec",
    netns,
    "sysctl",
    "-qw",
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_dad=0",
  ]);
  batch(netns, ["link set lo up"]);
}

function connectToWire(peer: LabPeer, index: number): void {
  const netns = netnsOf(peer.name);
  batch(WIRE, [
    `link add port${index} type veth peer name eth0 netns ${netns}`,
    `link set port${index} master br0`,
    `link set port${index} up`,
  ]);
  batch(netns, ["link set eth0 up", ...peer.addresses.map((a) => addAddress(a, "eth0"))]);
}

function addAddress(address: string, device: string): string {
  return `addr add ${address} dev ${device}${isIpv6(address) ? " nodad" : ""}`;
}

function routesToOutside(host: LabPeer, peer: LabPeer): void {
  for (const family of [false, true]) {
    const gateway = peer.addresses.find((a) => isIpv6(a) === family);
    const back = host.addresses.find((a) => isIpv6(a) === family);
    if (gateway === undefined || back === undefined) continue;
    const flag = family ? "-6 " : "";
    const others = peer.addresses.filter((a) => isIpv6(a) === family && a !== gateway);
    batch(
      netnsOf(host.name),
      others.map((a) => `${flag}route replace ${bareAddress(a)} via ${bareAddress(gateway)}`),
    );
    batch(netnsOf(peer.name), [`${flag}route replace default via ${bareAddress(back)}`]);
  }
}

function connectWorkload(host: LabPeer, workload: LabWorkload): void {
  const netns = netnsOf(workload.name);
  const device = interfaceOf(workload);
  batch(netnsOf(host.name), [
    `link add ${device} address ee:ee:ee:ee:ee:ee type veth peer name eth0 address ${macOf(workload)} netns ${netns}`,
    `link set ${device} up`,
  ]);
  batch(netns, [
    "link set eth0 up",
    ...workload.addresses.map((a) => addAddress(single(a), "eth0")),
  ]);
  if (workload.addresses.some((a) => !isIpv6(a))) {
    batch(netns, [
      "route add 169.254.1.1 dev eth0 scope link",
      "route add default via 169.254.1.1 dev eth0",
    ]);
  }
  if (workload.addresses.some(isIpv6)) {
    batch(netns, ["-6 route add default via fe80::ecee:eeff:feee:eeee dev eth0"]);
  }
}

/** A workload owns single addresses, whatever prefix the file gives. */
export function single(address: string): string {
  return `${bareAddress(address)}/${isIpv6(address) ? 128 : 32}`;
}

function batch(netns: string, lines: readonly string[]): void {
  if (lines.length === 0) return;
  // `ip -batch` takes no per-line family flag, so IPv6 lines go through `ip -6` of their own.
  for (const [family, wanted] of [
    ["", lines.filter((line) => !line.startsWith("-6 "))],
    ["-6", lines.filter((line) => line.startsWith("-6 ")).map((line) => line.slice(3))],
  ] as const) {
    if (wanted.length === 0) continue;
    ip([...(family === "" ? [] : [family]), "-n", netns, "-batch", "-"], `${wanted.join("\n")}\n`);
  }
}

function ip(args: readonly string[], input?: string): void {
  run("ip", args, input);
}

function run(program: string, args: readonly string[], input?: string): void {
  try {
    execFileSync(program, args, { input: input ?? "", stdio: ["pipe", "pipe", "pipe"] });
  } catch (error) {
    const detail = (error as { stderr?: Buffer }).stderr?.toString().trim() ?? messageOf(error);
    throw systemError("lab-topology", `${program} ${args.join(" ")}: ${detail}`, { cause: error });
  }
}
