/**
 * Wakes the program when a netlink socket has datagrams. Node has no public way to poll such a
 * descriptor, so a duplicate of it is given to a pipe handle, which reads it through epoll (one
 * read(2) is one datagram). Where that binding is missing, a timer looks instead.
 */
import { Socket } from "node:net";
import { closeFd, duplicate, orThrow } from "./ffi.ts";

const FALLBACK_POLL_MS = 10;

export interface ReadableEvents {
  datagram(bytes: Uint8Array): void;
  /** ENOBUFS: the kernel dropped datagrams. */
  overrun(): void;
  /** Fallback only: something may be queued; read it. */
  readable(): void;
}

interface PipeHandle {
  open(fd: number): number;
  close(): void;
}

/** Returns the function that ends it; it may be called more than once. */
export function watchReadable(fd: number, events: ReadableEvents): () => void {
  return watchWithPipe(fd, events) ?? watchWithTimer(events);
}

function watchWithPipe(fd: number, events: ReadableEvents): (() => void) | undefined {
  const open = pipeOpener();
  if (open === undefined) return undefined;
  let stopped = false;
  let current: Socket | undefined;
  const attach = (): void => {
    // libuv closes what it was given, also after an error; so it gets a duplicate.
    const copy = orThrow("dup", duplicate(fd));
    const handle = open(copy);
    if (handle === undefined) {
      closeFd(copy);
      return;
    }
    current = new Socket({ handle, readable: true, writable: false } as object);
    current.on("data", (bytes: Buffer) => {
      if (!stopped) events.datagram(bytes);
    });
    current.on("error", (error: NodeJS.ErrnoException) => {
      if (stopped) return;
      if (error.code === "ENOBUFS") events.overrun();
    });
    current.on("close", () => {
      if (!stopped) attach();
    });
  };
  attach();
  if (current === undefined) return undefined;
  return () => {
    stopped = true;
    current?.destroy();
  };
}

function watchWithTimer(events: ReadableEvents): () => void {
  const timer = setInterval(() => events.readable(), FALLBACK_POLL_MS);
  return () => clearInterval(timer);
}

function pipeOpener(): ((fd: number) => PipeHandle | undefined) | undefined {
  const { binding } = process as { binding?: (name: string) => unknown };
  if (typeof binding !== "function") return undefined;
  try {
    const { Pipe, constants } = binding.call(process, "pipe_wrap") as {
      Pipe: new (type: number) => PipeHandle;
      constants: { SOCKET: number };
    };
    return (fd) => {
      const handle = new Pipe(constants.SOCKET);
      if (handle.open(fd) === 0) return handle;
      handle.close();
      return undefined;
    };
  } catch {
    return undefined;
  }
}
