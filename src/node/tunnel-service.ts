/** `margay node -allocate-tunnel-addrs`: keeps the tunnel addresses as pools and labels say. */
import { setTimeout as delay } from "node:timers/promises";
import type { Client } from "#ctl";
import { Ipam } from "#ipam";
import { logger } from "#log";
import { kindPrefix, resourcePath } from "#resource";
import { Backoff, MargayError, messageOf } from "#std";
import { PrefixFollower } from "#sync";
import { allocateTunnelAddresses } from "./tunnel-addresses.ts";

const log = logger("node.tunnels");

/** IPAM's own records are not followed: this is how long a lost one may stay lost. */
const RESYNC_MS = 300_000;

/** Throws as `allocateTunnelAddresses`. */
export async function allocateOnce(client: Client, node: string): Promise<void> {
  await allocateTunnelAddresses(client, new Ipam(client.store), node);
}

/** Until the signal aborts. */
export async function keepTunnelAddresses(
  client: Client,
  node: string,
  signal: AbortSignal,
): Promise<void> {
  let wake = Promise.withResolvers<void>();
  signal.addEventListener("abort", () => wake.resolve(), { once: true });
  const ipam = new Ipam(client.store);
  const following = [kindPrefix("IPPool"), resourcePath("Node", node)].map((prefix) =>
    new PrefixFollower({
      store: client.store,
      prefix,
      signal,
      initialPauseMs: 100,
      maxPauseMs: 5000,
      random: Math.random,
      onChanges: () => wake.resolve(),
      onReachable: () => undefined,
      onComplete: () => wake.resolve(),
    }).run(),
  );
  const backoff = new Backoff({ initialMs: 500, maxMs: 30_000, random: Math.random });
  while (!signal.aborted) {
    let pauseMs = RESYNC_MS;
    try {
      await allocateTunnelAddresses(client, ipam, node);
      backoff.reset();
    } catch (error) {
      if (!(error instanceof MargayError) || error.kind === "bug") throw error;
      pauseMs = backoff.nextMs();
      log.warn("tunnel addresses are not as they should be; trying again", {
        error: messageOf(error),
        pauseMs: Math.round(pauseMs),
      });
    }
    const timer = new AbortController();
    await Promise.race([wake.promise, pause(pauseMs, timer.signal)]);
    timer.abort();
    wake = Promise.withResolvers();
  }
  await Promise.all(following);
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => undefined);
}
