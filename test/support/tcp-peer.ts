/** TCP in another network namespace: a thread that listens and connects there. */
import { connect, createServer } from "node:net";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { enterNetworkNamespace } from "#netlink";

export type Outcome = "open" | "refused" | "timeout";

type Request =
  | { readonly op: "listen"; readonly port: number }
  | {
      readonly op: "connect";
      readonly address: string;
      readonly port: number;
      readonly timeoutMs: number;
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

  connect(address: string, port: number, timeoutMs = 400): Promise<Outcome> {
    return this.#ask({ op: "connect", address, port, timeoutMs });
  }

  #ask(request: Request): Promise<Outcome> {
    const answered = this.#last.then(
      () =>
        new Promise<Outcome>((resolve, reject) => {
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
  const done = (outcome: Outcome): void => parentPort?.postMessage(outcome);
  if (request.op === "listen") {
    createServer((socket) => socket.end()).listen(request.port, "::", () => done("open"));
    return;
  }
  const socket = connect({ host: request.address, port: request.port });
  const finish = (outcome: Outcome): void => {
    socket.destroy();
    clearTimeout(timer);
    done(outcome);
  };
  const timer = setTimeout(() => finish("timeout"), request.timeoutMs);
  socket.once("connect", () => finish("open"));
  socket.once("error", () => finish("refused"));
}

const data = workerData as { tcpPeerIn?: string } | null;
if (!isMainThread && data?.tcpPeerIn !== undefined) {
  enterNetworkNamespace(data.tcpPeerIn);
  parentPort?.on("message", answer);
}
