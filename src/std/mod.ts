export {
  bug,
  inputError,
  MargayError,
  messageOf,
  systemError,
  unreachable,
  type ErrorKind,
  type MargayErrorOptions,
} from "./errors.ts";
export {
  base64Url,
  hex,
  lengthLimitedId,
  makeUniqueId,
  sha1,
  sha224,
  sha256,
  utf8Bytes,
  type HashInput,
} from "./hash.ts";
export {
  compareBytes,
  didYouMean,
  editDistance,
  escapeName,
  sortedUnique,
  unescapeName,
} from "./text.ts";
export { Backoff, type BackoffOptions } from "./backoff.ts";
export { FakeClock, type Clock, type Timer } from "./clock.ts";
export { MultiMap, RefCounts } from "./collections.ts";
export { DeltaTracker, type DeltaTrackerOptions } from "./delta-tracker.ts";
