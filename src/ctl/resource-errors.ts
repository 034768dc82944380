/** Errors about one resource, in the words that Calico's tool prints. */
import type { Kind, Resource } from "#resource";
import { inputError, type MargayError } from "#std";

/** `NetworkPolicy(shop/db)`. */
export function describe(kind: Kind, name: string, namespace?: string): string {
  return `${kind}(${namespace === undefined || namespace === "" ? "" : `${namespace}/`}${name})`;
}

export function notFound(kind: Kind, name: string, namespace?: string): MargayError {
  return inputError("not-found", `resource does not exist: ${describe(kind, name, namespace)}`);
}

export function alreadyExists(resource: Resource, cause?: unknown): MargayError {
  const { kind, metadata } = resource;
  return inputError(
    "already-exists",
    `resource already exists: ${describe(kind, metadata.name, metadata.namespace)}`,
    cause === undefined ? {} : { cause },
  );
}

export function conflict(
  what: string,
  cause: unknown,
  revisions?: { readonly stored: number; readonly given: string },
): MargayError {
  const detail =
    revisions === undefined
      ? ""
      : ` (the store has revision ${revisions.stored}, this one was read at ${revisions.given})`;
  return inputError(
    "conflict",
    `update conflict: ${what} was changed by somebody else${detail}; get it again and repeat the change`,
    cause === undefined ? {} : { cause },
  );
}

export function unsupported(operation: string, name: string, reason: string): MargayError {
  return inputError("unsupported", `operation ${operation} is not supported on ${name}: ${reason}`);
}
