/** Field numbers of Calico's felixbackend.proto: all payloads of ToDataplane and FromDataplane. */
import {
  RouteTypes,
  type FromDataplane,
  type HostEndpoint,
  type NatInfo,
  type RawConfigSource,
  type RouteUpdate,
  type ServiceUpdate,
  type ToDataplane,
  type WorkloadEndpoint,
  type WorkloadEndpointId,
} from "#calc";
import {
  bitmap,
  bool,
  double,
  enumeration,
  int,
  list,
  message,
  nested,
  optionalMap,
  optionalString,
  required,
  string,
  stringMap,
  strings,
  type MessageCodec,
} from "./fields.ts";
import {
  activePolicyRemove,
  activePolicyUpdate,
  activeProfileRemove,
  activeProfileUpdate,
  ipVersion,
  tierInfo,
} from "./policy-messages.ts";

type ToValue<C extends ToDataplane["case"]> = Extract<ToDataplane, { case: C }>["value"];

const rawConfig = message<RawConfigSource>({ source: string(1), config: stringMap(2) });

const configUpdate = message<ToValue<"configUpdate">>({
  config: stringMap(1),
  sourceToRawConfig: optionalMap(2, rawConfig),
  message: optionalString(3),
});

const nothing = message<Record<string, never>>({});

const ipsetUpdate = message<ToValue<"ipsetUpdate">>({
  id: string(1),
  members: strings(2),
  type: enumeration(3, "IPSetType", { IP: 0, IP_AND_PORT: 1, NET: 2 }),
});
const ipsetDeltaUpdate = message<ToValue<"ipsetDeltaUpdate">>({
  id: string(1),
  addedMembers: strings(2),
  removedMembers: strings(3),
});
const ipsetRemove = message<ToValue<"ipsetRemove">>({ id: string(1) });

const workloadId = message<WorkloadEndpointId>({
  orchestratorId: string(2),
  workloadId: string(3),
  endpointId: string(4),
});
const natInfo = message<NatInfo>({ extIp: string(1), intIp: string(2) });
const workloadEndpoint = message<WorkloadEndpoint>({
  state: string(1),
  name: string(2),
  mac: string(3),
  profileIds: strings(4),
  ipv4Nets: strings(5),
  ipv6Nets: strings(6),
  tiers: list(7, tierInfo),
  ipv4Nat: list(8, natInfo),
  ipv6Nat: list(9, natInfo),
  allowSpoofedSourcePrefixes: strings(10),
  annotations: stringMap(11),
  liveMigrationRole: {
    ...enumeration(17, "LiveMigrationRole", { NO_ROLE: 0, SOURCE: 1, TARGET: 2 }),
    absent: () => undefined,
  },
  liveMigrationUid: optionalString(18),
});
const workloadEndpointUpdate = message<ToValue<"workloadEndpointUpdate">>({
  id: required(1, workloadId),
  endpoint: required(5, workloadEndpoint),
});
const workloadEndpointRemove = message<ToValue<"workloadEndpointRemove">>({
  id: required(1, workloadId),
});

const hostId = message<{ readonly endpointId: string }>({ endpointId: string(2) });
const hostEndpoint = message<HostEndpoint>({
  name: string(1),
  profileIds: strings(2),
  tiers: list(3, tierInfo),
  expectedIpv4Addrs: strings(4),
  expectedIpv6Addrs: strings(5),
  untrackedTiers: list(6, tierInfo),
  preDnatTiers: list(7, tierInfo),
  forwardTiers: list(8, tierInfo),
});
const hostEndpointUpdate = message<ToValue<"hostEndpointUpdate">>({
  id: required(1, hostId),
  endpoint: required(3, hostEndpoint),
});
const hostEndpointRemove = message<ToValue<"hostEndpointRemove">>({ id: required(1, hostId) });

const hostMetadataUpdate = message<ToValue<"hostMetadataUpdate">>({
  hostname: string(1),
  ipv4Addr: string(2),
  ipv6Addr: string(3),
  asnumber: string(4),
  labels: stringMap(5),
});
const hostMetadataRemove = message<ToValue<"hostMetadataRemove">>({ hostname: string(1) });

