/**
 * One agent for a network namespace. Two would each repair what the other programs, without end; so
 * the second waits a moment for the first to leave, as in a restart, and then says who is there.
 */
import { setTimeout as delay } from "node:timers/promises";
import { logger } from "#log";
import { claimNetworkNamespace, type Claim } from "#netlink";
import { MargayError } from "#std";

const log = logger("felix");

const NAME = "margay-felix";
const PATIENCE_MS = 5000;
const RETRY_MS = 100;
const NO_CLAIM: Claim = { release: () => undefined };

/**
 * Throws the system error `already-claimed` when another agent stays; undefined when stopped. A
 * holder of another user cannot be an agent that programs this kernel: it must not keep policy off.
 */
export async function claimHost(
  stopping: AbortSignal,
  patienceMs = PATIENCE_MS,
): Promise<Claim | undefined> {
  const deadline = performance.now() + patienceMs;
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
