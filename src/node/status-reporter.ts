/**
 * `margay node -status-reporter`: fills the status of each CalicoNodeStatus of this node, every
 * `spec.updatePeriodSeconds`, from what the two BIRD processes say.
 */
import type { Client } from "#ctl";
import { logger } from "#log";
import { decodeStored, kindPrefix, type CalicoNodeStatus } from "#resource";
import { messageOf } from "#std";
import { PrefixFollower, type Change } from "#sync";
import { readAgent, readPeers, readRoutes, type PeerStatus } from "./bird-status.ts";

const log = logger("node.status");

export interface StatusReporterOptions {
  readonly client: Client;
  readonly node: string;
  /** BIRD's control sockets. */
  readonly sockets: { readonly v4: string; readonly v6: string };
  readonly now: () => Date;
  readonly signal: AbortSignal;
}

/** Until the signal aborts. */
export async function reportNodeStatus(options: StatusReporterOptions): Promise<void> {
  const { client, signal } = options;
  const reports = new Map<string, Report>();
  const onChanges = (changes: readonly Change[]): void => {
    for (const { path, value } of changes) {
      const wanted = value === null ? undefined : specOf(path, value);
      const before = reports.get(path);
      // What comes back of our own writing changes nothing.
      if (before !== undefined && before.spec === wanted?.spec) continue;
      before?.close();
      reports.delete(path);
      const { node, updatePeriodSeconds = 0 } = wanted?.object.spec ?? {};
      if (wanted === undefined || node !== options.node || updatePeriodSeconds === 0) continue;
      reports.set(path, new Report(wanted.object, wanted.spec, options));
    }
  };
  await new PrefixFollower({
    store: client.store,
    prefix: kindPrefix("CalicoNodeStatus"),
    signal,
    initialPauseMs: 100,
    maxPauseMs: 5000,
    random: Math.random,
    onChanges,
    onReachable: () => undefined,
    onComplete: () => undefined,
  }).run();
  for (const report of reports.values()) report.close();
}

function specOf(path: string, value: string) {
  try {
    const object = decodeStored(value) as CalicoNodeStatus;
    return { object, spec: JSON.stringify([object.metadata.uid, object.spec]) };
  } catch (error) {
    log.warn("an object is not valid and counts as absent", { path, error: messageOf(error) });
    return undefined;
  }
}

/** One object, kept up to date. */
class Report {
  readonly spec: string;
  readonly #name: string;
  readonly #options: StatusReporterOptions;
  readonly #timer: NodeJS.Timeout;
  #writing = false;

  constructor(object: CalicoNodeStatus, spec: string, options: StatusReporterOptions) {
    this.spec = spec;
    this.#name = object.metadata.name;
    this.#options = options;
    this.#timer = setInterval(
      () => void this.#write(),
      (object.spec.updatePeriodSeconds ?? 0) * 1000,
    );
    void this.#write();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** The next period tries again what this one could not do. */
  async #write(): Promise<void> {
    if (this.#writing) return;
    this.#writing = true;
    try {
      const object = await this.#options.client.find("CalicoNodeStatus", this.#name);
      if (object === undefined) return;
      const status = await statusOf(object, this.#options);
      await this.#options.client.update({ ...object, status });
    } catch (error) {
      log.warn("the node's status could not be written", {
        name: this.#name,
        error: messageOf(error),
      });
    } finally {
      this.#writing = false;
    }
  }
}

/** Fields in the order of Calico's API; a class that is not asked for keeps its last report. */
async function statusOf(
  { spec, status = {} }: CalicoNodeStatus,
  { sockets: { v4, v6 }, now }: StatusReporterOptions,
): Promise<Readonly<Record<string, unknown>>> {
  const classes = spec.classes ?? [];
  return {
    lastUpdated: now()
      .toISOString()
      .replace(/\.\d+Z$/, "Z"),
    agent: classes.includes("Agent")
      ? { birdV4: await readAgent(v4), birdV6: await readAgent(v6) }
      : status["agent"],
    bgp: classes.includes("BGP")
      ? bgpStatus(await readPeers(v4), await readPeers(v6))
      : status["bgp"],
    routes: classes.includes("Routes")
      ? { routesV4: await readRoutes(v4), routesV6: await readRoutes(v6) }
      : status["routes"],
  };
}

function bgpStatus(peersV4: readonly PeerStatus[], peersV6: readonly PeerStatus[]) {
  const established = (peers: readonly PeerStatus[]): number =>
    peers.filter(({ state }) => state === "Established").length;
  return {
    numberEstablishedV4: established(peersV4),
    numberNotEstablishedV4: peersV4.length - established(peersV4),
    numberEstablishedV6: established(peersV6),
    numberNotEstablishedV6: peersV6.length - established(peersV6),
    peersV4,
    peersV6,
  };
}
