/** What the lab's parts are called: namespaces, interfaces, members of etcd, files. */
import { hex, sha1 } from "#std";
import type { LabWorkload } from "./spec.ts";

/** The private tmpfs of the lab, as seen from inside. */
export const LAB_DIR = "/run/margay";
export const STORE_DIR = `${LAB_DIR}/store`;
const NETNS_DIR = "/run/netns";
/** The network that etcd's members and the hosts share, apart from the subnets: its name as a subnet. */
export const MANAGEMENT = "mgmt";

export function memberName(index: number): string {
  return `etcd-${index + 1}`;
}

/** Names in `/run/netns`; private to the lab, prefixed all the same so that nobody mistakes them. */
export function netnsOf(peer: string): string {
  return `mgy-${peer}`;
}

export function netnsPath(peer: string): string {
  return `${NETNS_DIR}/${netnsOf(peer)}`;
}

/** What a host has for itself: its BIRD's sockets, its configuration, logs. */
export function hostDir(host: string): string {
  return `${LAB_DIR}/hosts/${host}`;
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

/** A workload owns single addresses, whatever prefix the file gives. */
export function single(address: string): string {
  return `${bareAddress(address)}/${isIpv6(address) ? 128 : 32}`;
}
