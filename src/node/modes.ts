/** What a process of `margay node` may be, with the datastore open. */
import { join } from "node:path";
import type { Client } from "#ctl";
import type { DatastoreSettings } from "#datastore";
import type { Host } from "./addresses.ts";
import type { Directories } from "./directories.ts";
import type { NodeSettings } from "./settings.ts";
import { forgetShutdown } from "./shutdown.ts";

export interface Flags extends Directories {
  readonly config?: string;
  readonly runOnce?: boolean;
  readonly thresholdTime: string;
}

interface World {
  readonly client: Client;
  readonly datastore: DatastoreSettings;
  readonly settings: NodeSettings;
  readonly flags: Flags;
  /** Aborted when this process is asked to stop. */
  readonly signal: AbortSignal;
}

/** What this process is to do; the datastore is open. */
export type Mode = (world: World) => Promise<void>;

/** Loaded on use: the door of netlink costs more than a probe. */
async function loadHost(): Promise<(settings: NodeSettings) => Host> {
  const { hostInterfaces, sourceTowards } = await import("./host.ts");
  return ({ name, kubernetesNode = name }) => ({
    interfaces: hostInterfaces,
    sourceTowards,
    internalIps: async () =>
      (await import("./kubernetes.ts")).internalIps(process.env, kubernetesNode),
  });
}

export const runServices: Mode = async ({ flags, ...world }) => {
  const { runNode } = await import("./run.ts");
  const host = (await loadHost())(world.settings);
  await runNode({ ...world, host, directories: flags, environment: process.env });
};

export const MODES: Readonly<
  Record<string, { readonly summary: string; readonly load: () => Promise<Mode> }>
> = {
  startup: {
    summary: "find this node's name and addresses, write what the cluster needs, and exit",
    load: async () => {
      const { startUp } = await import("./startup.ts");
      const hostFor = await loadHost();
      return async ({ client, settings, signal }) => {
        await startUp(client, settings, hostFor(settings), signal);
        forgetShutdown(process.env);
      };
    },
  },
  "allocate-tunnel-addrs": {
    summary: "keep the addresses of this node's tunnels as the pools say",
    load: async () => {
      const { allocateOnce, keepTunnelAddresses } = await import("./tunnel-service.ts");
      return async ({ client, settings, flags, signal }) => {
        if (flags.runOnce === true) await allocateOnce(client, settings.name);
        else await keepTunnelAddresses(client, settings.name, signal);
      };
    },
  },
  "monitor-addresses": {
    summary: "keep the node's addresses as those of the host change",
    load: async () => {
      const { monitorAddresses } = await import("./monitor.ts");
      const hostFor = await loadHost();
      return async ({ client, settings, signal }) => {
        await monitorAddresses(client, settings, hostFor(settings), signal);
      };
    },
  },
  "status-reporter": {
    summary: "fill the CalicoNodeStatus objects of this node",
    load: async () => {
      const { reportNodeStatus } = await import("./status-reporter.ts");
      return async ({ client, settings, flags: { runDir }, signal }) => {
        await reportNodeStatus({
          client,
          node: settings.name,
          sockets: { v4: join(runDir, "bird.ctl"), v6: join(runDir, "bird6.ctl") },
          now: () => new Date(),
          signal,
        });
      };
    },
  },
};

export const PROBES = [
  "felix-live",
  "felix-ready",
  "bird-live",
  "bird-ready",
  "bird6-live",
  "bird6-ready",
] as const;
export type Probe = (typeof PROBES)[number];
