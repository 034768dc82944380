/** pipe2(2). What Node calls a pipe to a child is a socket, which cannot be opened as /dev/fd/N. */
import * as ffi from "./ffi.ts";

export interface Pipe {
  readonly readFd: number;
  readonly writeFd: number;
}

/** Throws a system error when the process has too many files open. The caller closes both ends. */
export function openPipe(): Pipe {
  const ends = new Int32Array(2);
  ffi.orThrow("pipe2", ffi.makePipe(ends));
  return { readFd: ends[0] ?? -1, writeFd: ends[1] ?? -1 };
}
