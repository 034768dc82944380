/**
 * A thread in one network namespace that sends single raw packets and notes which tagged packets are
 * delivered there. Raw sockets see a packet after the namespace's own input hook (ip_local_deliver,
 * raw(7)), so "arrived" means that host and target let it through. Blocking system calls, no loop.
 */
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
import koffi from "koffi";
import { enterNetworkNamespace } from "#netlink";

export interface RawFlow {
  readonly from: string;
  readonly to: string;
  readonly dst: string;
  readonly src?: string;
  readonly tag: number;
  readonly proto: "tcp" | "udp" | "udplite" | "sctp" | "gre" | "ipip" | "icmp" | "icmp6";
  readonly sport?: number;
  readonly dport?: number;
  readonly type?: number;
  readonly code?: number;
}

type Request =
  | { readonly op: "frames"; readonly frames: readonly Uint8Array[] }
  | { readonly op: "send"; readonly packets: readonly Packet[] }
  | { readonly op: "collect"; readonly quietMs: number };

interface Packet {
  readonly family: 4 | 6;
  readonly to: Uint8Array;
  readonly bytes: Uint8Array;
}

const PROTOCOLS = {
  tcp: 6,
  udp: 17,
  udplite: 136,
  sctp: 132,
  gre: 47,
  ipip: 4,
  icmp: 1,
  icmp6: 58,
} as const;
const AF_INET = 2;
const AF_INET6 = 10;
const AF_PACKET = 17;
const SOCK_RAW = 3;
const IPPROTO_RAW = 255;
const MSG_DONTWAIT = 0x40;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;

/** Main thread's handle. `netns` is a path; absent: the namespace that this process runs in. */
export class PacketThread {
  readonly #worker: Worker;
  #waiting: { resolve: (value: number[]) => void; reject: (error: Error) => void } | null = null;

  constructor(netns: string | undefined) {
    this.#worker = new Worker(new URL(import.meta.url), {
      workerData: { netns, packetThread: true },
    });
    this.#worker.on("message", (tags: number[]) => {
      const waiting = this.#waiting;
      this.#waiting = null;
      waiting?.resolve(tags);
    });
    this.#worker.on("error", (error) => {
      const waiting = this.#waiting;
      this.#waiting = null;
      waiting?.reject(error instanceof Error ? error : new Error(String(error)));
    });
  }

  #ask(request: Request): Promise<number[]> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#worker.postMessage(request);
    });
  }

  async ready(): Promise<void> {
    await this.#ask({ op: "send", packets: [] });
  }

  async send(
    flows: readonly RawFlow[],
    addressOf: (name: string, family: 4 | 6) => string,
  ): Promise<void> {
    const packets = flows.map((flow) => {
      const family = flow.dst.includes(":") ? 6 : 4;
      return encodePacket(flow, flow.src ?? addressOf(flow.from, family), family);
    });
    await this.#ask({ op: "send", packets });
  }

  /** Whole Ethernet frames, out of the namespace's `eth0`. */
  async sendFrames(frames: readonly (readonly number[])[]): Promise<void> {
    await this.#ask({ op: "frames", frames: frames.map((bytes) => Uint8Array.from(bytes)) });
  }

  /** Tags that arrived since the last call; waits until nothing new has come for `quietMs`. */
  collect(quietMs: number): Promise<number[]> {
    return this.#ask({ op: "collect", quietMs });
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}

export function addressBytes(text: string): Uint8Array {
  if (!text.includes(":")) return Uint8Array.from(text.split(".").map(Number));
  const [head = "", tail] = text.split("::");
  const words = (part: string): number[] =>
    part === "" ? [] : part.split(":").map((word) => Number.parseInt(word, 16));
  const left = words(head);
  const right = tail === undefined ? [] : words(tail);
  const all =
    tail === undefined
      ? left
      : [...left, ...Array.from({ length: 8 - left.length - right.length }, () => 0), ...right];
  return Uint8Array.from(all.flatMap((word) => [word >> 8, word & 255]));
}

