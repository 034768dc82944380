/**
 * Hosts in two subnets with a router between them, each with one workload under the real agent, over
 * one shared store. This process's network namespace is the router (run it with `runInSandbox`):
 *
 *   host 1, host 2 ── 10.0.1.0/24 fd00:1::/64 ── router ── 10.0.2.0/24 fd00:2::/64 ── host 3
 */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openDatastore, type Datastore } from "#datastore";
import { until } from "./agent-host.ts";
import { storedObject, type Given } from "./bgp.ts";
import { clientTls, makeCertificates, type TlsFiles } from "./certificates.ts";
import {
  base,
  block,
  endpointOf,
  hostOf,
  nodeOf,
  POOLS,
  type Host,
  type Tunnels,
} from "./cluster-objects.ts";
import { watched } from "./workload-host.ts";

const MARGAY = fileURLToPath(new URL("../../bin/margay", import.meta.url));
const LIMIT_MS = 30_000;

export interface ClusterOptions {
  readonly pools: readonly Given[];
  readonly tunnels: Tunnels;
  /** Of everything that is waited for. */
  readonly limitMs: number;
  /**
   * Our own server on a socket in the file system, or with mutual TLS on the router; or a real etcd
   * there.
   */
  readonly store: "socket" | "tls" | "etcd";
}

export class ClusterHosts {
  readonly dir = mkdtempSync(join(tmpdir(), "margay-cluster-"));
  readonly hosts: readonly Host[];
  readonly #processes = new Map<string, ChildProcess>();
  #store: Datastore | undefined;

  readonly #limitMs: number;
  readonly #kind: ClusterOptions["store"];
  readonly #endpoint: string;
  readonly #tls: TlsFiles | undefined;

