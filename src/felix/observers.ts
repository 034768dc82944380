/**
 * What tells others about the agent: health, metrics, its own status and that of endpoints. None
 * of it can hold up or stop the dataplane.
 */
import {
  workloadIdentity,
  type FromDataplane,
  type GraphStatistics,
  type ToDataplane,
  type WorkloadEndpoint,
} from "#calc";
import type { Datastore } from "#datastore";
import { logCounts, logger } from "#log";
import { counter, gauge, type Counter, type Gauge, type Labels } from "#metrics";
import { felixStatusPrefix } from "#model";
import { messageOf } from "#std";
import type { Agent } from "./agent.ts";
import type { FelixValues } from "./config/params.ts";
import type { FelixConfig } from "./config/resolve.ts";
import { EndpointStatusFiles } from "./endpoint-files.ts";
import { EndpointStatusReporter } from "./endpoint-status.ts";
import { Health } from "./health.ts";
import { serveHealth, serveMetrics, type RunningServer } from "./http-servers.ts";
import { ProcessStatusReporter } from "./process-status.ts";

const log = logger("felix");
const HEARTBEAT_MS = 5000;

/** Felix's names for the sizes that the graph knows. */
type GraphCount = Exclude<keyof GraphStatistics, "labelIndex">;
const graphGauges: Readonly<Record<GraphCount, Gauge>> = {
  activeLocalEndpoints: gauge("felix_active_local_endpoints", "Endpoints on this host."),
  activeLocalPolicies: gauge("felix_active_local_policies", "Policies that apply on this host."),
  activeLocalSelectors: gauge("felix_active_local_selectors", "IP sets in use on this host."),
  clusterPolicies: gauge("felix_cluster_num_policies", "Policies in the cluster."),
  clusterWorkloadEndpoints: gauge(
    "felix_cluster_num_workload_endpoints",
    "Workload endpoints in the cluster.",
  ),
  clusterHostEndpoints: gauge("felix_cluster_num_host_endpoints", "Host endpoints in the cluster."),
  clusterHosts: gauge("felix_cluster_num_hosts", "Nodes in the cluster."),
  clusterProfiles: gauge("felix_cluster_num_profiles", "Profiles in the cluster."),
  clusterTiers: gauge("felix_cluster_num_tiers", "Tiers in the cluster."),
};
const ipSets = gauge("felix_ipsets_calico", "IP sets that the agent has in force.");
const indexedItems = gauge(
  "felix_label_index_num_endpoints",
  "Endpoints and network sets in the index of labels.",
);
const indexedSelectors = gauge(
  "felix_label_index_num_active_selectors",
  "Selectors in the index of labels; optimized: only items with a certain label are tried.",
  ["optimized"],
);
const selectorEvaluations = counter(
  "felix_label_index_selector_evals",
  "Times a selector was tried on an item, by result.",
  ["result"],
);
const hostInfo = gauge("felix_host", "This host.", ["host"]);
const logErrors = gauge("felix_log_errors", "Errors logged since the start.");

export interface ObserverOptions {
  readonly store: Datastore;
  readonly hostname: string;
  /** The embedded store has no fleet to burden: endpoint status is on unless it is switched off. */
  readonly embedded: boolean;
  readonly statistics: () => GraphStatistics;
}

export class Observers {
  readonly #options: ObserverOptions;
  readonly #health = new Health(() => performance.now());
  readonly #endpoints = new Map<string, WorkloadEndpoint>();
  #servers: RunningServer[] = [];
  #healthServer: RunningServer | undefined;
  #healthAddress = "";
  #process: ProcessStatusReporter | undefined;
  #status: EndpointStatusReporter | undefined;
  #files: EndpointStatusFiles | undefined;
  #heartbeat: NodeJS.Timeout | undefined;
  #agent: Agent | undefined;
  #wasInSync = false;
  #external = false;
  #watchdogMs = 90_000;

  constructor(options: ObserverOptions) {
    this.#options = options;
    hostInfo.set(1, { host: options.hostname });
    const both = { live: true, ready: true };
    this.#health.register("FelixStartup", { reports: both, timeoutMs: 0 });
    this.#health.register("DatastoreSync", { reports: both, timeoutMs: 0 });
    this.#health.register("CalculationGraph", { reports: both, timeoutMs: 30_000 });
    this.#health.register("InternalDataplaneMainLoop", { reports: both, timeoutMs: 90_000 });
  }

  /** Health answers while the datastore is still awaited, when the local settings say so. */
  serveEarly(values: FelixValues): void {
    this.#serveHealth(values);
  }

  watch(agent: Agent): void {
    this.#agent = agent;
    this.#beat();
    this.#heartbeat = setInterval(() => this.#beat(), HEARTBEAT_MS);
  }

  async start(config: FelixConfig): Promise<void> {
    const { values } = config;
    this.#watchdogMs = values.DataplaneWatchdogTimeout;
    this.#external = !values.UseInternalDataplaneDriver;
    this.reconfigure(values);
    this.#serveHealth(values);
    if (values.PrometheusMetricsEnabled) {
      try {
        this.#servers.push(await serveMetrics(values, () => this.#refreshGauges()));
      } catch (error) {
        log.error("metrics are not served", { reason: messageOf(error) });
      }
    }
    this.#startStatus(config);
  }

