/**
 * Who this node speaks BGP with: the mesh, the BGPPeers that select it, those whose other end it is,
 * and local workloads. One session for an address and port: a node's own peer goes before a global
 * one, that before the mesh, and what was left out says why.
 */
import { formatIp, tryParseIp, tryParseIpInNetwork, type IpFamily } from "#ip";
import { parseDuration, type BgpPeer, type Node } from "#resource";
import { parseSelector, type Labels } from "#selector";
import { addressOf, asNumberOf, BGP_PORT, clusterIdOf, settingsOf, type Spec } from "./settings.ts";
import { sorted, type BgpState } from "./state.ts";
import type { Omission, Password, Peer, PeerKind } from "./types.ts";

export type SecretLookup = (name: string, key: string) => string | undefined;

export interface PeerContext {
  readonly state: BgpState;
  readonly spec: Spec;
  readonly family: IpFamily;
  readonly address: string;
  readonly asNumber: number;
  readonly clusterId: string | undefined;
  readonly mesh: boolean;
  readonly secrets: SecretLookup;
  readonly nodeByAddress: ReadonlyMap<string, string>;
}

interface Remote {
  readonly address: string;
  readonly port: number;
  readonly asNumber: number | undefined;
  readonly node?: string;
  readonly clusterId?: string | undefined;
}

type PeerSpec = BgpPeer["spec"];
interface SecretReference {
  readonly secretKeyRef?: { readonly name?: string; readonly key: string };
}

const REVERSE = " (reverse)";

/** Explicit ones by name of their object, then the mesh. */
export function peersOf(context: PeerContext): {
  readonly peers: readonly Peer[];
  readonly omitted: readonly Omission[];
} {
  const found = new Found();
  const objects = sorted(context.state.peers);
  for (const onlyNode of [true, false]) {
    for (const [name, { spec }] of objects) {
      if (isForNode(spec) === onlyNode) direct(context, found, name, spec);
    }
  }
  for (const [name, { spec }] of objects) reverse(context, found, name, spec);
  if (context.mesh) mesh(context, found);
  return { peers: found.peers, omitted: found.omitted };
}

class Found {
  readonly #byAddress = new Map<string, Peer>();
  readonly omitted: Omission[] = [];

