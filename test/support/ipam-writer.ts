/**
 * A process that assigns addresses and releases a third of them: `URL HOST NAME COUNT`. Prints what it
 * still holds, as JSON.
 */
import { EtcdClient, EtcdDatastore } from "#datastore";
import { formatIp } from "#ip";
import { Ipam } from "#ipam";

const [url = "", host = "", name = "", count = "0"] = process.argv.slice(2);
const store = new EtcdDatastore(new EtcdClient({ endpoints: [url] }));
const ipam = new Ipam(store);
const kept: [string, string][] = [];
let released = 0;
for (let at = 0; at < Number(count); at++) {
  const handle = `${name}.${at}`;
  const { ipv4 } = await ipam.autoAssign({ host, handle, ipv4: 1 });
  const [assigned] = ipv4.assigned;
  if (assigned === undefined) throw new Error(ipv4.reasons.join());
  kept.push([formatIp(assigned.ip), handle]);
  if (at % 3 !== 2) continue;
  const [, oldest = ""] = kept.shift() ?? [];
  released += (await ipam.releaseByHandle(oldest)).length;
}
await store.close();
process.stdout.write(JSON.stringify({ kept, released, conflicts: ipam.conflicts }));
