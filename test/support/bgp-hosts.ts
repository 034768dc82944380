/**
 * Hosts in network namespaces on one link, each with two BIRDs and `margay confd`, over one shared
 * store. Run it with `runInSandbox`: namespaces and processes go with the sandbox.
 */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openDatastore, type Datastore } from "#datastore";
import { until } from "./agent-host.ts";
import { storedObject, type Given, type Raw } from "./bgp.ts";

export const MARGAY = fileURLToPath(new URL("../../bin/margay", import.meta.url));
const PATH = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`;
const LIMIT_MS = 60_000;

export class BgpHosts {
  readonly dir = mkdtempSync(join(tmpdir(), "margay-bgp-"));
  readonly #processes = new Map<string, ChildProcess>();
  readonly #mounts: string[] = [];
  #store: Datastore | undefined;

  static async start(numbers: readonly number[]): Promise<BgpHosts> {
    const hosts = new BgpHosts();
    hosts.#wire(numbers);
    hosts.spawn("store", [MARGAY, "datastore"]);
    await until("the store answers", async () => {
      hosts.#store ??= await openDatastore({
        type: "etcdv3",
        etcd: { endpoints: [`unix://${hosts.dir}/store/margay.sock`] },
      });
      return await hosts.#store.list("/x").then(
        () => true,
        () => false,
      );
    });
    return hosts;
  }

  #wire(numbers: readonly number[]): void {
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", "/run"]);
    mkdirSync("/run/netns", { recursive: true });
    this.ip("link add link0 type bridge", "link set link0 up", "link set lo up");
    for (const number of numbers) {
      const name = this.namespace(number);
      this.ip(
        `netns add ${name}`,
        `link add up${number} type veth peer name eth0 netns ${name}`,
        `link set up${number} master link0 up`,
      );
      const inside = [
        "link set lo up",
        "link add cali0 type veth peer name pod0",
        "link set pod0 up",
        "link set cali0 up",
        "link set eth0 up",
        `addr add 10.0.0.${number}/24 dev eth0`,
        `addr add fd00::${number}/64 dev eth0 nodad`,
        `addr add 10.65.${number}.5/32 dev cali0`,
        `addr add fd65::${number}:5/128 dev cali0 nodad`,
      ];
      for (const one of inside) this.ip(`-n ${name} ${one}`);
    }
  }

  namespace(number: number): string {
    return `mgy-bgp-${number}`;
  }

  ip(...commands: readonly string[]): string {
    return commands.map((one) => execFileSync("ip", one.split(" "), { encoding: "utf8" })).join("");
  }

  async put(...objects: readonly (Given | Raw)[]): Promise<void> {
    for (const one of objects) {
      const [path, value] = "kind" in one ? storedObject(one) : one;
      await this.#store?.put(path, value);
    }
  }

  async remove(object: Given): Promise<void> {
    await this.#store?.delete(storedObject(object)[0]);
  }

  /** A directory of the host; its `config` is where the files are. */
  home(number: number): string {
    return join(this.dir, `host-${number}`);
  }

  /** `confd` and, when it has written, both BIRDs. */
  async startHost(number: number): Promise<void> {
    mkdirSync(this.home(number), { recursive: true });
    this.#writeChecker(number);
    this.startConfd(number);
    for (const name of ["bird", "bird6"]) {
      await until(`${name}.cfg of ${number}`, () => this.config(number, name) !== "", LIMIT_MS);
      this.startBird(number, name);
    }
  }

  startConfd(number: number): void {
    const home = this.home(number);
    const flags = ["--conf-dir", home, "--run-dir", home, "--bird", join(home, "check")];
    flags.push("--secrets-dir", join(home, "secrets"));
    this.spawn(`confd-${number}`, this.#inside(number, MARGAY, "confd", ...flags), {
      NODENAME: `host-${number}`,
    });
  }

  startBird(number: number, name: string): void {
    const home = this.home(number);
    const config = join(home, "config", `${name}.cfg`);
    const flags = ["-R", "-f", "-s", join(home, `${name}.ctl`), "-c", config];
    this.spawn(`${name}-${number}`, this.#inside(number, "bird", ...flags));
  }

  /** The configuration goes to a disk of 64 KB. */
  mountSmallDisk(number: number): void {
    const directory = join(this.home(number), "config");
    mkdirSync(directory, { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", directory]);
    this.#mounts.push(directory);
  }

  /** A BIRD of somebody else's, with this configuration. */
  startForeignBird(number: number, text: string): void {
    const config = join(this.home(number), "config");
    mkdirSync(config, { recursive: true });
    writeFileSync(join(config, "bird.cfg"), text);
    this.startBird(number, "bird");
  }

  writePassword(number: number, secret: string, key: string, value: string): void {
    const directory = join(this.home(number), "secrets", secret);
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, key), `${value}\n`, { mode: 0o600 });
  }

  /** `bird`, unless a file says that it should refuse. */
  #writeChecker(number: number): void {
    const file = join(this.home(number), "check");
    const refuse = join(this.home(number), "refuse");
    writeFileSync(
      file,
      `#!/bin/sh\n[ -e ${refuse} ] && { echo "bird.cfg:1:1 refused" >&2; exit 1; }\nexec bird "$@"\n`,
    );
    chmodSync(file, 0o755);
  }

  #inside(number: number, ...command: readonly string[]): string[] {
    return ["ip", "netns", "exec", this.namespace(number), ...command];
  }

  /** What a command prints on the host; "" when it fails. */
  run(number: number, ...command: readonly string[]): string {
    const [program = "", ...args] = this.#inside(number, ...command);
    try {
      return execFileSync(program, args, {
        encoding: "utf8",
        env: this.#environment({ NODENAME: `host-${number}` }),
        stdio: ["ignore", "pipe", "pipe"],
        timeout: 30_000,
      });
    } catch {
      return "";
    }
  }

  margay(number: number, ...args: readonly string[]): string {
    return this.run(number, MARGAY, ...args);
  }

  birdc(number: number, name: string, command: string): string {
    return this.run(number, "birdc", "-s", join(this.home(number), `${name}.ctl`), command);
  }

  config(number: number, name: string): string {
    try {
      return readFileSync(join(this.home(number), "config", `${name}.cfg`), "utf8");
    } catch {
      return "";
    }
  }

  log(name: string): string {
    return readFileSync(join(this.dir, `${name}.log`), "utf8");
  }

  async until(what: string, holds: () => boolean): Promise<number> {
    const started = performance.now();
    await until(what, holds, LIMIT_MS);
    return performance.now() - started;
  }

  #environment(more: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
    return { ...process.env, PATH, MARGAY_DATA_DIR: join(this.dir, "store"), ...more };
  }

  spawn(
    name: string,
    argv: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): ChildProcess {
    const [program = "", ...args] = argv;
    const output = openSync(join(this.dir, `${name}.log`), "a");
    const child = spawn(program, args, {
      env: this.#environment(env),
      stdio: ["ignore", output, output],
    });
    this.#processes.set(name, child);
    return child;
  }

  async kill(name: string, signal: NodeJS.Signals): Promise<void> {
    const child = this.#processes.get(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    child.once("close", () => resolve());
    child.kill(signal);
    await promise;
  }

  async stop(): Promise<void> {
    await this.#store?.close();
    for (const name of this.#processes.keys()) await this.kill(name, "SIGKILL");
    for (const directory of this.#mounts) execFileSync("umount", ["-l", directory]);
    rmSync(this.dir, { recursive: true, force: true });
  }
}
