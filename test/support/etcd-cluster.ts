/**
 * Three members of etcd in network namespaces on one bridge, reachable from the namespace of this
 * process. Run it with `runInSandbox`: namespaces and processes go with the sandbox.
 */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "./agent-host.ts";

const MEMBERS = [1, 2, 3] as const;
type Member = (typeof MEMBERS)[number];
const LIMIT_MS = 30_000;

interface MemberStatus {
  readonly Endpoint: string;
  readonly Status: { readonly header: { readonly member_id: number }; readonly leader: number };
}

export class EtcdCluster {
  readonly #dir = mkdtempSync(join(tmpdir(), "mgy-cluster-"));
  readonly #processes = new Map<Member, ChildProcess>();
  readonly #flags: readonly string[];

  private constructor(flags: readonly string[]) {
    this.#flags = flags;
  }

  static async start(...flags: readonly string[]): Promise<EtcdCluster> {
    const cluster = new EtcdCluster(flags);
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", "/run"]);
    mkdirSync("/run/netns");
    ip("link add link0 type bridge");
    ip("addr add 10.99.0.100/24 dev link0");
    ip("link set link0 up");
    for (const member of MEMBERS) {
      ip(`netns add mgy-etcd-${member}`);
      ip(`link add up${member} type veth peer name eth0 netns mgy-etcd-${member}`);
      ip(`link set up${member} master link0 up`);
      for (const one of [
        "link set lo up",
        "link set eth0 up",
        `addr add 10.99.0.${member}/24 dev eth0`,
      ])
        ip(`-n mgy-etcd-${member} ${one}`);
    }
    for (const member of MEMBERS) cluster.run(member);
    await cluster.healthy(...MEMBERS);
    return cluster;
  }

  get endpoints(): string[] {
    return MEMBERS.map((member) => `http://10.99.0.${member}:2379`);
  }

  run(member: Member): void {
    const url = (port: number): string => `http://10.99.0.${member}:${port}`;
    const flags = {
      name: `m${member}`,
      "data-dir": join(this.#dir, `m${member}`),
      "listen-client-urls": url(2379),
      "advertise-client-urls": url(2379),
      "listen-peer-urls": url(2380),
      "initial-advertise-peer-urls": url(2380),
      "initial-cluster": MEMBERS.map((m) => `m${m}=http://10.99.0.${m}:2380`).join(","),
      logger: "zap",
      "log-level": "error",
    };
    const all = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
    const argv = ["netns", "exec", `mgy-etcd-${member}`, "etcd", ...all, ...this.#flags];
    this.#processes.set(member, spawn("ip", argv, { stdio: "ignore" }));
  }

  async kill(member: Member): Promise<void> {
    const child = this.#processes.get(member);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  }

  /** Connections stay open, nothing answers. */
  freeze(member: Member): void {
    this.#processes.get(member)?.kill("SIGSTOP");
  }

  thaw(member: Member): void {
    this.#processes.get(member)?.kill("SIGCONT");
  }

  /** Off from the other members; clients reach it still. */
  isolate(member: Member): void {
    const others = MEMBERS.filter((other) => other !== member).map((other) => `10.99.0.${other}`);
    const rules = ["input", "output"].map(
      (hook) =>
        `chain ${hook} { type filter hook ${hook} priority 0; ip ${hook === "input" ? "s" : "d"}addr { ${others.join(", ")} } drop; }`,
    );
    this.#nft(member, `table inet cut {\n${rules.join("\n")}\n}`);
  }

  /** All members off from this namespace. */
  cutClient(): void {
    for (const member of MEMBERS) {
      const rule = "type filter hook input priority 0; ip saddr 10.99.0.100 drop;";
      this.#nft(member, `table inet cut { chain input { ${rule} }\n}`);
    }
  }

  join(): void {
    for (const member of MEMBERS) this.#nft(member, "table inet cut { }\ndelete table inet cut");
  }

  #nft(member: Member, commands: string): void {
    const argv = ["netns", "exec", `mgy-etcd-${member}`, "nft", "-f", "-"];
    execFileSync("ip", argv, { input: `${commands}\n` });
  }

  async leader(): Promise<Member> {
    const text = this.ctl(1, "endpoint", "status", "--cluster", "-w", "json");
    const statuses = JSON.parse(text) as MemberStatus[];
    const found = statuses.find(({ Status }) => Status.header.member_id === Status.leader);
    const member = MEMBERS.find((m) => found?.Endpoint.includes(`.${m}:`));
    if (member === undefined) throw new Error(`no leader: ${text}`);
    return member;
  }

  /** etcdctl beside that member, which it asks. */
  ctl(member: Member, ...args: readonly string[]): string {
    const argv = ["netns", "exec", `mgy-etcd-${member}`, "etcdctl"];
    return execFileSync("ip", [...argv, "--endpoints", this.endpoints[member - 1] ?? "", ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  async healthy(...members: readonly Member[]): Promise<void> {
    for (const member of members) {
      await until(`member ${member}`, () => this.#answers(member), LIMIT_MS);
    }
  }

  #answers(member: Member): boolean {
    try {
      this.ctl(member, "endpoint", "health");
      return true;
    } catch {
      return false;
    }
  }

  async stop(): Promise<void> {
    for (const member of MEMBERS) {
      this.thaw(member);
      await this.kill(member);
    }
  }
}

function ip(command: string): void {
  execFileSync("ip", command.split(" "));
}
