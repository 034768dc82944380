/** Cluster-wide information and the settings of the controllers; node status reports. */
import {
  any,
  bool,
  duration,
  field,
  int,
  list,
  object,
  oneOf,
  text,
  type ObjectSpec,
} from "../schema.ts";
import { logSeverity } from "./bgp.ts";

export const clusterInformationSpec: ObjectSpec = object([
  field("clusterGUID", text, "identity of the cluster"),
  field("clusterType", text, "what the cluster is made of, comma-separated"),
  field("calicoVersion", text, "the version that wrote last"),
  field("datastoreReady", bool, "agents wait until this is true", { zero: "keep" }),
  field("variant", text, "the product that wrote last"),
]);

const enabled = oneOf("Enabled", "Disabled");
const period = field("reconcilerPeriod", duration, "time between full comparisons", {
  zero: "keep",
});
const periodOnly = object([period]);

const controllers = object([
  field(
    "node",
    object([
      period,
      field("syncLabels", enabled, "copy labels of Kubernetes nodes"),
      field(
        "hostEndpoint",
        object([
          field("autoCreate", enabled, "make a host endpoint for every node"),
          field("createDefaultHostEndpoint", enabled, "with the default one"),
          field("templates", any, "host endpoints to make"),
        ]),
        "automatic host endpoints",
        { zero: "keep" },
      ),
      field("leakGracePeriod", duration, "how long an address without owner is kept", {
        zero: "keep",
      }),
    ]),
    "keeps nodes in step",
    { zero: "keep" },
  ),
  field("policy", periodOnly, "copies Kubernetes network policies", { zero: "keep" }),
  field("workloadEndpoint", periodOnly, "keeps endpoints' labels in step", { zero: "keep" }),
  field("serviceAccount", periodOnly, "makes profiles of service accounts", { zero: "keep" }),
  field("namespace", periodOnly, "makes profiles of namespaces", { zero: "keep" }),
  field(
    "loadBalancer",
    object([
      field(
        "assignIPs",
        oneOf("AllServices", "RequestedServicesOnly"),
        "which services get addresses",
      ),
    ]),
    "gives addresses to services",
    { zero: "keep" },
  ),
  field("migration", any, "migration of policies", { zero: "keep" }),
]);

export const kubeControllersSpec: ObjectSpec = object([
  field("logSeverityScreen", logSeverity, "log level"),
  field("healthChecks", enabled, "serve health checks", { default: "Enabled" }),
  field("prometheusMetricsPort", int(0, 65535), "port of the metrics; 0 for none", {
    zero: "keep",
    default: 9094,
  }),
  field("etcdV3CompactionPeriod", duration, "time between compactions of etcd", { zero: "keep" }),
  field("debugProfilePort", int(0, 65535), "port for profiles", { zero: "keep" }),
  field("controllers", controllers, "the controllers that run", { required: true, zero: "keep" }),
]);

export const nodeStatusReportSpec: ObjectSpec = object([
  field("node", text, "the node to report on", { required: true }),
  field("classes", list(oneOf("Agent", "BGP", "Routes"), { unique: true }), "what to report"),
  field("updatePeriodSeconds", int(0), "time between reports", { zero: "keep" }),
]);