const pool = message<ToValue<"ipamPoolUpdate">["pool"]>({
  cidr: string(1),
  masquerade: bool(2),
  ipipMode: string(3),
  vxlanMode: string(4),
  allowedUses: strings(5),
});
const ipamPoolUpdate = message<ToValue<"ipamPoolUpdate">>({
  id: string(1),
  pool: required(2, pool),
});
const ipamPoolRemove = message<ToValue<"ipamPoolRemove">>({ id: string(1) });

const tunnelType = message<NonNullable<RouteUpdate["tunnelType"]>>({
  ipip: bool(1),
  vxlan: bool(2),
  wireguard: bool(3),
});
const routeUpdate = message<RouteUpdate>({
  ipPoolType: enumeration(2, "IPPoolType", { NONE: 0, NO_ENCAP: 1, VXLAN: 2, IPIP: 3 }),
  dst: string(3),
  dstNodeName: string(4),
  dstNodeIp: string(5),
  sameSubnet: bool(7),
  natOutgoing: bool(8),
  localWorkload: bool(9),
  tunnelType: nested(10, tunnelType),
  borrowed: bool(11),
  types: bitmap(12, RouteTypes),
});
const routeRemove = message<ToValue<"routeRemove">>({ dst: string(2) });

const vtepUpdate = message<ToValue<"vtepUpdate">>({
  node: string(1),
  mac: string(2),
  ipv4Addr: string(3),
  parentDeviceIp: string(4),
  macV6: string(5),
  ipv6Addr: string(6),
  parentDeviceIpv6: string(7),
});
const vtepRemove = message<ToValue<"vtepRemove">>({ node: string(1) });

const hostname = message<{ readonly hostname: string }>({ hostname: string(1) });
const wireguardEndpointUpdate = message<ToValue<"wireguardEndpointUpdate">>({
  hostname: string(1),
  publicKey: string(2),
  interfaceIpv4Addr: string(3),
});
const wireguardEndpointV6Update = message<ToValue<"wireguardEndpointV6Update">>({
  hostname: string(1),
  publicKeyV6: string(2),
  interfaceIpv6Addr: string(3),
});

const servicePort = message<ServiceUpdate["ports"][number]>({
  protocol: string(1),
  port: int(2),
  nodePort: int(3),
});
const serviceUpdate = message<ServiceUpdate>({
  name: string(1),
  namespace: string(2),
  type: string(3),
  clusterIps: strings(4),
  loadbalancerIp: string(5),
  externalIps: strings(6),
  ports: list(7, servicePort),
  loadbalancerIngressIps: strings(8),
});
const serviceRemove = message<ToValue<"serviceRemove">>({ name: string(1), namespace: string(2) });

const globalBgpConfigUpdate = message<ToValue<"globalBgpConfigUpdate">>({
  serviceClusterCidrs: strings(1),
  serviceExternalCidrs: strings(2),
  serviceLoadbalancerCidrs: strings(3),
  localWorkloadPeeringIpV4: string(4),
  localWorkloadPeeringIpV6: string(5),
});

const encapsulation = message<ToValue<"encapsulation">>({
  ipipEnabled: bool(1),
  vxlanEnabled: bool(2),
  vxlanEnabledV6: bool(3),
  noEncapEnabled: bool(4),
});

const namespaceId = message<{ readonly name: string }>({ name: string(1) });
const namespaceUpdate = message<ToValue<"namespaceUpdate">>({
  id: required(1, namespaceId),
  labels: stringMap(2),
});
const namespaceRemove = message<ToValue<"namespaceRemove">>({ id: required(1, namespaceId) });

const serviceAccountId = message<ToValue<"serviceAccountRemove">["id"]>({
  namespace: string(1),
  name: string(2),
});
const serviceAccountUpdate = message<ToValue<"serviceAccountUpdate">>({
  id: required(1, serviceAccountId),
  labels: stringMap(2),
});
const serviceAccountRemove = message<ToValue<"serviceAccountRemove">>({
  id: required(1, serviceAccountId),
});

export interface Payload<T> {
  readonly number: number;
  readonly codec: MessageCodec<T>;
}

const payload = <T>(number: number, codec: MessageCodec<T>): Payload<T> => ({ number, codec });

