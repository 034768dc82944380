/**
 * Three kinds of error. `bug`: ours; the message says which invariant broke. `input`: the user's or
 * a peer's; says where and how to mend it. `system`: the kernel, disk or network; may be retried.
 */
export type ErrorKind = "bug" | "input" | "system";

export interface MargayErrorOptions {
  readonly cause?: unknown;
  /** Structured details for logs and `-o json`; never secrets. */
  readonly fields?: Readonly<Record<string, unknown>>;
  readonly retryable?: boolean;
}

export class MargayError extends Error {
  readonly kind: ErrorKind;
  /** Stable, kebab-case, e.g. `conflict`, `no-such-file`. */
  readonly code: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly retryable: boolean;

  constructor(kind: ErrorKind, code: string, message: string, options: MargayErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "MargayError";
    this.kind = kind;
    this.code = code;
    this.fields = options.fields ?? {};
    this.retryable = options.retryable ?? false;
  }
}

export function bug(message: string, fields?: Readonly<Record<string, unknown>>): MargayError {
  return new MargayError("bug", "bug", message, fields === undefined ? {} : { fields });
}

export function inputError(
  code: string,
  message: string,
  options?: MargayErrorOptions,
): MargayError {
  return new MargayError("input", code, message, options);
}

export function systemError(
  code: string,
  message: string,
  options?: MargayErrorOptions,
): MargayError {
  return new MargayError("system", code, message, options);
}

/** End of an exhaustive switch: the build breaks where a new kind is not handled. */
export function unreachable(value: never): never {
  throw bug(`unreachable: ${JSON.stringify(value)}`);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