  get peers(): readonly Peer[] {
    return [...this.#byAddress.values()];
  }

  add(peer: Peer): void {
    const key = `${peer.address} ${peer.port ?? BGP_PORT}`;
    const first = this.#byAddress.get(key);
    if (first === undefined) this.#byAddress.set(key, peer);
    else if (first.origin !== peer.origin.replace(REVERSE, "")) {
      this.omit(peer.name, peer.origin, `${first.origin} already peers with ${peer.address}`);
    }
  }

  omit(what: string, origin: string, reason: string): void {
    if (!this.omitted.some((one) => one.what === what && one.reason === reason)) {
      this.omitted.push({ what, origin, reason });
    }
  }
}

const isForNode = (spec: PeerSpec): boolean =>
  spec.node !== undefined || spec.nodeSelector !== undefined;
const labelsOf = (node: Node | undefined): Labels => node?.metadata.labels ?? {};

function selects(spec: PeerSpec, name: string, node: Node | undefined): boolean {
  if (spec.node !== undefined) return spec.node === name;
  if (spec.nodeSelector === undefined) return true;
  return node !== undefined && parseSelector(spec.nodeSelector).matches(labelsOf(node));
}

function direct(context: PeerContext, found: Found, name: string, spec: PeerSpec): void {
  const { state } = context;
  if (!selects(spec, state.node, state.nodes.get(state.node))) return;
  const kind: PeerKind = isForNode(spec) ? "node" : "global";
  if (spec.localWorkloadSelector !== undefined) {
    localWorkloads(context, found, name, spec, spec.localWorkloadSelector);
    return;
  }
  for (const remote of remotesOf(context, spec)) {
    addPeer(context, found, { origin: `BGPPeer ${name}`, kind, spec, remote });
  }
}

/** The other side of a BGPPeer that names this node as the peer. */
function reverse(context: PeerContext, found: Found, name: string, spec: PeerSpec): void {
  const { state, family, address } = context;
  if (spec.reversePeering === "Manual" || spec.localWorkloadSelector !== undefined) return;
  const self = state.nodes.get(state.node);
  if (spec.peerSelector === undefined) {
    const target = targetOf(spec);
    if (target?.address !== address) return;
    if (spec.asNumber !== undefined && spec.asNumber !== context.asNumber) return;
    if (target.port !== (settingsOf(state, state.node).listenPort ?? BGP_PORT)) return;
  } else if (!parseSelector(spec.peerSelector).matches(labelsOf(self))) return;
  // Without a selector every node has the peer; those with it by a session each.
  const kind: PeerKind = isForNode(spec) ? "node" : "global";
  for (const [other, node] of sorted(state.nodes)) {
    if (other === state.node || !selects(spec, other, node)) continue;
    if (addressOf(node, family) === undefined) continue;
    const remote = nodeRemote(context, other, node);
    addPeer(context, found, {
      origin: `BGPPeer ${name}${REVERSE}`,
      kind,
      spec,
      remote,
      reversed: true,
    });
  }
}

function mesh(context: PeerContext, found: Found): void {
  const { state, spec, family } = context;
  for (const [name, node] of sorted(state.nodes)) {
    if (name === state.node || node.spec.bgp?.routeReflectorClusterID !== undefined) continue;
    if (addressOf(node, family) === undefined) continue;
    addPeer(context, found, {
      origin: "mesh",
      kind: "mesh",
      remote: nodeRemote(context, name, node),
      spec: {
        ...(spec.nodeMeshPassword === undefined ? {} : { password: spec.nodeMeshPassword }),
        ...(spec.nodeMeshMaxRestartTime === undefined
          ? {}
          : { maxRestartTime: spec.nodeMeshMaxRestartTime }),
      },
    });
  }
}

function localWorkloads(
  context: PeerContext,
  found: Found,
  name: string,
  spec: PeerSpec,
  selector: string,
): void {
  const { state, family } = context;
  const origin = `BGPPeer ${name}`;
  const own =
    family === 4 ? context.spec.localWorkloadPeeringIPV4 : context.spec.localWorkloadPeeringIPV6;
  const chosen = parseSelector(selector);
  for (const [, { metadata, spec: workload }] of sorted(state.workloads)) {
    const { labels } = metadata;
    if (!chosen.matches(labels ?? {})) continue;
    for (const network of workload.ipNetworks ?? []) {
      const ip = tryParseIpInNetwork(network)?.ip ?? tryParseIp(network);
      if (ip?.family !== family) continue;
      const address = formatIp(ip);
      if (own === undefined) {
        found.omit(address, origin, `BGPConfiguration has no localWorkloadPeeringIPV${family}`);
        continue;
      }
      const remote = { address, port: BGP_PORT, asNumber: spec.asNumber };
      addPeer(context, found, { origin, kind: "local-workload", spec, remote, source: own });
    }
  }
}

function targetOf(spec: PeerSpec): { address: string; port: number } | undefined {
  const text = spec.peerIP ?? "";
  const match = /^\[([^\]]+)\]:(\d+)$/.exec(text) ?? /^(\d+\.\d+\.\d+\.\d+):(\d+)$/.exec(text);
  const ip = tryParseIp(match?.[1] ?? text);
  return ip === undefined
    ? undefined
    : { address: formatIp(ip), port: Number(match?.[2] ?? BGP_PORT) };
}

function remotesOf(context: PeerContext, spec: PeerSpec): Remote[] {
  const { state, family, address } = context;
  const target = targetOf(spec);
  if (target !== undefined) {
    if (tryParseIp(target.address)?.family !== family || target.address === address) return [];
    const name = context.nodeByAddress.get(target.address);
    const node = name === undefined ? undefined : state.nodes.get(name);
    if (name === undefined || node === undefined) return [{ ...target, asNumber: spec.asNumber }];
    const { asNumber, ...remote } = nodeRemote(context, name, node);
    return [{ ...remote, ...target, asNumber: spec.asNumber ?? asNumber }];
  }
  if (spec.peerSelector === undefined) return [];
  const chosen = parseSelector(spec.peerSelector);
  return sorted(state.nodes).flatMap(([name, node]) => {
    if (name === state.node || addressOf(node, family) === undefined) return [];
    return chosen.matches(labelsOf(node)) ? [nodeRemote(context, name, node)] : [];
  });
}

/** Only for nodes that have an address of the family. */
function nodeRemote({ state, spec, family }: PeerContext, name: string, node: Node): Remote {
  return {
    node: name,
    address: addressOf(node, family) ?? "",
    port: settingsOf(state, name).listenPort ?? BGP_PORT,
    asNumber: asNumberOf(node, spec),
    clusterId: clusterIdOf(node),
  };
}

interface Wanted {
  readonly origin: string;
  readonly kind: PeerKind;
  readonly spec: PeerSpec;
  readonly remote: Remote;
  readonly source?: string;
  /** Written from the other end: what concerns one side only is not ours. */
  readonly reversed?: boolean;
}

const PREFIX: Readonly<Record<PeerKind, string>> = {
  mesh: "Mesh",
  node: "Node",
  global: "Global",
  "local-workload": "Local_Workload",
};

/** Whether a protocol of BIRD is a session with a peer, by what its name begins with. */
export function isPeerName(protocol: string): boolean {
  return Object.values(PREFIX).some((prefix) => protocol.startsWith(`${prefix}_`));
}

