/** Runs commands against a store in memory, with a fixed clock and identities. */
import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { Client, runCtl } from "#ctl";
import { MemoryDatastore, type Datastore } from "#datastore";

const UID = "30316465-6365-4463-ad63-3564622d3638";
export const TIME = "2026-11-23T02:20:00Z";
export const GUID = UID.replaceAll("-", "");
const GOLDEN = "test/golden/calicoctl";

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export class Ctl {
  readonly store = new MemoryDatastore();
  connections = 0;
  /** As if standard error were a terminal. */
  terminal = false;

  client(): Client {
    this.connections++;
    // The store outlives the commands, which close what they opened.
    const { store } = this;
    const shared: Datastore = {
      get: (key) => store.get(key),
      list: (prefix) => store.list(prefix),
      put: (key, value, options) => store.put(key, value, options),
      delete: (key, options) => store.delete(key, options),
      watch: (prefix, from, signal) => store.watch(prefix, from, signal),
      close: async () => {},
    };
    return new Client(shared, { now: () => new Date(TIME), uuid: () => UID });
  }

  async run(args: readonly string[], stdin = ""): Promise<Ran> {
    let out = "";
    let err = "";
    const [name = "", ...rest] = args;
    const code = await runCtl(name, rest, {
      stdout: { write: (text) => (out += text) },
      stderr: { write: (text) => (err += text), isTTY: this.terminal },
      stdin: Readable.from([stdin]),
      connect: async () => this.client(),
    });
    return { code, out, err };
  }

  async applyGolden(): Promise<void> {
    for (const file of ["01-tiers-policies", "02-nodes-endpoints", "03-pools-bgp-config"]) {
      const ran = await this.run(["apply", "-f", `${GOLDEN}/${file}.yaml`]);
      if (ran.code !== 0) throw new Error(ran.err);
    }
  }
}

export function goldenText(name: string): string {
  return readFileSync(`${GOLDEN}/${name}`, "utf8")
    .replaceAll("<uid>", UID)
    .replaceAll("<time>", TIME)
    .replaceAll("<guid>", GUID);
}