function encodePacket(flow: RawFlow, source: string, family: 4 | 6): Packet {
  const body = transport(flow);
  const protocol = PROTOCOLS[flow.proto];
  const src = addressBytes(source);
  const dst = addressBytes(flow.dst);
  if (!["sctp", "gre", "ipip"].includes(flow.proto))
    checksum(body, src, dst, protocol, flow.proto === "icmp");
  const header = family === 4 ? 20 : 40;
  const bytes = new Uint8Array(header + body.length);
  const view = new DataView(bytes.buffer);
  if (family === 4) {
    bytes.set([0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol]);
    view.setUint16(2, bytes.length);
    bytes.set(src, 12);
    bytes.set(dst, 16);
  } else {
    bytes.set([0x60, 0, 0, 0, 0, 0, protocol, 64]);
    view.setUint16(4, body.length);
    bytes.set(src, 8);
    bytes.set(dst, 24);
  }
  bytes.set(body, header);
  return { family, to: sockaddr(family, dst), bytes };
}

function transport(flow: RawFlow): Uint8Array {
  const sport = flow.sport ?? 0;
  const dport = flow.dport ?? 0;
  const bytes = new Uint8Array(
    { tcp: 20, udp: 12, udplite: 12, sctp: 32, gre: 8, ipip: 8, icmp: 8, icmp6: 8 }[flow.proto],
  );
  const view = new DataView(bytes.buffer);
  switch (flow.proto) {
    case "tcp": // RFC 9293 §3.1: SYN, no options
      view.setUint16(0, sport);
      view.setUint16(2, dport);
      view.setUint32(4, flow.tag);
      bytes.set([0x50, 0x02, 0xff, 0xff], 12);
      break;
    case "udp": // RFC 768
    case "udplite": // RFC 3828: coverage 0 = the whole packet
      view.setUint16(0, sport);
      view.setUint16(2, dport);
      view.setUint16(4, flow.proto === "udp" ? 12 : 0);
      view.setUint32(8, flow.tag);
      break;
    case "sctp": // RFC 9260 §3.3.2: INIT; verification tag 0
      view.setUint16(0, sport);
      view.setUint16(2, dport);
      bytes.set([1, 0, 0, 20], 12);
      view.setUint32(16, flow.tag);
      view.setUint32(20, 65_536);
      view.setUint16(24, 1);
      view.setUint16(26, 1);
      view.setUint32(28, flow.tag);
      view.setUint32(8, crc32c(bytes), true);
      break;
    case "ipip": // RFC 2003; what is inside does not matter on the way
      view.setUint32(4, flow.tag);
      break;
    case "gre": // RFC 2784
      view.setUint16(2, 0x0800);
      view.setUint32(4, flow.tag);
      break;
    case "icmp":
    case "icmp6": // RFC 792, RFC 4443: id and sequence carry the tag
      bytes[0] = flow.type ?? 8;
      bytes[1] = flow.code ?? 0;
      view.setUint32(4, flow.tag);
      break;
  }
  return bytes;
}

