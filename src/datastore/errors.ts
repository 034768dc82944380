/** Constructors for the errors of the datastore port, so that every adapter says the same. */
import { MargayError } from "#std";
import type { DatastoreErrorCode, Revision } from "./port.ts";

interface Details {
  readonly cause?: unknown;
  readonly fields?: Readonly<Record<string, unknown>>;
}

const INPUT_CODES: ReadonlySet<DatastoreErrorCode> = new Set([
  "conflict",
  "exists",
  "invalid",
  "unauthenticated",
]);
const RETRYABLE_CODES: ReadonlySet<DatastoreErrorCode> = new Set(["unavailable", "timeout"]);

export function datastoreError(
  code: DatastoreErrorCode,
  message: string,
  details: Details = {},
): MargayError {
  return new MargayError(INPUT_CODES.has(code) ? "input" : "system", code, message, {
    ...details,
    retryable: RETRYABLE_CODES.has(code),
  });
}

/** The comparison of a put or delete failed; `actual` is 0 when the key is absent. */
export function comparisonFailed(key: string, expected: Revision, actual: Revision): MargayError {
  const fields = { key, expectedRevision: expected, actualRevision: actual };
  if (expected === 0) return datastoreError("exists", `the key ${key} exists already`, { fields });
  const found = actual === 0 ? "it is absent" : `it is at revision ${actual}`;
  return datastoreError(
    "conflict",
    `the key ${key} was changed by someone else: expected revision ${expected}, ${found}`,
    { fields },
  );
}

export function compactedError(from: Revision, compactRevision: Revision): MargayError {
  return datastoreError(
    "compacted",
    `the history from revision ${from} is gone: compacted up to ${compactRevision}`,
    { fields: { from, compactRevision } },
  );
}

export function closedError(): MargayError {
  return datastoreError("unavailable", "the datastore is closed");
}
