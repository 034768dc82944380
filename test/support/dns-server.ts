/** A name server for tests (RFC 1035), with SRV (RFC 2782) and A records; all else does not exist. */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";

interface SrvRecord {
  readonly priority: number;
  readonly port: number;
  readonly target: string;
}

export interface Zone {
  readonly srv: Readonly<Record<string, readonly SrvRecord[]>>;
  readonly a: Readonly<Record<string, string>>;
}

const TYPE_A = 1;
const TYPE_SRV = 33;
const CLASS_IN = 1;
const NXDOMAIN = 3;
const SERVFAIL = 2;

/** `failing`: names for which it has no answer. */
export async function serveZone(
  zone: Zone,
  port: number,
  failing: readonly string[] = [],
): Promise<Socket> {
  const socket = createSocket("udp4");
  socket.on("message", (query, from) => {
    const { name, type, end } = readQuestion(query);
    const answers =
      type === TYPE_SRV
        ? srvAnswers(zone.srv[name])
        : type === TYPE_A
          ? aAnswers(zone.a[name])
          : [];
    const known = name in zone.srv || name in zone.a;
    const code = failing.includes(name) ? SERVFAIL : known ? 0 : NXDOMAIN;
    const header = Buffer.alloc(12);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(0x8400 | code, 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(code === 0 ? answers.length : 0, 6);
    const sections = code === 0 ? answers.map((data) => record(type, data)) : [];
    socket.send(
      Buffer.concat([header, query.subarray(12, end), ...sections]),
      from.port,
      from.address,
    );
  });
  socket.bind(port, "127.0.0.1");
  await once(socket, "listening");
  return socket;
}

function readQuestion(query: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join(".").toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 };
}

/** The owner is the question's name, by a pointer to it. */
function record(type: number, data: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0xc00c, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(CLASS_IN, 4);
  head.writeUInt32BE(1, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function srvAnswers(records: readonly SrvRecord[] = []): Buffer[] {
  return records.map(({ priority, port, target }) => {
    const fixed = Buffer.alloc(6);
    fixed.writeUInt16BE(priority, 0);
    fixed.writeUInt16BE(port, 4);
    const labels = target
      .split(".")
      .map((label) => Buffer.from([label.length, ...Buffer.from(label)]));
    return Buffer.concat([fixed, ...labels, Buffer.of(0)]);
  });
}

function aAnswers(address: string | undefined): Buffer[] {
  return address === undefined ? [] : [Buffer.from(address.split(".").map(Number))];
}
