/** Network namespaces of the calling thread (setns(2)). */
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { orThrow, setNetworkNamespace, unshareNetworkNamespace } from "./ffi.ts";

/** Where `ip netns` keeps its namespaces by name. */
const NAMED = "/run/netns";

/**
 * Moves the calling thread, and sockets that it opens from then on, into a network namespace: a
 * name of `ip netns` or a path such as `/proc/<pid>/ns/net`. Other threads stay where they are, so
 * call it at the start of a worker or program. Throws a system error (EPERM, ENOENT, ...).
 */
export function enterNetworkNamespace(nameOrPath: string): void {
  const path = nameOrPath.includes("/") ? nameOrPath : join(NAMED, nameOrPath);
  const fd = openSync(path, "r");
  try {
    orThrow(`setns ${path}`, setNetworkNamespace(fd));
  } finally {
    closeSync(fd);
  }
}

/**
 * Moves the calling thread into a new network namespace, which lives as long as somebody is in it;
 * child processes are born there. Throws a system error (EPERM without CAP_SYS_ADMIN).
 */
export function enterNewNetworkNamespace(): void {
  orThrow("unshare(CLONE_NEWNET)", unshareNetworkNamespace());
}