  reconfigure(values: FelixValues): void {
    this.#health.overrideTimeouts({
      InternalDataplaneMainLoop: values.DataplaneWatchdogTimeout,
      ...values.HealthTimeoutOverrides,
    });
  }

  onMessage(message: ToDataplane): void {
    if (message.case === "workloadEndpointUpdate") {
      this.#endpoints.set(workloadIdentity(message.value.id), message.value.endpoint);
    } else if (message.case === "workloadEndpointRemove") {
      this.#endpoints.delete(workloadIdentity(message.value.id));
    }
  }

  onDataplaneStatus(message: FromDataplane): void {
    this.#status?.onStatus(message);
    this.#files?.onStatus(message);
    switch (message.case) {
      case "processStatusUpdate": {
        const { isoTimestamp: time, uptime } = message.value;
        this.#process?.report({ time, uptime });
        return;
      }
      case "dataplaneInSync":
        this.#sweepStale();
        return;
      case "wireguardStatusUpdate":
        if (message.value.publicKey !== "") {
          log.warn("the dataplane has a WireGuard key, which this build does not publish");
        }
        return;
      default:
    }
  }

  /** Everything was programmed once: the agent is up. */
  onProgrammed(): void {
    this.#health.report("FelixStartup", { live: true, ready: true });
    // An external driver reports when it likes, and says when it has reported on all.
    if (!this.#external) this.#sweepStale();
    this.#beat(true);
    log.info("ready", { endpoints: this.#endpoints.size, afterSeconds: process.uptime() });
  }

  #sweepStale(): void {
    this.#status?.sweepStale();
    this.#files?.sweepStale();
  }

  async close(): Promise<void> {
    clearInterval(this.#heartbeat);
    await Promise.all([
      this.#process?.close(),
      this.#status?.close(),
      this.#files?.close(),
      this.#healthServer?.close(),
      ...this.#servers.map((server) => server.close()),
    ]);
  }

  /** Where the configuration says; the datastore may say otherwise than the local sources did. */
  #serveHealth({ HealthEnabled, HealthHost, HealthPort }: FelixValues): void {
    const address = HealthEnabled ? `${HealthHost} ${HealthPort}` : "";
    if (address === this.#healthAddress) return;
    this.#healthAddress = address;
    if (this.#healthServer !== undefined) {
      this.#healthServer.close().catch((error: unknown) => {
        log.warn("health server did not close", { reason: messageOf(error) });
      });
    }
    this.#healthServer = HealthEnabled
      ? serveHealth(this.#health, HealthHost, HealthPort)
      : undefined;
  }

  #startStatus({ values, origins }: FelixConfig): void {
    const { store, hostname, embedded } = this.#options;
    const prefix = felixStatusPrefix(values.OpenstackRegion, hostname);
    if (values.ReportingIntervalSecs > 0 || this.#external) {
      this.#process = new ProcessStatusReporter(store, {
        prefix,
        intervalMs: values.ReportingIntervalSecs,
        ttlMs: values.ReportingTTLSecs,
        now: () => new Date(),
        uptimeSeconds: () => process.uptime(),
      });
      if (!this.#external) this.#process.start();
    }
    const byDefault = embedded && origins.EndpointReportingEnabled.source === "default";
    if (values.EndpointReportingEnabled || byDefault) {
      this.#status = new EndpointStatusReporter(
        store,
        prefix,
        hostname,
        values.EndpointReportingDelaySecs,
      );
    }
    if (values.EndpointStatusPathPrefix !== "") {
      this.#files = new EndpointStatusFiles(values.EndpointStatusPathPrefix, (id) =>
        this.#endpoints.get(workloadIdentity(id)),
      );
    }
  }

  #beat(programmed = false): void {
    const agent = this.#agent;
    if (agent === undefined) return;
    // As Felix: once in sync it stays ready while the datastore is away; policy is in force.
    this.#wasInSync ||= agent.syncStatus === "in-sync";
    const ready = this.#wasInSync;
    this.#health.report("DatastoreSync", { live: true, ready, detail: agent.syncStatus });
    this.#health.report("CalculationGraph", { live: true, ready });
    if (agent.waitingFor !== "") {
      this.#health.report("FelixStartup", {
        live: true,
        ready: false,
        detail: `waiting: ${agent.waitingFor}`,
      });
    }
    this.#refreshGauges();
    // A round that hangs stops the reports, and the timeout does the rest.
    const ageMs = agent.roundAgeMs();
    if (ageMs !== undefined && ageMs > this.#watchdogMs) return;
    this.#health.report("InternalDataplaneMainLoop", {
      live: true,
      ready: programmed || agent.programmed,
    });
  }

  #refreshGauges(): void {
    const { labelIndex, ...counts } = this.#options.statistics();
    for (const [name, value] of Object.entries(counts)) {
      graphGauges[name as GraphCount].set(value);
    }
    ipSets.set(counts.activeLocalSelectors);
    indexedItems.set(labelIndex.items);
    indexedSelectors.set(labelIndex.optimizedSelectors, { optimized: "true" });
    indexedSelectors.set(labelIndex.otherSelectors, { optimized: "false" });
    advance(selectorEvaluations, labelIndex.hits, { result: "true" });
    advance(selectorEvaluations, labelIndex.misses, { result: "false" });
    logErrors.set(logCounts().error + logCounts().fatal);
  }
}

/** To a number that somebody else counts. */
function advance(to: Counter, value: number, labels: Labels): void {
  to.inc(value - to.value(labels), labels);
}
