/**
 * Kernel settings under /proc/sys/net: those of each workload interface, and forwarding. Read first,
 * written only if different, tried again until it works.
 *
 * proxy_arp and proxy_ndp make the host answer for the workloads' gateway; route_localnet lets rules
 * send a workload's traffic to 127.0.0.0/8; proxy_delay 0 answers without the RFC 1027 wait.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf, systemError } from "#std";
import { NOTHING_DONE, type DriverResult } from "./driver.ts";

const ROOT = "/proc/sys/net";

export interface InterfaceSettings {
  /** The workload may use sources that reverse-path filtering would refuse. */
  readonly spoofingAllowed: boolean;
}

interface Setting {
  /** Below the root. */
  readonly path: string;
  readonly value: string;
  readonly optional?: boolean;
}

export class Sysctls {
  readonly #root: string;
  readonly #desired = new Map<string, InterfaceSettings>();
  readonly #pending = new Set<string>();
  readonly #problems = new Map<string, string>();
  #forwardingWanted = false;
  #forwardingPending = false;
  readonly #ipv6: boolean;

  /** `root` is another directory in tests. */
  constructor(ipv6: boolean, root = ROOT) {
    this.#root = root;
    this.#ipv6 = ipv6 && existsSync(join(root, "ipv6/conf"));
  }

  /** Undefined: leave the interface as it is. */
  setInterface(name: string, settings: InterfaceSettings | undefined): void {
    if (settings === undefined) {
      this.#desired.delete(name);
      this.#pending.delete(name);
      this.#problems.delete(name);
      return;
    }
    if (this.#desired.get(name)?.spoofingAllowed === settings.spoofingAllowed) return;
    this.#desired.set(name, settings);
    this.#pending.add(name);
  }

  /** The interface is new, or others may have changed its settings. */
  recheck(name: string): void {
    if (this.#desired.has(name)) this.#pending.add(name);
  }

  recheckAll(): void {
    this.#forwardingPending = this.#forwardingWanted;
    for (const name of this.#desired.keys()) this.#pending.add(name);
  }

  /** IPForwarding=Enabled. */
  wantForwarding(): void {
    this.#forwardingWanted = true;
    this.#forwardingPending = true;
  }

  /** Why the interface has not its settings; undefined when it has. */
  problemOf(name: string): string | undefined {
    return this.#problems.get(name);
  }

  /** `onProblem`: `problemOf` the interface changed. */
  apply(onProblem: (name: string) => void): DriverResult {
    if (this.#pending.size === 0 && !this.#forwardingPending) return NOTHING_DONE;
    let writes = 0;
    const errors: Error[] = [];
    const attempt = (settings: readonly Setting[]): string | undefined => {
      let problem: string | undefined;
      for (const setting of settings) {
        try {
          if (this.#set(setting)) writes++;
        } catch (error) {
          if (setting.optional !== true) problem ??= `${setting.path}: ${messageOf(error)}`;
        }
      }
      if (problem !== undefined)
        errors.push(systemError("sysctl-failed", problem, { retryable: true }));
      return problem;
    };
    if (this.#forwardingPending && attempt(this.#forwarding()) === undefined) {
      this.#forwardingPending = false;
    }
    for (const name of this.#pending) {
      const problem = attempt(this.#settingsOf(name));
      const before = this.#problems.get(name);
      if (problem === undefined) {
        this.#pending.delete(name);
        this.#problems.delete(name);
      } else {
        this.#problems.set(name, problem);
      }
      if (problem !== before) onProblem(name);
    }
    return { writes, errors };
  }

  #forwarding(): Setting[] {
    const v4 = { path: "ipv4/ip_forward", value: "1" };
    return this.#ipv6 ? [v4, { path: "ipv6/conf/all/forwarding", value: "1" }] : [v4];
  }

  #settingsOf(name: string): Setting[] {
    const settings = this.#desired.get(name);
    if (settings === undefined) return [];
    const v4: Setting[] = [
      { path: `ipv4/conf/${name}/route_localnet`, value: "1" },
      { path: `ipv4/neigh/${name}/proxy_delay`, value: "0", optional: true },
      { path: `ipv4/conf/${name}/proxy_arp`, value: "1" },
      { path: `ipv4/conf/${name}/forwarding`, value: "1" },
      { path: `ipv4/conf/${name}/rp_filter`, value: this.#rpFilter(settings) },
    ];
    if (!this.#ipv6) return v4;
    return [
      ...v4,
      { path: `ipv6/conf/${name}/proxy_ndp`, value: "1" },
      { path: `ipv6/conf/${name}/forwarding`, value: "1" },
      { path: `ipv6/conf/${name}/accept_ra`, value: "0" },
    ];
  }

  #rpFilter({ spoofingAllowed }: InterfaceSettings): string {
    if (spoofingAllowed) return "0";
    try {
      return readFileSync(join(this.#root, "ipv4/conf/default/rp_filter"), "utf8").trim();
    } catch {
      return "1";
    }
  }

  /** Whether it had to be written. */
  #set({ path, value }: Setting): boolean {
    const file = join(this.#root, path);
    if (readFileSync(file, "utf8").trim() === value) return false;
    writeFileSync(file, value);
    return true;
  }
}
