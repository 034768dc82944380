/** Two workloads that claim one address, as after a datastore's mishap: who has it, and under whose policy. */
import {
  ALLOW_PROFILE,
  endpointRemove,
  endpointUpdate,
  IN_SYNC,
  makeHost,
  openApplied,
  plug,
  plugOutside,
  pod,
  run,
  UPLINK,
  within,
} from "../../../support/workload-host.ts";

export interface SameAddressResult {
  /** Interface and MAC address that both addresses lead to, in both orders of arrival. */
  readonly owners: readonly string[];
  readonly restartWrites: number;
  /** Of both families: answers to the world, and who gets out with the address. */
  readonly whileFirst: Reached;
  /** What the second sends while its policy would allow it. */
  readonly imposter: readonly boolean[];
  readonly afterDown: string;
  readonly afterUp: string;
  readonly takenOverClosed: Reached;
  readonly takenOverOpen: Reached;
  readonly errors: readonly string[];
}

interface Reached {
  readonly in: readonly boolean[];
  readonly first: readonly boolean[];
  readonly second: readonly boolean[];
}

const LIMIT_MS = 10_000;
const first = pod(1);
const second = { ...pod(2), ipv4: first.ipv4, ipv6: first.ipv6 };
const closed = { profileIds: [] };

function pings(from: string, target: { readonly ipv4: string; readonly ipv6: string }): boolean[] {
  return [target.ipv4, target.ipv6].map((address) => {
    try {
      run("ip", "netns", "exec", from, "ping", "-c1", "-W1", address);
      return true;
    } catch {
      return false;
    }
  });
}

/** `interface MAC`, once both families agree. */
async function owner(): Promise<string> {
  let found = "";
  await within(LIMIT_MS, "both families lead to one workload", () => {
    const told = [["-4", first.ipv4] as const, ["-6", first.ipv6] as const].map(([family, to]) => {
      const device =
        / dev (\S+) .*proto 80/.exec(run("ip", family, "route", "show", to))?.[1] ?? "";
      const neighbours = run("ip", family, "neigh", "show", "nud", "permanent", "to", to);
      return `${device} ${[...neighbours.matchAll(/lladdr (\S+)/g)].map(([, mac]) => mac).join()}`;
    });
    found = told[0] ?? "";
    return told[0] === told[1] && /^cali\S+ \S+$/.test(found);
  });
  return found;
}

function reached(): Reached {
  return {
    in: pings("outside", first),
    first: pings("pod1", UPLINK.outside),
    second: pings("pod2", UPLINK.outside),
  };
}

makeHost();
plug(first);
plug(second);
plugOutside();
let dataplane = openApplied();
const owners: string[] = [];
const errors: string[] = [];
await dataplane.send(ALLOW_PROFILE, IN_SYNC);
for (const order of [
  [first, second],
  [second, first],
]) {
  for (const one of order) await dataplane.send(endpointUpdate(one, one === second ? closed : {}));
  owners.push(await owner());
  if (order[0] === first) for (const one of order) await dataplane.send(endpointRemove(one));
}
const whileFirst = reached();
await dataplane.send(endpointUpdate(second));
const imposter = pings("pod2", UPLINK.outside);
await dataplane.send(endpointUpdate(second, closed));

errors.push(...dataplane.errors);
await dataplane.close();
dataplane = openApplied();
const again = [endpointUpdate(second, closed), endpointUpdate(first)];
const restarted = await dataplane.send(ALLOW_PROFILE, ...again, IN_SYNC);
owners.push(await owner());

run("ip", "link", "set", first.interfaceName, "down");
await within(LIMIT_MS, "the other has it", () => {
  return run("ip", "route", "show", first.ipv4).includes(second.interfaceName);
});
const afterDown = await owner();
run("ip", "link", "set", first.interfaceName, "up");
await within(LIMIT_MS, "back", () => {
  return run("ip", "route", "show", first.ipv4).includes(first.interfaceName);
});
const afterUp = await owner();

await dataplane.send(endpointRemove(first));
await owner();
const takenOverClosed = reached();
await dataplane.send(endpointUpdate(second));
const takenOverOpen = reached();
errors.push(...dataplane.errors);
await dataplane.close();

const result: SameAddressResult = {
  owners,
  restartWrites: restarted.writes,
  whileFirst,
  imposter,
  afterDown,
  afterUp,
  takenOverClosed,
  takenOverOpen,
  errors,
};
process.stdout.write(JSON.stringify(result));