export const TO_DATAPLANE: { readonly [C in ToDataplane["case"]]: Payload<ToValue<C>> } = {
  inSync: payload(1, nothing),
  ipsetUpdate: payload(2, ipsetUpdate),
  ipsetDeltaUpdate: payload(3, ipsetDeltaUpdate),
  ipsetRemove: payload(4, ipsetRemove),
  activeProfileUpdate: payload(5, activeProfileUpdate),
  activeProfileRemove: payload(6, activeProfileRemove),
  activePolicyUpdate: payload(7, activePolicyUpdate),
  activePolicyRemove: payload(8, activePolicyRemove),
  hostEndpointUpdate: payload(9, hostEndpointUpdate),
  hostEndpointRemove: payload(10, hostEndpointRemove),
  workloadEndpointUpdate: payload(11, workloadEndpointUpdate),
  workloadEndpointRemove: payload(12, workloadEndpointRemove),
  configUpdate: payload(13, configUpdate),
  hostMetadataUpdate: payload(14, hostMetadataUpdate),
  ipamPoolUpdate: payload(16, ipamPoolUpdate),
  ipamPoolRemove: payload(17, ipamPoolRemove),
  hostMetadataRemove: payload(18, hostMetadataRemove),
  serviceAccountUpdate: payload(19, serviceAccountUpdate),
  serviceAccountRemove: payload(20, serviceAccountRemove),
  namespaceUpdate: payload(21, namespaceUpdate),
  namespaceRemove: payload(22, namespaceRemove),
  routeUpdate: payload(23, routeUpdate),
  routeRemove: payload(24, routeRemove),
  vtepUpdate: payload(25, vtepUpdate),
  vtepRemove: payload(26, vtepRemove),
  wireguardEndpointUpdate: payload(27, wireguardEndpointUpdate),
  wireguardEndpointRemove: payload(28, hostname),
  globalBgpConfigUpdate: payload(29, globalBgpConfigUpdate),
  encapsulation: payload(30, encapsulation),
  serviceUpdate: payload(31, serviceUpdate),
  serviceRemove: payload(32, serviceRemove),
  wireguardEndpointV6Update: payload(33, wireguardEndpointV6Update),
  wireguardEndpointV6Remove: payload(34, hostname),
};

type FromValue<C extends FromDataplane["case"]> = Extract<FromDataplane, { case: C }>["value"];

/** As on the wire: any text may stand as a state. */
type DriverStatus<Id> = {
  readonly id: Id;
  readonly status: { readonly status: string };
};

type FromWire = {
  readonly workloadEndpointStatusUpdate: DriverStatus<WorkloadEndpointId>;
  readonly hostEndpointStatusUpdate: DriverStatus<{ readonly endpointId: string }>;
};

/** A message of a driver, before its states are looked at. */
export type DriverMessage = {
  [C in FromDataplane["case"]]: {
    readonly case: C;
    readonly value: C extends keyof FromWire ? FromWire[C] : FromValue<C>;
  };
}[FromDataplane["case"]];

type DriverValue<C extends DriverMessage["case"]> = Extract<DriverMessage, { case: C }>["value"];

const status = message<{ readonly status: string }>({ status: string(1) });

export const FROM_DATAPLANE: {
  readonly [C in DriverMessage["case"]]: Payload<DriverValue<C>>;
} = {
  processStatusUpdate: payload(
    3,
    message<FromValue<"processStatusUpdate">>({ isoTimestamp: string(1), uptime: double(2) }),
  ),
  hostEndpointStatusUpdate: payload(
    4,
    message<DriverValue<"hostEndpointStatusUpdate">>({
      id: required(1, hostId),
      status: required(2, status),
    }),
  ),
  hostEndpointStatusRemove: payload(
    5,
    message<DriverValue<"hostEndpointStatusRemove">>({ id: required(1, hostId) }),
  ),
  workloadEndpointStatusUpdate: payload(
    6,
    message<DriverValue<"workloadEndpointStatusUpdate">>({
      id: required(1, workloadId),
      status: required(2, status),
    }),
  ),
  workloadEndpointStatusRemove: payload(
    7,
    message<DriverValue<"workloadEndpointStatusRemove">>({ id: required(1, workloadId) }),
  ),
  wireguardStatusUpdate: payload(
    9,
    message<FromValue<"wireguardStatusUpdate">>({ publicKey: string(1), ipVersion: ipVersion(2) }),
  ),
  dataplaneInSync: payload(10, nothing),
};
