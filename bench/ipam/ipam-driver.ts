/**
 * A writer of its own process: `URL NAME COUNT [START]`. `alone` prepares the store, and times an
 * address, its release and two bare puts; others only assign, from START (ms since 1970) on.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { EtcdClient, EtcdDatastore } from "#datastore";
import { formatIp } from "#ip";
import { Ipam } from "#ipam";
import { encodeStored, resourcePath, validateResource, type Kind } from "#resource";

export interface IpamTold {
  readonly assignP50: number;
  readonly assignP99: number;
  readonly releaseP50: number;
  readonly floorP50: number;
  readonly seconds: number;
  readonly conflicts: number;
  readonly ips: readonly string[];
}

const HOSTS = 8;
const [url = "", name = "", countText = "0", startText = "0"] = process.argv.slice(2);
const count = Number(countText);
const store = new EtcdDatastore(new EtcdClient({ endpoints: [url] }));
const ipam = new Ipam(store);

const told = name === "alone" ? await alone() : await together();
await store.close();
process.stdout.write(JSON.stringify(told));

async function alone(): Promise<IpamTold> {
  await put("IPPool", "p", { cidr: "10.0.0.0/16" });
  for (let host = 0; host < HOSTS; host++) await put("Node", `together-${host}`, {});
  await put("Node", "alone", {});
  const assigns: number[] = [];
  const releases: number[] = [];
  const floors: number[] = [];
  for (let at = 0; at < count; at++) {
    const handle = `alone.${at}`;
    assigns.push(await timed(async () => void (await assign("alone", handle))));
    releases.push(await timed(async () => void (await ipam.releaseByHandle(handle))));
    floors.push(await timed(() => twoPuts(at)));
  }
  return {
    assignP50: quantile(assigns, 0.5),
    assignP99: quantile(assigns, 0.99),
    releaseP50: quantile(releases, 0.5),
    floorP50: quantile(floors, 0.5),
    seconds: 0,
    conflicts: 0,
    ips: [],
  };
}

/** Half of the processes share their hosts, and with them the blocks. */
async function together(): Promise<IpamTold> {
  const index = Number(name.split("-")[1]);
  const host = `together-${index % (HOSTS / 2)}`;
  await store.get("/warm");
  await sleep(Math.max(0, Number(startText) - Date.now()));
  const begin = performance.now();
  const ips: string[] = [];
  for (let at = 0; at < count; at++) ips.push(await assign(host, `${name}.${at}`));
  const seconds = (performance.now() - begin) / 1000;
  const { conflicts } = ipam;
  return { assignP50: 0, assignP99: 0, releaseP50: 0, floorP50: 0, seconds, conflicts, ips };
}

async function assign(host: string, handle: string): Promise<string> {
  const attributes = { pod: handle, namespace: "default" };
  const { ipv4 } = await ipam.autoAssign({ host, handle, ipv4: 1, attributes });
  const [assigned] = ipv4.assigned;
  if (assigned === undefined) throw new Error(ipv4.reasons.join());
  return formatIp(assigned.ip);
}

async function twoPuts(at: number): Promise<void> {
  await store.put(`/bench/handle-${at}`, "h".repeat(60), { ifModRevision: 0 });
  await store.put(`/bench/block-${at}`, "b".repeat(900), { ifModRevision: 0 });
}

async function put(kind: Kind, metadataName: string, spec: object): Promise<void> {
  const apiVersion = "projectcalico.org/v3";
  const checked = validateResource({ apiVersion, kind, metadata: { name: metadataName }, spec });
  if (!checked.ok) throw new Error(JSON.stringify(checked.errors));
  await store.put(resourcePath(kind, metadataName), encodeStored(checked.value));
}

async function timed(work: () => Promise<void>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

function quantile(samples: readonly number[], q: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}
