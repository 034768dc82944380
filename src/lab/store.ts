/**
 * The lab's datastore: the embedded one, or a cluster of etcd on a network of its own, so that a link
 * that is cut between subnets does not cut etcd off, and etcd can be cut off without them.
 */
import { embeddedSocketPath, openDatastore, type Datastore } from "#datastore";
import { LAB_DIR, MANAGEMENT, memberName, netnsPath, STORE_DIR } from "./names.ts";
import type { Recipe } from "./processes.ts";
import { margayCommand } from "./sandbox.ts";
import type { LabLink, LabSpec } from "./spec.ts";

/** Of the shared address space (RFC 6598), which no pool and no subnet is likely to use. */
const NETWORK = "100.64.255";
const FIRST_MEMBER = 11;
const FIRST_HOST = 101;
export const OWN_ADDRESS = `${NETWORK}.1/24`;
const CLIENT_PORT = 2379;
const PEER_PORT = 2380;

export function memberLink(index: number): LabLink {
  return managementLink(FIRST_MEMBER + index);
}

/** Of the host that came as number `index`. */
export function hostLink(index: number): LabLink {
  return managementLink(FIRST_HOST + index);
}

function managementLink(last: number): LabLink {
  return { subnet: MANAGEMENT, addresses: [`${NETWORK}.${last}/24`], lossPercent: 0 };
}

function memberUrl(index: number, port: number): string {
  return `http://${NETWORK}.${FIRST_MEMBER + index}:${port}`;
}

/** What tells every `margay` command of the lab where its datastore is. */
export function storeEnvironment(members: number): Readonly<Record<string, string>> {
  if (members === 0) return { DATASTORE_TYPE: "embedded", MARGAY_DATA_DIR: STORE_DIR };
  return { DATASTORE_TYPE: "etcdv3", ETCD_ENDPOINTS: endpointsOf(members).join(",") };
}

function endpointsOf(members: number): string[] {
  return Array.from({ length: members }, (_, index) => memberUrl(index, CLIENT_PORT));
}

export function storeRecipes({ etcdMembers }: LabSpec): Recipe[] {
  if (etcdMembers === 0) {
    const { program, args } = margayCommand("datastore", "--data-dir", STORE_DIR);
    return [{ machine: "datastore", process: "datastore", argv: [program, ...args], env: {} }];
  }
  return Array.from({ length: etcdMembers }, (_, index) => memberRecipe(index, etcdMembers));
}

function memberRecipe(index: number, members: number): Recipe {
  const name = memberName(index);
  const peers = Array.from(
    { length: members },
    (_, i) => `${memberName(i)}=${memberUrl(i, PEER_PORT)}`,
  );
  const flags: Readonly<Record<string, string>> = {
    name,
    "data-dir": `${LAB_DIR}/${name}`,
    logger: "zap",
    "log-level": "warn",
    "listen-client-urls": memberUrl(index, CLIENT_PORT),
    "advertise-client-urls": memberUrl(index, CLIENT_PORT),
    "listen-peer-urls": memberUrl(index, PEER_PORT),
    "initial-advertise-peer-urls": memberUrl(index, PEER_PORT),
    "initial-cluster": peers.join(","),
    "initial-cluster-token": "margay-lab",
  };
  const args = Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, value]);
  const argv = ["nsenter", `--net=${netnsPath(name)}`, "--", "etcd", ...args];
  return { machine: name, process: "etcd", argv, env: {} };
}

/** The lab's own connection. The embedded store's socket must be there: who comes first owns the store. */
export function openLabStore(members: number): Promise<Datastore> {
  return openDatastore(
    members === 0
      ? { type: "etcdv3", etcd: { endpoints: [`unix://${embeddedSocketPath(STORE_DIR)}`] } }
      : { type: "etcdv3", etcd: { endpoints: endpointsOf(members) } },
  );
}