  private constructor(count: number, limitMs: number, store: ClusterOptions["store"]) {
    this.#limitMs = limitMs;
    this.#kind = store;
    this.#endpoint = {
      socket: `unix://${this.dir}/store/margay.sock`,
      tls: "https://10.0.1.1:2379",
      etcd: "http://10.0.1.1:2379",
    }[store];
    this.#tls = store === "tls" ? makeCertificates(this.dir, "IP:10.0.1.1") : undefined;
    this.hosts = Array.from({ length: count }, (_, index) => hostOf(index + 1));
  }

  /** The agents are not running yet. */
  static async start(count: number, options: Partial<ClusterOptions> = {}): Promise<ClusterHosts> {
    const { limitMs = LIMIT_MS, pools = POOLS, tunnels = "vxlan", store = "socket" } = options;
    const cluster = new ClusterHosts(count, limitMs, store);
    cluster.#wire();
    cluster.startStore();
    const answers = async (): Promise<boolean> => {
      const tls = cluster.#tls === undefined ? {} : clientTls(cluster.#tls);
      cluster.#store ??= await openDatastore({
        type: "etcdv3",
        etcd: { endpoints: [cluster.#endpoint], ...tls },
      });
      return await cluster.#store.list("/x").then(
        () => true,
        () => false,
      );
    };
    await until("the store answers", answers, limitMs);
    await cluster.put(...base(), ...pools);
    for (const host of cluster.hosts) {
      await cluster.put(nodeOf(host, tunnels), endpointOf(host));
      await cluster.putBlocks(host);
    }
    return cluster;
  }

  startStore(): void {
    this.#spawn("store", this.#kind === "etcd" ? this.#etcd() : [MARGAY, "datastore"]);
  }

  async killStore(): Promise<void> {
    await this.#kill("store", "SIGKILL");
  }

  #etcd(): string[] {
    const data = ["--data-dir", join(this.dir, "etcd"), "--log-level", "error"];
    const urls = ["--listen-client-urls", this.#endpoint, "--advertise-client-urls"];
    return [
      "etcd",
      ...data,
      ...urls,
      this.#endpoint,
      "--listen-peer-urls",
      "http://127.0.0.1:2380",
    ];
  }

  #wire(): void {
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", "/run"]);
    mkdirSync("/run/netns", { recursive: true });
    execFileSync("sysctl", [
      "-q",
      "net.ipv4.ip_forward=1",
      "net.ipv6.conf.all.forwarding=1",
      "net.ipv6.conf.default.accept_dad=0",
    ]);
    this.ip("link set lo up");
    for (const subnet of [1, 2]) {
      this.ip(
        // Not that of some port, which may go.
        `link add net${subnet} address 02:00:00:00:01:0${subnet} type bridge`,
        `link set net${subnet} up`,
        `addr add 10.0.${subnet}.1/24 dev net${subnet}`,
        `-6 addr add fd00:${subnet}::1/64 dev net${subnet} nodad`,
      );
    }
    for (const host of this.hosts) this.#wireHost(host);
  }

  #wireHost(host: Host): void {
    const { netns, pod } = host;
    for (const name of [netns, pod.netns]) {
      this.ip(`netns add ${name}`);
      const quiet = ["sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0"];
      execFileSync("ip", ["netns", "exec", name, ...quiet]);
      this.ip(`-n ${name} link set lo up`);
    }
    this.plugUplink(host);
    this.ip(
      `-n ${netns} link add ${pod.interfaceName} address ee:ee:ee:ee:ee:ee type veth peer name eth0 netns ${pod.netns}`,
      `-n ${netns} link set ${pod.interfaceName} up`,
      `-n ${pod.netns} link set eth0 up`,
      `-n ${pod.netns} addr add ${pod.ipv4}/32 dev eth0`,
      `-n ${pod.netns} -6 addr add ${pod.ipv6}/128 dev eth0 nodad`,
      `-n ${pod.netns} route add 169.254.1.1 dev eth0 scope link`,
      `-n ${pod.netns} route add default via 169.254.1.1 dev eth0`,
      `-n ${pod.netns} -6 route add default via fe80::ecee:eeff:feee:eeee dev eth0`,
    );
  }

  plugUplink({ ipv4, ipv6, netns, number, subnet }: Host): void {
    this.ip(
      // The same MAC each time: what others know of it stays true.
      `link add up${number} type veth peer name eth0 address 02:00:00:00:00:0${number} netns ${netns}`,
      `link set up${number} master net${subnet} up`,
      `-n ${netns} link set eth0 up`,
      `-n ${netns} addr add ${ipv4}/24 dev eth0`,
      `-n ${netns} -6 addr add ${ipv6}/64 dev eth0 nodad`,
      `-n ${netns} route add default via 10.0.${subnet}.1`,
      `-n ${netns} -6 route add default via fd00:${subnet}::1`,
    );
  }

  unplugUplink({ number }: Host): void {
    this.ip(`link del up${number}`);
  }

  /** `ip` in the router, or with `-n NETNS` elsewhere. */
  ip(...commands: readonly string[]): string {
    return commands.map((one) => execFileSync("ip", one.split(" "), { encoding: "utf8" })).join("");
  }

  on({ netns }: Host, command: string): string {
    return execFileSync("ip", ["netns", "exec", netns, ...command.split(" ")], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  host(number: number): Host {
    const host = this.hosts[number - 1];
    if (host === undefined) throw new Error(`no host ${number}`);
    return host;
  }

  async put(...objects: readonly Given[]): Promise<void> {
    for (const one of objects) await this.putRaw(...storedObject(one));
  }

  async putRaw(key: string, value: string): Promise<void> {
    await this.#store?.put(key, value);
  }

  async remove(...objects: readonly Given[]): Promise<void> {
    for (const one of objects) await this.#store?.delete(storedObject(one)[0]);
  }

  /** `borrowed`: addresses of the IPv4 block, by ordinal, that other nodes have. */
  async putBlocks(host: Host, borrowed: Readonly<Record<number, string>> = {}): Promise<void> {
    await this.putRaw(...block(host.block4, host.name, borrowed));
    await this.putRaw(...block(host.block6, host.name));
  }

  async removeBlocks(host: Host): Promise<void> {
    for (const cidr of [host.block4, host.block6]) {
      await this.#store?.delete(block(cidr, host.name)[0]);
    }
  }

  startAgent(host: Host, env: Readonly<Record<string, string>> = {}): void {
    this.#spawn(`felix-${host.number}`, ["ip", "netns", "exec", host.netns, MARGAY, "felix"], {
      FELIX_FELIXHOSTNAME: host.name,
      FELIX_LOGFILEPATH: "none",
      FELIX_HEALTHENABLED: "true",
      ...env,
    });
  }

  /** `margay node` with its services; its directories are below `home`. */
  startNode(host: Host, env: Readonly<Record<string, string>> = {}, as = "node"): void {
    const home = this.home(host);
    const directories = ["service", "run", "conf", "log"].flatMap((one) => [
      `--${one}-dir`,
      join(home, one),
    ]);
    const command = ["ip", "netns", "exec", host.netns, MARGAY, "node", ...directories];
    this.#spawn(`${as}-${host.number}`, command, {
      NODENAME: host.name,
      CALICO_NODENAME_FILE: join(home, "nodename"),
      ...env,
    });
  }

  home({ name }: Host): string {
    return join(this.dir, name);
  }

  async stopNode(host: Host, signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    await this.#kill(`node-${host.number}`, signal);
  }

  /** Whether the agent says that everything was programmed. */
  ready({ netns }: Host): boolean {
    const ask =
      "exec 3<>/dev/tcp/127.0.0.1/9099; printf 'GET /readiness HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3";
    try {
      const answer = execFileSync("ip", ["netns", "exec", netns, "bash", "-c", ask], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      });
      return answer.includes(" 200 ");
    } catch {
      return false;
    }
  }

  /** What changed in the host's links, addresses, routes and neighbours while `act` ran. */
  async monitored({ netns }: Host, act: () => Promise<void>): Promise<string> {
    return watched("ip", ["-n", netns, "monitor", "link", "address", "route", "neigh"], act);
  }

  async stopAgent(host: Host, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    await this.#kill(`felix-${host.number}`, signal);
  }

  /** "" of what was never started. */
  log(name: string): string {
    return this.#processes.has(name) ? readFileSync(join(this.dir, `${name}.log`), "utf8") : "";
  }

  get logs(): string {
    return this.hosts
      .map(({ number }) => this.log(`felix-${number}`) + this.log(`node-${number}`))
      .join("\n");
  }

  /** Milliseconds until it holds. */
  async until(what: string, holds: () => boolean): Promise<number> {
    const started = performance.now();
    try {
      await until(what, holds, this.#limitMs);
    } catch (error) {
      throw new Error(`${what}\n${this.logs}`, { cause: error });
    }
    return performance.now() - started;
  }

  /** Whether a packet gets from one workload to the other and back. */
  reaches(from: Host, to: Host, family: 4 | 6): boolean {
    const target = family === 4 ? to.pod.ipv4 : to.pod.ipv6;
    try {
      execFileSync(
        "ip",
        ["netns", "exec", from.pod.netns, "ping", "-n", "-c", "1", "-W", "1", target],
        { stdio: "ignore" },
      );
      return true;
    } catch {
      return false;
    }
  }

  #spawn(
    name: string,
    command: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): void {
    const [program = "", ...args] = command;
    const out = openSync(join(this.dir, `${name}.log`), "a");
    const settings = name === "store" ? this.#storeSettings() : this.clientSettings();
    this.#processes.set(
      name,
      spawn(program, args, {
        stdio: ["ignore", out, out],
        env: { ...process.env, ...settings, ...env },
      }),
    );
  }

  #storeSettings(): Readonly<Record<string, string>> {
    const tls = this.#tls;
    const data = { MARGAY_DATA_DIR: join(this.dir, "store") };
    if (tls === undefined) return data;
    return {
      ...data,
      ETCD_LISTEN_CLIENT_URLS: this.#endpoint,
      ETCD_CERT_FILE: tls.serverCert,
      ETCD_KEY_FILE: tls.serverKey,
      ETCD_TRUSTED_CA_FILE: tls.ca,
      ETCD_CLIENT_CERT_AUTH: "true",
    };
  }

  /** Of every command that is to find the store. */
  clientSettings(): Readonly<Record<string, string>> {
    const tls = this.#tls;
    const store = { DATASTORE_TYPE: "etcdv3", ETCD_ENDPOINTS: this.#endpoint };
    if (tls === undefined) return store;
    return {
      ...store,
      ETCD_CA_CERT_FILE: tls.ca,
      ETCD_CERT_FILE: tls.clientCert,
      ETCD_KEY_FILE: tls.clientKey,
    };
  }

  async #kill(name: string, signal: NodeJS.Signals): Promise<void> {
    const child = this.#processes.get(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => {
      child.once("exit", resolve);
    });
    child.kill(signal);
    await gone;
  }

  async close(): Promise<void> {
    for (const name of [...this.#processes.keys()].reverse()) {
      if (name === "store") await this.#store?.close();
      await this.#kill(name, "SIGKILL");
    }
    rmSync(this.dir, { recursive: true, force: true });
  }
}