function addPeer(context: PeerContext, found: Found, wanted: Wanted): void {
  const { origin, kind, spec, remote, reversed = false } = wanted;
  const port = remote.port === BGP_PORT ? "" : `_port_${remote.port}`;
  const name = `${PREFIX[kind]}_${remote.address.replaceAll(/[.:]/g, "_")}${port}`;
  if (remote.asNumber === undefined || remote.asNumber === 0) {
    found.omit(name, origin, "there is no AS number for it");
    return;
  }
  const password = passwordOf(context, spec.password);
  if (typeof password === "string") {
    found.omit(name, origin, password);
    return;
  }
  const localAs = (reversed ? undefined : spec.localASNumber) ?? context.asNumber;
  const internal = localAs === remote.asNumber;
  const automatic = remote.node !== undefined && spec.reversePeering !== "Manual";
  const source = wanted.source ?? (spec.sourceAddress === "None" ? undefined : context.address);
  const oneSide = reversed ? {} : oneSided(spec);
  const linkLocal = [remote.address, source, oneSide.reachableBy].find(isLinkLocal);
  if (linkLocal !== undefined) {
    found.omit(name, origin, `${linkLocal} is link-local, which needs an interface: use another`);
    return;
  }
  const reflects =
    internal && context.clusterId !== undefined && context.clusterId !== remote.clusterId;
  const { clusterId } = context;
  found.add({
    name,
    kind,
    origin,
    ...(remote.node === undefined ? {} : { node: remote.node }),
    address: remote.address,
    ...(remote.port === BGP_PORT ? {} : { port: remote.port }),
    remoteAs: remote.asNumber,
    localAs,
    internal,
    // One side of a pair of nodes connects. Calico compares the texts, and both must agree.
    passive: automatic && remote.address > context.address,
    ...(source === undefined ? {} : { sourceAddress: source }),
    ...(password === undefined ? {} : { password }),
    ...timersOf(spec),
    longLivedRestart: spec.restartMode === "LongLivedGracefulRestart",
    ...oneSide,
    nextHop: nextHopOf(spec),
    filters: spec.filters ?? [],
    ...(reflects && clusterId !== undefined ? { reflectorClusterId: clusterId } : {}),
  });
}

/** RFC 4291 §2.5.6. BIRD refuses a whole configuration for one without an interface. */
function isLinkLocal(address: string | undefined): boolean {
  return /^fe[89ab]/i.test(address ?? "");
}

function timersOf(spec: PeerSpec): Partial<Peer> {
  const restart = seconds(spec.maxRestartTime);
  const keepalive = seconds(spec.keepaliveTime);
  const { ttlSecurity } = spec;
  return {
    ...(restart === undefined ? {} : { gracefulRestartSeconds: restart }),
    ...(keepalive === undefined || keepalive === 0 ? {} : { keepaliveSeconds: keepalive }),
    ...(ttlSecurity === undefined || ttlSecurity === 0 ? {} : { ttlSecurityHops: ttlSecurity }),
  };
}

function oneSided(spec: PeerSpec): Partial<Peer> {
  const { numAllowedLocalASNumbers: allowed, reachableBy } = spec;
  const gateway = reachableBy === undefined ? undefined : tryParseIp(reachableBy);
  return {
    ...(allowed === undefined || allowed === 0 ? {} : { allowedLocalAs: allowed }),
    ...(gateway === undefined ? {} : { reachableBy: formatIp(gateway) }),
  };
}

function nextHopOf(spec: PeerSpec): Peer["nextHop"] {
  if (spec.nextHopMode === "Self") return "self";
  return spec.nextHopMode === "Keep" || spec.keepOriginalNextHop === true ? "keep" : "auto";
}

/** Whole ones, rounded up; BIRD takes 16 bits. */
function seconds(duration: string | undefined): number | undefined {
  const nanoseconds = duration === undefined ? undefined : parseDuration(duration);
  if (nanoseconds === undefined || nanoseconds < 0n) return undefined;
  return Math.min(Math.ceil(Number(nanoseconds) / 1e9), 4095);
}

/** A text is the reason why there is none: a session that should have one is not set up without. */
function passwordOf(
  { secrets }: PeerContext,
  reference: SecretReference | undefined,
): Password | string | undefined {
  const at = reference?.secretKeyRef;
  if (at === undefined) return undefined;
  const { name = "", key } = at;
  const value = secrets(name, key);
  if (value === undefined)
    return `its password, key ${key} of Secret ${name}, is not to be had (files in --secrets-dir)`;
  // BIRD's strings have no escapes; RFC 2385 keys are at most 80 bytes.
  if (!/^[^"\p{Cc}]{1,80}$/u.test(value)) {
    return `its password, key ${key} of Secret ${name}, is empty, too long, or has a quote or control character`;
  }
  return { secret: name, key, value };
}
