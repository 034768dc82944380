/** TCP, and a little UDP, in another network namespace: a thread that listens and connects there. */
import { createSocket } from "node:dgram";
import { connect, createServer } from "node:net";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { enterNetworkNamespace } from "#netlink";

export type Outcome = "open" | "refused" | "timeout";

/** What a connection came to, and as whom the other side sees this one: `address port`. */
export interface Contact {
  readonly outcome: Outcome;
  readonly seenAs: string;
}

type Request =
  | { readonly op: "listen"; readonly port: number }
  | {
      readonly op: "datagram";
      readonly address: string;
      readonly port: number;
      readonly timeoutMs: number;
    }
  | {
      readonly op: "connect";
      readonly address: string;
      readonly port: number;
      readonly timeoutMs: number;
      /** Its own address. */
      readonly from?: string;
      /** Waits for what the other side says. */
      readonly listens?: boolean;
    };

export class TcpPeer {
  readonly #worker: Worker;
  /** One request at a time. */
  #last: Promise<unknown> = Promise.resolve();

  /** `netns`: a path. */
  constructor(netns: string) {
    this.#worker = new Worker(new URL(import.meta.url), { workerData: { tcpPeerIn: netns } });
  }

  async listen(port: number): Promise<void> {
    await this.#ask({ op: "listen", port });
  }

  async connect(address: string, port: number, timeoutMs = 400): Promise<Outcome> {
    return (await this.#ask({ op: "connect", address, port, timeoutMs })).outcome;
  }

  /** `from`: its own address. The other side must be a `TcpPeer` too. */
  contact(address: string, port: number, from?: string, timeoutMs = 400): Promise<Contact> {
    const own = from === undefined ? {} : { from };
    return this.#ask({ op: "connect", address, port, timeoutMs, listens: true, ...own });
  }

  /** Of one UDP packet: `refused` if ICMP says so, else `timeout`, since nobody answers. */
  async datagram(address: string, port: number, timeoutMs = 400): Promise<Outcome> {
    return (await this.#ask({ op: "datagram", address, port, timeoutMs })).outcome;
  }

  #ask(request: Request): Promise<Contact> {
    const answered = this.#last.then(
      () =>
        new Promise<Contact>((resolve, reject) => {
          this.#worker.once("message", resolve);
          this.#worker.once("error", reject);
          // oxlint-disable-next-line unicorn/require-post-message-target-origin -- no window
          this.#worker.postMessage(request);
        }),
    );
    this.#last = answered;
    return answered;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}

function answer(request: Request): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- no window
  const done = (contact: Contact): void => parentPort?.postMessage(contact);
  if (request.op === "listen") {
    createServer((socket) => {
      socket.on("error", () => {});
      const address = (socket.remoteAddress ?? "").replace("::ffff:", "");
      socket.end(`${address} ${socket.remotePort}`);
    }).listen(request.port, "::", () => done({ outcome: "open", seenAs: "" }));
    return;
  }
  if (request.op === "datagram") {
    sendDatagram(request.address, request.port, request.timeoutMs, (outcome) =>
      done({ outcome, seenAs: "" }),
    );
    return;
  }
  const { address: host, port, from, listens } = request;
  const socket = connect({ host, port, ...(from === undefined ? {} : { localAddress: from }) });
  let seenAs = "";
  const finish = (outcome: Outcome): void => {
    socket.destroy();
    clearTimeout(timer);
    done({ outcome, seenAs });
  };
  const timer = setTimeout(() => finish("timeout"), request.timeoutMs);
  if (listens === true) {
    socket.on("data", (chunk) => {
      seenAs += chunk.toString();
    });
    socket.once("end", () => finish("open"));
  } else socket.once("connect", () => finish("open"));
  socket.once("error", () => finish("refused"));
}

function sendDatagram(
  address: string,
  port: number,
  timeoutMs: number,
  done: (outcome: Outcome) => void,
): void {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  const finish = (outcome: Outcome): void => {
    clearTimeout(timer);
    socket.close();
    done(outcome);
  };
  const timer = setTimeout(() => finish("timeout"), timeoutMs);
  socket.once("error", () => finish("refused"));
  // Only a connected socket hears of ICMP.
  socket.connect(port, address, () => socket.send("?"));
}

const data = workerData as { tcpPeerIn?: string } | null;
if (!isMainThread && data?.tcpPeerIn !== undefined) {
  enterNetworkNamespace(data.tcpPeerIn);
  parentPort?.on("message", answer);
}
