/** `margay datastore`: owns an embedded store and serves it until it is asked to stop. */
import { CommanderError } from "commander";
import { DatastoreServer, embeddedSocketPath, Engine } from "#datastore";
import { configureLogging, flushLogs, logger } from "#log";
import { messageOf } from "#std";
import {
  datastoreProgram,
  readFlags,
  withTwoDashes,
  type DatastoreFlags,
} from "./datastore-flags.ts";

const HELP = `
Examples:
  margay datastore                                  only this host, on the socket in the data directory
  margay datastore --listen-client-urls http://127.0.0.1:2379
  margay datastore --listen-client-urls https://0.0.0.0:2379 --cert-file server.pem \\
      --key-file server.key --trusted-ca-file ca.pem --client-cert-auth
  etcdctl --endpoints unix:///var/lib/margay/margay.sock get --prefix /calico/

One process owns a store. While it runs, the other margay commands of this host reach the store
through its socket; without it each command opens the store by itself. Every flag may be given as
etcd's variable too, such as ETCD_DATA_DIR. Certificates that are renewed in
their files are taken without a restart. One store is one node: it does not replicate.`;

/** Resolves with the exit code after SIGTERM or SIGINT. */
export async function datastoreCommand(argv: readonly string[]): Promise<number> {
  const program = datastoreProgram(HELP);
  try {
    program.parse(withTwoDashes(argv), { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    throw error;
  }
  const flags = readFlags(program, process.env);
  await configureLogging({ screen: flags.logLevel });
  return await serve(flags);
}

async function serve(flags: DatastoreFlags): Promise<number> {
  const log = logger("datastore");
  const stop = stopSignal();
  const engine = Engine.open(flags.dataDir, {
    owner: "margay datastore",
    quotaBytes: flags.quotaBytes,
    maxRequestBytes: flags.maxRequestBytes,
    maxTxnOps: flags.maxTxnOps,
    progressIntervalMs: flags.progressIntervalMs,
    ...(flags.autoCompaction === undefined ? {} : { autoCompaction: flags.autoCompaction }),
  });
  try {
    const server = await DatastoreServer.start(engine, {
      listenUrls: [
        ...new Set([`unix://${embeddedSocketPath(flags.dataDir)}`, ...flags.listenUrls]),
      ],
      advertiseUrls: flags.advertiseUrls,
      name: flags.name,
      tls: flags.tls,
      maxRequestBytes: flags.maxRequestBytes,
      onInternalError: (error, path) => {
        log.error("request failed", { path, error: messageOf(error) });
      },
      onRejected: (error, remoteAddress) => {
        log.warn("connection refused by TLS", { remoteAddress, error: messageOf(error) });
      },
    });
    const { dataDir } = flags;
    log.info("serving", { dataDir, revision: engine.revision, urls: server.urls });
    const signal = await stop;
    log.info("stopping", { signal });
    await server.close();
  } finally {
    await engine.close();
    flushLogs();
  }
  return 0;
}

async function stopSignal(): Promise<NodeJS.Signals> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve(signal));
  return await promise;
}
