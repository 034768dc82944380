/**
 * Objects that orchestrators keep beside the v3 resources, in Kubernetes' shapes: EndpointSlice and
 * Service (`discovery.k8s.io/v1`, `v1`), and LiveMigration. Nobody has validated them.
 */
import { formatIp, tryParseIp } from "#ip";
import { parseComposedSelector } from "#selector";
import { inputError, messageOf } from "#std";
import type { ForeignPath } from "./paths.ts";
import { listOf, numberOf, recordOf, textOf, textsOf, type Raw } from "./raw.ts";
import type {
  MigratingWorkload,
  ModelEndpointSlice,
  ModelLiveMigration,
  ModelService,
  ModelUpdate,
} from "./types.ts";

const SERVICE_OF_SLICE = "kubernetes.io/service-name";

/** Throws an input error for what is no JSON object. */
export function foreignUpdate({ kind, namespace, name }: ForeignPath, text: string): ModelUpdate {
  const object = parse(text);
  switch (kind) {
    case "EndpointSlice":
      return { key: { kind, namespace, name }, value: endpointSlice(object) };
    case "KubernetesService":
      return { key: { kind, namespace, name }, value: service(object) };
    default:
      return { key: { kind, namespace, name }, value: liveMigration(object) };
  }
}

function parse(text: string): Raw {
  try {
    return recordOf(JSON.parse(text));
  } catch (error) {
    throw inputError("invalid-resource", `the stored value is no JSON: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** Of a slice of no service there is nothing to know. Endpoints by name (FQDN) have no address. */
function endpointSlice(object: Raw): ModelEndpointSlice | null {
  const name = textOf(recordOf(recordOf(object["metadata"])["labels"])[SERVICE_OF_SLICE]);
  if (name === "") return null;
  const addresses = listOf(object["endpoints"]).flatMap((endpoint) =>
    textsOf(recordOf(endpoint)["addresses"]).flatMap((text) => {
      const ip = tryParseIp(text);
      return ip === undefined ? [] : [formatIp(ip)];
    }),
  );
  const ports = listOf(object["ports"]).flatMap((one) => {
    const { port, protocol } = recordOf(one);
    if (typeof port !== "number") return [];
    return [{ protocol: (textOf(protocol) || "TCP").toLowerCase(), port }];
  });
  return { service: name, addresses, ports };
}

function service(object: Raw): ModelService {
  const spec = recordOf(object["spec"]);
  const clusterIps = textsOf(spec["clusterIPs"]);
  const clusterIp = textOf(spec["clusterIP"]);
  const ingress = listOf(recordOf(recordOf(object["status"])["loadBalancer"])["ingress"]);
  return {
    type: textOf(spec["type"]),
    clusterIps: clusterIps.length > 0 || clusterIp === "" ? clusterIps : [clusterIp],
    loadBalancerIp: textOf(spec["loadBalancerIP"]),
    externalIps: textsOf(spec["externalIPs"]),
    ports: listOf(spec["ports"]).map((one) => {
      const { protocol, port, nodePort } = recordOf(one);
      return {
        protocol: textOf(protocol) || "TCP",
        port: numberOf(port),
        nodePort: numberOf(nodePort),
      };
    }),
    loadBalancerIngressIps: ingress
      .map((one) => textOf(recordOf(one)["ip"]))
      .filter((ip) => ip !== ""),
  };
}

function liveMigration(object: Raw): ModelLiveMigration {
  const { source, target } = recordOf(object["spec"]);
  const from = recordOf(source);
  const to = recordOf(target);
  const sourceId = migrating(from["workload"]) ?? migrating(from["workloadEndpoint"]);
  const selector = textOf(to["selector"]);
  const targetId =
    selector === ""
      ? migrating(to["workloadEndpoint"])
      : { selector: parseComposedSelector(selector).canonical };
  return {
    uid: textOf(recordOf(object["metadata"])["uid"]),
    ...(sourceId === undefined ? {} : { source: sourceId }),
    ...(targetId === undefined ? {} : { target: targetId }),
  };
}

function migrating(value: unknown): MigratingWorkload | undefined {
  const fields = recordOf(value);
  const workloadId = textOf(fields["workloadID"]);
  if (workloadId === "") return undefined;
  const endpointId = textOf(fields["endpointID"]);
  return {
    hostname: textOf(fields["hostname"]),
    orchestratorId: textOf(fields["orchestratorID"]),
    workloadId,
    ...(endpointId === "" ? {} : { endpointId }),
  };
}
