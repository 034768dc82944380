export {
  evaluate,
  isStagedKind,
  undecidedBy,
  type EndpointProgram,
  type Evaluation,
  type PolicyLookups,
  type RulesResult,
  type RuleTrace,
  type TraceStep,
  type Verdict,
} from "./evaluate.ts";
export { explain } from "./explain.ts";
export {
  describePacket,
  hasPorts,
  icmpProtocol,
  parsePacket,
  protocolNumber,
  PROTOCOLS,
  protocolText,
  type Direction,
  type Flow,
  type Packet,
  type PacketText,
} from "./flow.ts";
export {
  ALWAYS_ALLOWED_ICMPV6_TYPES,
  DEFAULT_FORWARD_OPTIONS,
  evaluateForward,
  type FlowEnd,
  type ForwardEvaluation,
  type ForwardOptions,
  type ForwardReason,
} from "./forward.ts";
export {
  DEFAULT_FAILSAFE_PORTS,
  type FailsafePort,
  type FailsafePorts,
  type HostEndpointPolicy,
  type HostStage,
  type HostStageEvaluation,
  type InterfacePolicy,
} from "./host.ts";
export { IpSetIndex, type IpSetKind, type IpSetMembers } from "./ip-sets.ts";
export {
  MATCH_FIELDS,
  matchRule,
  type IpSetLookup,
  type MatchResult,
  type RuleField,
} from "./match.ts";
export { policyKey, PolicyState } from "./state.ts";
export type {
  HttpMatch,
  IcmpMatch,
  IpSetId,
  Policy,
  PolicyId,
  PortRange,
  Profile,
  Protocol,
  Rule,
  RuleAction,
  ServiceAccountMatch,
  TierInfo,
} from "./types.ts";
