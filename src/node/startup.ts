/**
 * What a node does before its services run: finds its name and addresses, makes sure that no other
 * node has them, and writes what the cluster needs to know. Doing it again changes nothing.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "#ctl";
import { logger } from "#log";
import type { Node } from "#resource";
import { inputError, MargayError, messageOf, systemError } from "#std";
import {
  conflictError,
  conflicts,
  nodeAddresses,
  type Conflict,
  type Host,
  type NodeAddresses,
} from "./addresses.ts";
import {
  ensureBgpConfiguration,
  ensureClusterInformation,
  ensureFelixConfiguration,
  ensurePools,
} from "./defaults.ts";
import { updateNode, withBgp } from "./node-object.ts";
import type { NodeSettings } from "./settings.ts";

const log = logger("node");

const RETRY_MS = 1000;

/** Throws input errors (`no-address`, `address-conflict`, …), those of the datastore, and `stopped`. */
export async function startUp(
  client: Client,
  settings: NodeSettings,
  host: Host,
  signal: AbortSignal,
): Promise<Node> {
  log.info("starting up", { node: settings.name, backend: settings.backend, host: hostname() });
  if (settings.waitForDatastore) await waitForDatastore(client, signal);
  await writeAddresses(client, settings, host);
  const node = await writeNode(client, settings);
  const hostIps = host.interfaces().flatMap(({ addresses }) => addresses.map(({ ip }) => ip));
  await ensurePools(client, settings.pools, hostIps);
  await ensureClusterInformation(client, settings.clusterTypes);
  await ensureFelixConfiguration(client, settings.name);
  await ensureBgpConfiguration(client);
  writeNodename(settings);
  const { ipv4Address, ipv6Address } = node.spec.bgp ?? {};
  log.info("started up", { node: settings.name, ipv4Address, ipv6Address });
  return node;
}

/** Only for what may pass by itself: wrong credentials stay wrong. */
async function waitForDatastore(client: Client, signal: AbortSignal): Promise<void> {
  for (let told = false; ; told = true) {
    try {
      await client.find("ClusterInformation", "default");
      return;
    } catch (error) {
      if (!(error instanceof MargayError) || !error.retryable) throw error;
      if (!told) log.warn("the datastore does not answer; waiting", { error: messageOf(error) });
      await sleep(RETRY_MS, undefined, { signal }).catch(() => undefined);
      if (signal.aborted)
        throw systemError("stopped", "asked to stop before the datastore answered");
    }
  }
}

/**
 * Whether the addresses changed. Looks for conflicts before the write and after it: of two nodes
 * that start at once with the same address at least one sees the other, and takes its own back.
 */
export async function writeAddresses(
  client: Client,
  settings: NodeSettings,
  host: Host,
): Promise<boolean> {
  const { name, backend } = settings;
  // Policy only: others route, and nobody needs to know our address.
  if (backend === "none") return false;
  const stored = addressesOf(await client.find("Node", name));
  const wanted = await nodeAddresses(settings.addresses, stored, host);
  const { ipv4Address, ipv6Address } = wanted;
  if (ipv4Address === undefined && ipv6Address === undefined) {
    throw inputError(
      "no-address",
      `node ${name} has neither an IPv4 nor an IPv6 address, and routing needs one: set IP or IP6`,
    );
  }
  if (ipv4Address === stored.ipv4Address && ipv6Address === stored.ipv6Address) return false;
  const taken = await takenByOthers(client, settings, wanted);
  if (taken.length > 0) {
    await withdraw(client, settings, taken);
    throw conflictError(name, taken);
  }
  await updateNode(client, name, (spec) => withBgp(spec, { ipv4Address, ipv6Address }));
  const raced = await takenByOthers(client, settings, wanted);
  if (raced.length === 0) return true;
  await removeAddresses(client, name, raced);
  throw conflictError(name, raced);
}

function addressesOf(node: Node | undefined): NodeAddresses {
  const { ipv4Address, ipv6Address } = node?.spec.bgp ?? {};
  return { ipv4Address, ipv6Address };
}

async function takenByOthers(
  client: Client,
  { name, checkConflicts }: NodeSettings,
  wanted: NodeAddresses,
): Promise<readonly Conflict[]> {
  if (!checkConflicts) return [];
  return conflicts(name, wanted, (await client.list("Node")).resources);
}

/** What was detected once and is not ours any more must not keep others from having it. */
async function withdraw(
  client: Client,
  { name, addresses }: NodeSettings,
  taken: readonly Conflict[],
): Promise<void> {
  const detected = taken.filter(({ family }) => {
    const setting = addresses[family];
    return setting.kind === "autodetect" && setting.always;
  });
  await removeAddresses(client, name, detected);
}

async function removeAddresses(
  client: Client,
  name: string,
  taken: readonly Conflict[],
): Promise<void> {
  if (taken.length === 0 || (await client.find("Node", name)) === undefined) return;
  const has = (family: number): boolean => taken.some((one) => one.family === family);
  await updateNode(client, name, (spec) =>
    withBgp(spec, {
      ...(has(4) ? { ipv4Address: undefined } : {}),
      ...(has(6) ? { ipv6Address: undefined } : {}),
    }),
  );
}

/** The AS number and the names in orchestrators; also when there is nothing to say, so that the node exists. */
async function writeNode(client: Client, settings: NodeSettings): Promise<Node> {
  const { name, asNumber, kubernetesNode, backend } = settings;
  return await updateNode(client, name, (spec) => {
    const routed =
      asNumber === undefined || backend === "none" ? spec : withBgp(spec, { asNumber });
    if (kubernetesNode === undefined) return routed;
    return { ...routed, orchRefs: [{ nodeName: kubernetesNode, orchestrator: "k8s" }] };
  });
}

/** The CNI plugin reads there what this node is called. */
function writeNodename({ nodenameFile, name }: NodeSettings): void {
  try {
    mkdirSync(dirname(nodenameFile), { recursive: true });
    writeFileSync(nodenameFile, name);
  } catch (error) {
    throw systemError(
      "cannot-write",
      `${nodenameFile} cannot be written (${messageOf(error)}): set CALICO_NODENAME_FILE`,
      { cause: error },
    );
  }
}
