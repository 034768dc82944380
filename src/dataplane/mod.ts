/** What makes the kernel agree with the calculation graph. */
export type { ApplyResult, Dataplane } from "./port.ts";
export {
  defaultLinuxDataplaneConfig,
  type LinuxDataplaneConfig,
  type TunnelConfig,
} from "./linux/config.ts";
export {
  defaultNftPolicyConfig,
  type DropActionOverride,
  type EndpointToHostAction,
  type LogRateLimit,
  type NatConfig,
  type NftPolicyConfig,
} from "./linux/nft/config.ts";
export { openLinuxDataplane } from "./linux/open.ts";
export { openExternalDataplane } from "./external/external-dataplane.ts";
export type { DriverMessage } from "./external/messages.ts";
export {
  FrameCutter,
  readToDataplane,
  StreamWriter,
  toDataplaneJson,
  type Envelope,
} from "./external/stream.ts";
export {
  readRecording,
  RecordedDataplane,
  StreamRecorder,
  type Recording,
} from "./external/recording.ts";
