/** `margay node -monitor-addresses`: the node's addresses, as the host's change. */
import { setTimeout as delay } from "node:timers/promises";
import type { Client } from "#ctl";
import { logger } from "#log";
import { MargayError, messageOf } from "#std";
import type { Host } from "./addresses.ts";
import type { NodeSettings } from "./settings.ts";
import { writeAddresses } from "./startup.ts";

const log = logger("node.addresses");

/** Until the signal aborts. What fails is said once, and tried again at the next look. */
export async function monitorAddresses(
  client: Client,
  settings: NodeSettings,
  host: Host,
  signal: AbortSignal,
): Promise<void> {
  const { pollIntervalMs } = settings;
  log.info("watching the host's addresses", { node: settings.name, pollIntervalMs });
  let complaint = "";
  for (;;) {
    await delay(pollIntervalMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    try {
      const changed = await writeAddresses(client, settings, host);
      if (changed) log.info("the node's addresses changed");
      complaint = "";
    } catch (error) {
      if (!(error instanceof MargayError) || error.kind === "bug") throw error;
      if (messageOf(error) !== complaint) log.error(messageOf(error), { code: error.code });
      complaint = messageOf(error);
    }
  }
}
