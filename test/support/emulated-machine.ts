/**
 * A machine with Debian's kernel in QEMU, in software: for what the kernel of this machine lacks, and
 * for pulling the plug. It sees this machine's files as they are and keeps what it writes to itself,
 * except in the shared directory, `/run/shared` inside.
 *
 * The kernel is fetched by scripts/kernel.sh. A boot takes about four seconds, and Node runs ten times
 * slower than outside. One processor: with two, QEMU's emulation trips over code that V8 patches.
 */
import { spawn } from "node:child_process";
import { closeSync, existsSync, ftruncateSync, mkdtempSync, openSync } from "node:fs";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const KERNEL = fileURLToPath(new URL("../../.cache/kernel", import.meta.url));

export interface EmulatedOptions {
  /** A shell script, run as root. */
  readonly command: string;
  /** A file that is the machine's only disk, `/dev/vda`. */
  readonly disk?: string;
  readonly timeoutMs?: number;
}

export class EmulatedMachine {
  /** `/run/shared` inside; gone after `close`. */
  readonly shared: string;
  private readonly child;
  private readonly ended: Promise<void>;
  private console = "";

  constructor(options: EmulatedOptions) {
    this.shared = mkdtempSync(join(tmpdir(), "mgy-emulated-"));
    writeFileSync(join(this.shared, "modules"), join(KERNEL, "lib/modules"));
    writeFileSync(join(this.shared, "command"), options.command);
    this.child = spawn("qemu-system-x86_64", qemuArguments(this.shared, options.disk), {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const keep = (chunk: Buffer) => (this.console += chunk.toString());
    this.child.stdout.on("data", keep);
    this.child.stderr.on("data", keep);
    const timer = setTimeout(() => this.child.kill("SIGKILL"), options.timeoutMs ?? 120_000);
    this.ended = new Promise((resolve, reject) => {
      this.child.once("error", reject);
      this.child.once("close", () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** What the command printed. Rejects if it failed, or did not end in time. */
  async output(): Promise<string> {
    await this.ended;
    const code = this.read("code").trim();
    if (code === "0") return this.read("output");
    const how = code === "" ? "did not end" : `exit code ${code}`;
    throw new Error(`the machine's command: ${how}\n${this.read("output")}\n${this.console}`);
  }

  /** A file of the shared directory, `""` if there is none. */
  read(name: string): string {
    const path = join(this.shared, name);
    return existsSync(path) ? readFileSync(path, "utf8") : "";
  }

  /** What its kernel had not written to the disk is gone. */
  async pullThePlug(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.ended;
  }

  async close(): Promise<void> {
    await this.pullThePlug();
    rmSync(this.shared, { recursive: true, force: true });
  }
}

/** A sparse file for `disk`. */
export function makeDisk(path: string, bytes: number): void {
  const file = openSync(path, "w");
  ftruncateSync(file, bytes);
  closeSync(file);
}

function qemuArguments(shared: string, disk: string | undefined): string[] {
  const folder = (path: string, tag: string) =>
    `local,path=${path},mount_tag=${tag},security_model=none`;
  const options: Record<string, string> = {
    "-accel": "tcg",
    "-m": "1536",
    "-smp": "1",
    "-serial": "stdio",
    "-nic": "none",
    "-kernel": join(KERNEL, "vmlinuz"),
    "-initrd": join(KERNEL, "initramfs"),
    "-append": "console=ttyS0 quiet panic=-1",
  };
  return [
    "-nodefaults",
    "-no-reboot",
    "-nographic",
    ...Object.entries(options).flat(),
    "-virtfs",
    `${folder("/", "files")},readonly=on,multidevs=remap`,
    "-virtfs",
    folder(shared, "shared"),
    ...(disk === undefined ? [] : ["-drive", `file=${disk},format=raw,if=virtio`]),
  ];
}
