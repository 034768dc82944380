/**
 * One agent for a network namespace. Two would each repair what the other programs, without end; so
 * the second waits a moment for the first to leave, as in a restart, and then says who is there.
 */
import { setTimeout as delay } from "node:timers/promises";
import { flushLogs, logger } from "#log";
import { claimNetworkNamespace, type Claim } from "#netlink";
import { MargayError } from "#std";
import type { FelixConfig } from "./config/resolve.ts";

const log = logger("felix");

const NAME = "margay-felix";
const PATIENCE_MS = 5000;
const RETRY_MS = 100;
const NO_CLAIM: Claim = { release: () => undefined };

/**
 * Runs `act` as the host's only agent; SIGTERM or SIGINT asks it to stop. 0 if it was asked before it
 * could begin. Throws the system error `already-claimed` when another agent stays.
 */
export async function asSoleAgent(
  { values }: FelixConfig,
  act: (stopping: AbortSignal) => Promise<number>,
): Promise<number> {
  const stopping = new AbortController();
  const onSignal = (): void => stopping.abort();
  process.on("SIGTERM", onSignal).on("SIGINT", onSignal);
  let claim: Claim | undefined;
  try {
    // Another program's dataplane is not this kernel.
    claim = values.UseInternalDataplaneDriver ? await claimHost(stopping.signal) : NO_CLAIM;
    return claim === undefined ? 0 : await act(stopping.signal);
  } finally {
    claim?.release();
    process.off("SIGTERM", onSignal).off("SIGINT", onSignal);
    flushLogs();
  }
}

/**
 * Throws the system error `already-claimed` when another agent stays; undefined when stopped. A
 * holder of another user cannot be an agent that programs this kernel: it must not keep policy off.
 */
async function claimHost(stopping: AbortSignal): Promise<Claim | undefined> {
  const deadline = performance.now() + PATIENCE_MS;
  for (let attempt = 0; !stopping.aborted; attempt++) {
    try {
      return claimNetworkNamespace(NAME);
    } catch (error) {
      if (!(error instanceof MargayError) || error.code !== "already-claimed") throw error;
      const { pid, uid } = error.fields;
      if (uid !== undefined && uid !== process.getuid?.()) {
        log.warn("another user's process holds the agent's name; going on without it", {
          pid,
          uid,
        });
        return NO_CLAIM;
      }
      if (performance.now() >= deadline) throw error;
      if (attempt === 0) log.info("another agent runs on this host; waiting for its end", { pid });
      await delay(RETRY_MS, undefined, { signal: stopping }).catch(() => undefined);
    }
  }
  return undefined;
}
