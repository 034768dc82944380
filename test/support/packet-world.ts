/**
 * One host with workloads and an outside, as namespaces, for tests that send real packets. The
 * process that builds it runs in fresh namespaces of its own (`unshare -nmp`, see
 * `runInSandbox`) and is the host; everything goes away with it.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { PacketThread, type RawFlow } from "./packet-thread.ts";

export interface WorldPod {
  readonly name: string;
  readonly interfaceName: string;
  readonly mac: string;
  /** Without prefix lengths; IPv4 and IPv6. */
  readonly addresses: readonly string[];
}

export interface WorldSpec {
  /** Name of the host and of the outside in flows. */
  readonly host: string;
  readonly hostAddresses: readonly string[];
  readonly outside: string;
  /** CIDRs on the link first, then single addresses behind it. */
  readonly outsideAddresses: readonly string[];
  readonly pods: readonly WorldPod[];
  /**
   * Host and outside know each other's IPv6 address without asking. Otherwise whether they find each
   * other depends on what policy of host endpoints lets through of who asked before.
   */
  readonly neighboursKnown: boolean;
}

/** The world of the recorded packets (test/golden/packets/README.md). */
export function goldenWorld(neighboursKnown = false): WorldSpec {
  return {
    neighboursKnown,
    host: "mgq-h",
    hostAddresses: ["10.0.0.11/24", "2001:db8:9::11/64"],
    outside: "mgq-o",
    outsideAddresses: [
      "10.0.0.99/24",
      "2001:db8:9::99/64",
      "192.0.2.5/32",
      "198.51.100.7/32",
      "203.0.113.70/32",
      "2001:db8::5/128",
      "2001:db8:1::5/128",
    ],
    pods: [0, 1, 2, 3].map((i) => ({
      name: `mgq-p${i}`,
      interfaceName: `cali0000000000${i}`,
      mac: `0a:00:00:00:00:0${i}`,
      addresses: [`10.65.0.${16 + i}`, `fd66::${16 + i}`],
    })),
  };
}

export class PacketWorld {
  readonly #spec: WorldSpec;
  readonly #threads = new Map<string, PacketThread>();

  private constructor(spec: WorldSpec) {
    this.#spec = spec;
  }

  /** Call only in a sandbox: it changes the process's own network namespace, the host. */
  static async build(spec: WorldSpec): Promise<PacketWorld> {
    const world = new PacketWorld(spec);
    world.#wire();
    for (const name of [spec.outside, ...spec.pods.map((pod) => pod.name)]) {
      world.#threads.set(name, new PacketThread(`/run/netns/${name}`));
    }
    world.#threads.set(spec.host, new PacketThread(undefined));
    await Promise.all([...world.#threads.values()].map((thread) => thread.ready()));
    return world;
  }

  #wire(): void {
    const { pods, outside, outsideAddresses, hostAddresses } = this.#spec;
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", "/run"]);
    mkdirSync("/run/netns", { recursive: true });
    for (const name of [outside, ...pods.map((pod) => pod.name)]) {
      execFileSync("ip", ["netns", "add", name]);
      execFileSync("ip", [
        "netns",
        "exec",
        name,
        "sysctl",
        "-qw",
        "net.ipv6.conf.default.accept_dad=0",
        "net.ipv4.conf.all.rp_filter=0",
      ]);
    }
    sysctl({
      "net.ipv4.ip_forward": 1,
      "net.ipv6.conf.all.forwarding": 1,
      "net.ipv6.conf.default.accept_dad": 0,
      "net.netfilter.nf_conntrack_checksum": 0,
    });
    ip(
      [],
      [
        "link set lo up",
        `link add eth0 type veth peer name eth0 netns ${outside}`,
        "link set eth0 up",
        ...hostAddresses.map(onEth0),
      ],
    );
    ip(["-n", outside], ["link set lo up", "link set eth0 up", ...outsideAddresses.map(onEth0)]);
    const [gateway4 = "", gateway6 = ""] = families(outsideAddresses);
    const [host4 = "", host6 = ""] = families(hostAddresses);
    ip([], [`route add default via ${gateway4}`]);
    ip(["-6"], [`route add default via ${gateway6}`]);
    ip(["-n", outside], [`route add default via ${host4}`]);
    ip(["-6", "-n", outside], [`route add default via ${host6}`]);
    if (this.#spec.neighboursKnown) {
      know([], gateway6, macOf(["-n", outside]));
      know(["-n", outside], host6, macOf([]));
    }
    for (const pod of pods) this.#wirePod(pod);
  }

  #wirePod(pod: WorldPod): void {
    ip(
      [],
      [
        `link add ${pod.interfaceName} address ee:ee:ee:ee:ee:ee type veth peer name eth0 address ${pod.mac} netns ${pod.name}`,
        `link set ${pod.interfaceName} up`,
      ],
    );
    ip(
      ["-n", pod.name],
      [
        "link set lo up",
        "link set eth0 up",
        ...pod.addresses.map((address) => onEth0(`${address}/${address.includes(":") ? 128 : 32}`)),
        "route add 169.254.1.1 dev eth0 scope link",
        "route add default via 169.254.1.1 dev eth0",
      ],
    );
    ip(["-6", "-n", pod.name], ["route add default via fe80::ecee:eeff:feee:eeee dev eth0"]);
  }

