/** `margay node` without a flag: start-up, then the services, until it is asked to stop. */
import { mkdirSync } from "node:fs";
import type { Client } from "#ctl";
import type { DatastoreSettings } from "#datastore";
import { logger } from "#log";
import { MargayError, messageOf } from "#std";
import type { Host } from "./addresses.ts";
import type { Directories } from "./directories.ts";
import { flag } from "./environment.ts";
import { servicesOf } from "./services.ts";
import type { NodeSettings } from "./settings.ts";
import { forgetShutdown } from "./shutdown.ts";
import { startUp } from "./startup.ts";
import { supervise } from "./supervisor.ts";
import { allocateOnce } from "./tunnel-service.ts";

const log = logger("node");

export interface RunOptions {
  readonly client: Client;
  readonly datastore: DatastoreSettings;
  readonly settings: NodeSettings;
  readonly host: Host;
  readonly directories: Directories;
  readonly environment: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
}

export async function runNode(options: RunOptions): Promise<void> {
  const { client, settings, host, directories, environment, signal } = options;
  await startUp(client, settings, host, signal);
  forgetShutdown(environment);
  const services = servicesOf(settings.backend);
  if (services.includes("allocate-tunnel-addrs")) await tunnels(client, settings.name);
  // The embedded store has its owner here, so that it outlives each service.
  if (options.datastore.type === "etcdv3") await client.store.close();
  mkdirSync(directories.runDir, { recursive: true });
  const fileLogging = !flag(environment, "CALICO_DISABLE_FILE_LOGGING", false);
  const env = {
    ...withoutEtcd(environment),
    ...datastoreEnvironment(options.datastore),
    NODENAME: settings.name,
    MARGAY_RUN_DIR: directories.runDir,
    MARGAY_CONF_DIR: directories.confDir,
    MARGAY_LOG_DIR: directories.logDir,
    MARGAY_SERVICE_DIR: directories.serviceDir,
  };
  const { serviceDir } = directories;
  await supervise({ serviceDir, services, fileLogging, env }, signal);
  log.info("all services have stopped");
}

/** The service goes on trying: a full pool must not keep policy from this node. */
async function tunnels(client: Client, name: string): Promise<void> {
  try {
    await allocateOnce(client, name);
  } catch (error) {
    if (!(error instanceof MargayError) || error.kind === "bug") throw error;
    log.warn("tunnel addresses are not as they should be yet", { error: messageOf(error) });
  }
}

/** A configuration file says all of it: variables do not mix into another cluster's settings. */
function withoutEtcd(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(environment).filter(([name]) => !name.startsWith("ETCD_")),
  );
}

/** What a configuration file says too, for programs that read variables alone. */
function datastoreEnvironment(settings: DatastoreSettings): Record<string, string> {
  if (settings.type === "embedded") {
    return { DATASTORE_TYPE: settings.type, MARGAY_DATA_DIR: settings.embedded.dataDir };
  }
  const { etcd } = settings;
  const variables = {
    DATASTORE_TYPE: settings.type,
    ETCD_ENDPOINTS: etcd.discoverySrv === undefined ? etcd.endpoints.join(",") : undefined,
    ETCD_DISCOVERY_SRV: etcd.discoverySrv,
    ETCD_CA_CERT_FILE: etcd.caCertFile,
    ETCD_CERT_FILE: etcd.certFile,
    ETCD_KEY_FILE: etcd.keyFile,
    ETCD_CA_CERT: etcd.caCert,
    ETCD_CERT: etcd.cert,
    ETCD_KEY: etcd.key,
    ETCD_USERNAME: etcd.username,
    ETCD_PASSWORD: etcd.password,
  };
  return Object.fromEntries(
    Object.entries(variables).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