/** RFC 1071 over the pseudo header (none for ICMP of IPv4) and the body; written into the body. */
function checksum(
  body: Uint8Array,
  src: Uint8Array,
  dst: Uint8Array,
  protocol: number,
  noPseudo: boolean,
): void {
  const at = { 6: 16, 17: 6, 136: 6, 1: 2, 58: 2 }[protocol] ?? 0;
  let sum = noPseudo ? 0 : protocol + body.length;
  for (const part of noPseudo ? [body] : [src, dst, body]) {
    for (let i = 0; i < part.length; i += 2) sum += ((part[i] ?? 0) << 8) | (part[i + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  new DataView(body.buffer, body.byteOffset).setUint16(at, ~sum & 0xffff || 0xffff);
}

/** CRC-32C (RFC 9260 appendix A) of the packet with a zero checksum field. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

function sockaddr(family: 4 | 6, address: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(family === 4 ? 16 : 28);
  bytes[0] = family === 4 ? AF_INET : AF_INET6;
  bytes.set(address, family === 4 ? 4 : 8);
  return bytes;
}

class RawSockets {
  readonly #sendto;
  readonly #recv;
  readonly #senders: Record<4 | 6, number>;
  readonly #packetSocket: number;
  /** struct sockaddr_ll (packet(7)) of `eth0`. */
  readonly #device: Uint8Array;
  readonly #receivers: {
    readonly fd: number;
    readonly family: 4 | 6;
    readonly protocol: number;
  }[] = [];
  readonly #buffer = new Uint8Array(2048);

  constructor(netns: string | undefined) {
    const lib = koffi.load("libc.so.6");
    const socket = lib.func("int socket(int, int, int)");
    const setsockopt = lib.func("int setsockopt(int, int, int, uint8_t *, uint32_t)");
    this.#sendto = lib.func("long sendto(int, uint8_t *, size_t, int, uint8_t *, uint32_t)");
    this.#recv = lib.func("long recv(int, _Out_ uint8_t *, size_t, int)");
    if (netns !== undefined) enterNetworkNamespace(netns);
    const open = (family: 4 | 6, protocol: number): number => {
      const fd = socket(family === 4 ? AF_INET : AF_INET6, SOCK_RAW, protocol) as number;
      if (fd < 0) throw new Error(`no raw socket for protocol ${protocol}`);
      setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, Uint8Array.from([0, 0, 64, 0]), 4);
      return fd;
    };
    this.#senders = { 4: open(4, IPPROTO_RAW), 6: open(6, IPPROTO_RAW) };
    this.#packetSocket = socket(AF_PACKET, SOCK_RAW, 0) as number;
    this.#device = new Uint8Array(20);
    const nameToIndex = lib.func("uint32_t if_nametoindex(const char *)");
    const device = new DataView(this.#device.buffer);
    device.setUint16(0, AF_PACKET, true);
    device.setUint32(4, nameToIndex("eth0") as number, true);
    for (const family of [4, 6] as const) {
      for (const protocol of Object.values(PROTOCOLS)) {
        if ((protocol === 1 && family === 6) || (protocol === 58 && family === 4)) continue;
        this.#receivers.push({ fd: open(family, protocol), family, protocol });
      }
    }
  }

  send(packet: Packet): void {
    // An error (no route, refused by the sender's own host) means that the packet does not arrive.
    this.#sendto(
      this.#senders[packet.family],
      packet.bytes,
      packet.bytes.length,
      0,
      packet.to,
      packet.to.length,
    );
  }

  sendFrame(bytes: Uint8Array): void {
    const sent = Number(
      this.#sendto(this.#packetSocket, bytes, bytes.length, 0, this.#device, this.#device.length),
    );
    if (sent !== bytes.length) throw new Error("the frame could not be sent");
  }

  /** Reads what is queued; returns how many tags were new. */
  drain(into: Set<number>): number {
    const before = into.size;
    for (const { fd, family, protocol } of this.#receivers) {
      for (;;) {
        const length = Number(this.#recv(fd, this.#buffer, this.#buffer.length, MSG_DONTWAIT));
        if (length < 0) break;
        const tag = tagOf(this.#buffer.subarray(0, length), family, protocol);
        if (tag !== undefined) into.add(tag);
      }
    }
    return into.size - before;
  }
}

/** IPv4 raw sockets deliver the IP header too, IPv6 ones do not (raw(7), ipv6(7)). */
function tagOf(packet: Uint8Array, family: 4 | 6, protocol: number): number | undefined {
  const start = family === 4 ? ((packet[0] ?? 0) & 15) * 4 : 0;
  const at = { 6: 4, 17: 8, 136: 8, 132: 16, 47: 4, 4: 4, 1: 4, 58: 4 }[protocol] ?? 0;
  if (packet.length < start + at + 4) return undefined;
  return new DataView(packet.buffer, packet.byteOffset).getUint32(start + at);
}

function serve(netns: string | undefined): void {
  const sockets = new RawSockets(netns);
  const arrived = new Set<number>();
  const pause = new Int32Array(new SharedArrayBuffer(4));
  parentPort?.on("message", (request: Request) => {
    if (request.op === "send") {
      for (const packet of request.packets) sockets.send(packet);
      parentPort?.postMessage([]);
      return;
    }
    if (request.op === "frames") {
      for (const bytes of request.frames) sockets.sendFrame(bytes);
      parentPort?.postMessage([]);
      return;
    }
    let quiet = 0;
    while (quiet < request.quietMs) {
      quiet = sockets.drain(arrived) > 0 ? 0 : quiet + 5;
      Atomics.wait(pause, 0, 0, 5);
    }
    parentPort?.postMessage([...arrived]);
    arrived.clear();
  });
}

if (!isMainThread && (workerData as { packetThread?: boolean } | null)?.packetThread === true) {
  serve((workerData as { netns?: string }).netns);
}
