/**
 * One program at a time for a network namespace. The claim is an abstract unix socket (unix(7)): the
 * kernel gives the name to one process of the namespace and takes it back when that ends, however it
 * ends; no file is left behind, and mount and pid namespaces do not matter.
 */
import { constants as osConstants } from "node:os";
import { systemError } from "#std";
import * as ffi from "./ffi.ts";

export interface Claim {
  /** Idempotent. */
  release(): void;
}

const { EADDRINUSE } = osConstants.errno;

/**
 * Throws the retryable system error `already-claimed` (fields `pid`, `uid`) while another process
 * holds the name. Anybody may take an abstract name; the holder's user is what the kernel says.
 */
export function claimNetworkNamespace(name: string): Claim {
  const fd = ffi.orThrow("socket(AF_UNIX)", ffi.openUnix());
  const taken = ffi.listenAbstract(fd, name);
  if (taken >= 0) {
    let held = true;
    return {
      release() {
        if (held) ffi.closeFd(fd);
        held = false;
      },
    };
  }
  ffi.closeFd(fd);
  if (taken !== -EADDRINUSE) ffi.orThrow(`bind(@${name})`, taken);
  const holder = holderOf(name);
  const who = holder === undefined || holder.pid === 0 ? "another process" : `pid ${holder.pid}`;
  throw systemError("already-claimed", `${name} runs in this network namespace already (${who})`, {
    fields: holder === undefined ? {} : { ...holder },
    retryable: true,
  });
}

/** Undefined when it has just gone, or does not listen (yet). */
function holderOf(name: string): { readonly pid: number; readonly uid: number } | undefined {
  const fd = ffi.openUnix();
  if (fd < 0) return undefined;
  try {
    return ffi.connectAbstract(fd, name) < 0 ? undefined : ffi.peerCredentials(fd);
  } finally {
    ffi.closeFd(fd);
  }
}
