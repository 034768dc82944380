/** Cluster-wide information and the settings of the controllers; node status reports. */
import {
  bool,
  duration,
  field,
  int,
  labelMap,
  list,
  neededInManifest,
  newlyFormatted,
  object,
  oneOf,
  longSelector,
  text,
  type ObjectSpec,
} from "../schema.ts";

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

const template = object([
  field("generateName", newlyFormatted("name"), "ends the names of the endpoints"),
  field("interfaceCIDRs", list(newlyFormatted("cidr-or-ip")), "addresses that are expected"),
  field("interfacePattern", newlyFormatted("regexp"), "interfaces by name"),
  field("labels", labelMap, "labels of the endpoints"),
  field("nodeSelector", longSelector, "the nodes that get them"),
]);

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
          field("templates", list(template), "host endpoints to make"),
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
        { default: "AllServices" },
      ),
    ]),
    "gives addresses to services",
    { zero: "keep" },
  ),
  field(
    "policyMigration",
    object([
      field("enabled", enabled, "rename policies of older versions", { default: "Enabled" }),
    ]),
    "migration of policies",
    { zero: "keep" },
  ),
]);

export const kubeControllersSpec: ObjectSpec = object([
  field(
    "logSeverityScreen",
    oneOf("None", "Debug", "Info", "Warning", "Error", "Fatal", "Panic"),
    "log level",
  ),
  field("healthChecks", enabled, "serve health checks", { default: "Enabled" }),
  field("etcdV3CompactionPeriod", duration, "time between compactions of etcd", { zero: "keep" }),
  field("prometheusMetricsPort", int(0, 65535), "port of the metrics; 0 for none", {
    zero: "keep",
    default: 9094,
  }),
  field("controllers", controllers, "the controllers that run", { required: true, zero: "keep" }),
  field("debugProfilePort", int(0, 65535), "port for profiles", { zero: "keep" }),
]);

export const nodeStatusReportSpec: ObjectSpec = object(
  [
    field("node", newlyFormatted("name"), "the node to report on", { required: true }),
    field("classes", list(oneOf("Agent", "BGP", "Routes"), { unique: true }), "what to report"),
    field("updatePeriodSeconds", int(0, 86_400), "time between reports; 0 for none", {
      zero: "keep",
    }),
  ],
  [neededInManifest("classes"), neededInManifest("updatePeriodSeconds")],
);