  /** Sends every flow, one sender after the other, and returns the tags that reached their target. */
  async send(flows: readonly RawFlow[]): Promise<Set<number>> {
    for (const [name, thread] of this.#threads) {
      await thread.send(
        flows.filter((flow) => flow.from === name),
        (peer, family) => this.#addressOf(peer, family),
      );
      // What the first packet resolves (neighbours) must be there before the next sender's packets.
      await settle(30);
    }
    const arrived = new Set<number>();
    for (const [name, thread] of this.#threads) {
      const here = new Set(flows.filter((flow) => flow.to === name).map((flow) => flow.tag));
      for (const tag of await thread.collect(60)) if (here.has(tag)) arrived.add(tag);
    }
    return arrived;
  }

  /** Out of a namespace's `eth0`; returns when the kernel has them. */
  async sendFrames(from: string, frames: readonly (readonly number[])[]): Promise<void> {
    const thread = this.#threads.get(from);
    if (thread === undefined) throw new Error(`no ${from} in this world`);
    await thread.sendFrames(frames);
  }

  #addressOf(name: string, family: 4 | 6): string {
    const pod = this.#spec.pods.find((candidate) => candidate.name === name);
    const addresses =
      pod?.addresses ??
      (name === this.#spec.host ? this.#spec.hostAddresses : this.#spec.outsideAddresses);
    const found = addresses.find((address) => address.includes(":") === (family === 6));
    if (found === undefined) throw new Error(`${name} has no IPv${family} address`);
    return found.split("/")[0] ?? found;
  }

  /**
   * Nothing of what came before tells: connections, and what is known of neighbours. Policy of a host
   * endpoint may forbid to ask for them anew.
   */
  forget(): void {
    execFileSync("conntrack", ["-F"], { stdio: "ignore" });
    const { outside, pods } = this.#spec;
    const namespaces = [outside, ...pods.map((pod) => pod.name)].map((name) => ["-n", name]);
    for (const args of [[], ...namespaces]) {
      ip(args, ["neigh flush nud incomplete", "neigh flush nud failed"]);
    }
    for (const args of [[], ["-n", outside]]) ip(args, ["neigh flush dev eth0"]);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#threads.values()].map((thread) => thread.close()));
  }
}

function macOf(args: readonly string[]): string {
  const text = execFileSync("ip", [...args, "-o", "link", "show", "eth0"], { encoding: "utf8" });
  return /link\/ether (\S+)/.exec(text)?.[1] ?? "";
}

function know(args: readonly string[], address: string, mac: string): void {
  ip(args, [`neigh replace ${address} lladdr ${mac} dev eth0 nud permanent`]);
}

function onEth0(address: string): string {
  return `addr add ${address} dev eth0${address.includes(":") ? " nodad" : ""}`;
}

function families(addresses: readonly string[]): string[] {
  return [false, true].map(
    (six) => (addresses.find((a) => a.includes(":") === six) ?? "").split("/")[0] ?? "",
  );
}

function ip(args: readonly string[], lines: readonly string[]): void {
  execFileSync("ip", [...args, "-batch", "-"], {
    input: lines.map((line) => `${line}\n`).join(""),
    stdio: ["pipe", "ignore", "pipe"],
  });
}

function sysctl(values: Readonly<Record<string, number>>): void {
  execFileSync("sysctl", [
    "-q",
    ...Object.entries(values).map(([key, value]) => `${key}=${value}`),
  ]);
}

function settle(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
