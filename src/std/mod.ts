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
