/** What the kernel says of this host's interfaces, and by which address it would send. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { tryParseIp, type Ip, type IpFamily } from "#ip";
import { openRouteKernel } from "#netlink";
import type { HostInterface } from "./autodetect.ts";

/** In the network namespace of this thread. Throws a system error. */
export function hostInterfaces(): HostInterface[] {
  const kernel = openRouteKernel();
  try {
    const addresses = kernel.addresses();
    return kernel.links().map(({ index, name, adminUp }) => ({
      index,
      name,
      up: adminUp,
      addresses: addresses
        .filter(({ ifindex }) => ifindex === index)
        .map(({ address, prefixLen }) => ({ ip: address, prefixLen })),
    }));
  } finally {
    kernel.close();
  }
}

const DISCARD_PORT = 9;

/** The source address of a packet to there; nothing is sent. Undefined when there is no route. */
export async function sourceTowards(
  destination: string,
  family: IpFamily,
): Promise<Ip | undefined> {
  const socket = createSocket(family === 4 ? "udp4" : "udp6");
  try {
    const connected = once(socket, "connect");
    socket.connect(DISCARD_PORT, destination);
    await connected;
    return tryParseIp(socket.address().address.split("%")[0] ?? "");
  } catch {
    return undefined;
  } finally {
    socket.close();
  }
}
