/**
 * Runs inside a workload of a lab: UDP to a port that echoes, in both families, at a steady rate, on one
 * flow that lasts and on a new flow for every packet. Counts what does not come back.
 *
 *   node lab-traffic.ts PORT ADDRESS…     says `started`; when its input ends, prints the counts as JSON
 */
import { createSocket, type Socket } from "node:dgram";
import { setTimeout as delay } from "node:timers/promises";

export interface TrafficCounts {
  readonly sent: number;
  readonly lostEstablished: number;
  readonly lostNew: number;
  /** The longest time without any answer on the lasting flows. */
  readonly longestGapMs: number;
}

const INTERVAL_MS = 20;
/** After the last packet, and for a flow of one packet. */
const PATIENCE_MS = 1500;

class Flow {
  sent = 0;
  answered = 0;
  lastAt = performance.now();
  longestGapMs = 0;
  readonly #socket: Socket;
  readonly #address: string;
  readonly #port: number;

  constructor(address: string, port: number) {
    this.#address = address;
    this.#port = port;
    this.#socket = createSocket(address.includes(":") ? "udp6" : "udp4");
    this.#socket.on("message", () => {
      const now = performance.now();
      this.longestGapMs = Math.max(this.longestGapMs, now - this.lastAt);
      this.lastAt = now;
      this.answered += 1;
    });
    // A refused packet is one without an answer.
    this.#socket.on("error", () => {});
  }

  send(): void {
    this.sent += 1;
    this.#socket.send(String(this.sent), this.#port, this.#address, () => {});
  }

  close(): void {
    this.#socket.close();
  }
}

const [portText = "", ...addresses] = process.argv.slice(2);
const port = Number(portText);
const lasting = addresses.map((address) => new Flow(address, port));
let newSent = 0;
let newAnswered = 0;

function sendNew(address: string): void {
  const flow = new Flow(address, port);
  newSent += 1;
  flow.send();
  setTimeout(() => {
    newAnswered += Math.min(1, flow.answered);
    flow.close();
  }, PATIENCE_MS);
}

// What a first packet resolves (neighbours, routes' caches) is not what is tested.
for (let round = 0; round < 5; round++) {
  for (const flow of lasting) flow.send();
  await delay(50);
}
await delay(500);
for (const flow of lasting) {
  flow.sent = 0;
  flow.answered = 0;
  flow.longestGapMs = 0;
  flow.lastAt = performance.now();
}
const timer = setInterval(() => {
  for (const flow of lasting) flow.send();
  for (const address of addresses) sendNew(address);
}, INTERVAL_MS);
process.stdout.write("started\n");
for await (const _ of process.stdin);
clearInterval(timer);
await delay(PATIENCE_MS + 200);
const sent = lasting.reduce((sum, flow) => sum + flow.sent, 0);
const counts: TrafficCounts = {
  sent: sent + newSent,
  lostEstablished: sent - lasting.reduce((sum, flow) => sum + flow.answered, 0),
  lostNew: newSent - newAnswered,
  longestGapMs: Math.round(Math.max(...lasting.map((flow) => flow.longestGapMs))),
};
process.stdout.write(`${JSON.stringify(counts)}\n`);
process.exit(0);
