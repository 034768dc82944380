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
