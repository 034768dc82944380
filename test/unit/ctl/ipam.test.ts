/** `margay ipam …` against a store in memory: Calico's table, every fault that check names, exit codes. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import { ipamCommand } from "#ctl";
import { Ctl, type Ran } from "./harness.ts";

class IpamCtl extends Ctl {
  async ipam(...args: readonly string[]): Promise<Ran> {
    let out = "";
    let err = "";
    const code = await ipamCommand(args, {
      stdout: { write: (text) => (out += text) },
      stderr: { write: (text) => (err += text) },
      stdin: Readable.from([]),
      connect: async () => this.client(),
    });
    return { code, out, err };
  }

  async ok(...args: readonly string[]): Promise<string> {
    const { code, out, err } = await this.ipam(...args);
    assert.equal(code, 0, err);
    return out;
  }
}

/** What the golden file was made from: Calico's plugin had chosen this block. */
async function golden(): Promise<IpamCtl> {
  const ctl = new IpamCtl();
  await ctl.applyGolden();
  const records = JSON.parse(readFileSync("test/golden/calicoctl/ipam.json", "utf8")) as Record<
    string,
    string
  >;
  for (const [key, value] of Object.entries(records)) {
    const text = value
      .replaceAll("<time>", "2026-11-23T05:00:00Z")
      .replaceAll("<seq>", "1763874000000000001");
    await ctl.store.put(key, text);
  }
  return ctl;
}

test("show prints Calico's table, byte for byte", async () => {
  const ctl = await golden();
  const wanted = readFileSync("test/golden/calicoctl/ipam-show.txt", "utf8");
  assert.equal(await ctl.ok("show", "--show-blocks"), wanted);
  const json = JSON.parse(await ctl.ok("show", "-o", "json")) as { pool: string; inUse: number }[];
  assert.deepEqual(
    json.map(({ pool, inUse }) => `${pool} ${inUse}`),
    ["pool-ipip 2", "pool-v4 0", "pool-v6 0"],
  );
});

test("without a block, show is the transcript's", async () => {
  const ctl = new IpamCtl();
  await ctl.applyGolden();
  const transcript = readFileSync("test/golden/calicoctl/transcript.txt", "utf8");
  const [, wanted = ""] = /\$ calicoctl ipam show\n([\s\S]*?)\[exit 0\]/.exec(transcript) ?? [];
  assert.equal(await ctl.ok("show"), wanted);
  const ran = await ctl.ipam("configure", "show");
  assert.deepEqual(ran, {
    code: 1,
    out: "",
    err: "at least one configuration option must be specified\n",
  });
});

test("show of one address, of what is borrowed, of the settings", async () => {
  const ctl = await golden();
  assert.equal(
    await ctl.ok("show", "--ip=172.20.5.2"),
    "IP 172.20.5.2 is in use\nHandle ID: margay.cid3\nActive Owner Attributes:\n  namespace: default\n" +
      "  node: host-a\n  pod: p3\n  timestamp: 2026-11-23T05:00:00Z\n",
  );
  assert.equal(await ctl.ok("show", "--ip=172.20.5.9"), "172.20.5.9 is not assigned\n");
  assert.equal((await ctl.ipam("show", "--ip=nonsense")).code, 1);
  await ctl.ok("assign", "--node=host-b", "--ip=172.20.5.7", "--pod=x", "-n", "shop");
  const borrowed = await ctl.ok("show", "--show-borrowed");
  assert.match(
    borrowed,
    /\| 172\.20\.5\.7 \| host-b +\| 172\.20\.5\.0\/26 \| host-a +\| pod +\| shop\/x/,
  );
  await ctl.ok("configure", "--strictaffinity=true", "--max-blocks-per-host=4", "--cooldown=60");
  const settings = await ctl.ok("show", "--show-configuration");
  assert.match(settings, /StrictAffinity +\| true /);
  assert.match(settings, /MaxBlocksPerHost +\| 4 /);
  const refused = await ctl.ipam("configure", "--strictaffinity=false");
  assert.equal(refused.code, 1);
});

test("check names every kind of fault, once", async () => {
  const ctl = new IpamCtl();
  await ctl.applyGolden();
  const put = async (key: string, value: string) => {
    await ctl.store.put(`/calico/ipam/v2/${key}`, value);
  };
  const node = (name: string) =>
    ctl.run(
      ["create", "-f", "-"],
      JSON.stringify({ apiVersion: "projectcalico.org/v3", kind: "Node", metadata: { name } }),
    );
  await node("lonely");
  await ctl.ok("assign", "--node=host-b", "--ip=192.168.11.5", "--handle=right"); // pod web-1's
  await ctl.ok("assign", "--node=lonely", "--ip=172.20.7.1", "--handle=leak");
  await ctl.ok("assign", "--node=lonely", "--ip=172.20.7.2", "--handle=lost");
  await ctl.store.delete("/calico/ipam/v2/handle/lost");
  await put("handle/leak", '{"block":{"172.20.7.0/26":3},"deleted":false}');
  await put("handle/idle", '{"block":{"172.20.7.0/26":1},"deleted":false}');
  await put("host/host-b/ipv4/block/172.20.9.0-26", '{"state":"confirmed","deleted":false}');
  await put("host/lonely/ipv4/block/172.20.7.0-26", '{"state":"pending","deleted":false}');
  const block = (cidr: string, affinity: string) =>
    `{"cidr":"${cidr}","affinity":"${affinity}","allocations":[null,null],"unallocated":[0,1],"attributes":[],"sequenceNumber":1,"sequenceNumberForAllocation":{},"deleted":false}`;
  await put("assignment/ipv4/block/10.9.9.0-31", block("10.9.9.0/31", "host:host-a"));
  await put("assignment/ipv4/block/172.20.7.8-31", block("172.20.7.8/31", "host:gone"));
  await put("assignment/ipv4/block/172.20.8.0-31", "{}");
  const twin = await ctl.run(["get", "wep", "-A", "-o", "json"]);
  const [wep] = (
    JSON.parse(twin.out) as {
      items: { metadata: { name: string }; spec: object }[];
    }
  ).items.filter((one) => one.metadata.name === "host--a-k8s-web--1-eth0");
  await ctl.run(
    ["create", "-f", "-"],
    JSON.stringify({
      ...wep,
      metadata: { name: "host--b-k8s-web--2-eth0", namespace: "shop" },
      spec: {
        ...wep?.spec,
        node: "host-b",
        pod: "web-2",
        mac: undefined,
        interfaceName: "cali2",
      },
    }),
  );

  const { problems } = JSON.parse(await ctl.ok("check", "-o", "json")) as {
    problems: { kind: string; subject: string }[];
  };
  assert.deepEqual(problems.map(({ kind, subject }) => `${kind} ${subject}`).toSorted(), [
    "affinity-unfinished 172.20.7.0/26",
    "affinity-without-block 172.20.9.0/26",
    "block-outside-pools 10.9.9.0/31",
    "block-overlap 172.20.7.8/31",
    "block-without-affinity 10.9.9.0/31",
    "block-without-affinity 172.20.7.8/31",
    "damaged /calico/ipam/v2/assignment/ipv4/block/172.20.8.0-31",
    "duplicate 192.168.11.5",
    "duplicate fd00:11::5",
    "handle-miscounts leak",
    "handle-missing lost",
    "handle-unused idle",
    "leaked 172.20.7.1",
    "leaked 172.20.7.2",
    "node-missing 172.20.7.8/31",
    "not-allocated 192.168.11.0",
    "not-allocated 192.168.11.6",
    "not-allocated 192.168.12.1",
    "outside-pools fd00:11::5",
  ]);
  const text = await ctl.ok("check");
  assert.match(text, /Check complete; found 19 problems\.\n$/);
  for (const { subject } of problems) assert.ok(text.includes(subject), subject);
  assert.equal((await ctl.ipam("check", "--exit-code")).code, 1);
});

test("a report's leaks are released, what changed since is kept", async () => {
  const ctl = await golden();
  const dir = mkdtempSync(join(tmpdir(), "mgy-report-"));
  try {
    const file = join(dir, "report.json");
    await ctl.ok("check", "-o", file);
    assert.match(readFileSync(file, "utf8"), /"sequenceNumber":1763874000000000001/);
    // p3's address goes to somebody else after the report.
    await ctl.ok("release", "--ip=172.20.5.2");
    await ctl.ok("assign", "--node=host-a", "--ip=172.20.5.2", "--handle=new");
    const unlocked = await ctl.ipam("release", `--from-report=${file}`);
    assert.equal(unlocked.code, 1);
    assert.match(unlocked.err, /not locked/);
    const done = await ctl.ok("release", `--from-report=${file}`, "--force");
    assert.match(done, /Released 1 of 2 leaked IPs/);
    assert.match(done, /172\.20\.5\.2 is another's by now/);
    assert.match(await ctl.ok("show", "--ip=172.20.5.0"), /is not assigned/);
    assert.match(await ctl.ok("show", "--ip=172.20.5.2"), /Handle ID: new/);
    const again = await ctl.ipam("release", "--ip=172.20.5.0");
    assert.deepEqual(again, {
      code: 1,
      out: "",
      err: "IP address 172.20.5.0 is not assigned\n",
    });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test("split divides a pool, only with the datastore locked", async () => {
  const ctl = await golden();
  const refused = await ctl.ipam("split", "4", "--cidr=172.20.0.0/20");
  assert.equal(refused.code, 1);
  assert.match(refused.err, /not locked/);
  const lock = '{"spec":{"datastoreReady":false}}';
  await ctl.run(["patch", "clusterinformation", "default", "-p", lock]);
  assert.equal((await ctl.ipam("split", "3", "--cidr=172.20.0.0/20")).code, 1);
  assert.equal((await ctl.ipam("split", "128", "--name=pool-ipip")).code, 1);
  await ctl.ok("split", "4", "--cidr=172.20.0.0/20");
  const pools = await ctl.run(["get", "ippool", "-o", "name"]);
  assert.match(pools.out, /split-pool-ipip-0[\s\S]*split-pool-ipip-3/);
  assert.doesNotMatch(pools.out, /\/pool-ipip\n/);
  const show = await ctl.ok("show");
  assert.match(show, /IP Pool +\| 172\.20\.4\.0\/22 +\| +1024 \| +2 \(0%\)/);
});

test("assign gives all or nothing, and explain says who has it and why", async () => {
  const ctl = await golden();
  const explain = (ip: string) => ctl.ok("explain", ip);
  const out = await ctl.ok("assign", "--node=host-a", "--ipv4=2", "--handle=h", "--pool=pool-ipip");
  assert.equal(out, "172.20.5.3\n172.20.5.4\n");
  const many = await ctl.ipam("assign", "--node=host-a", "--ipv4=9999", "--pool=pool-ipip");
  assert.equal(many.code, 1);
  assert.match(many.err, /only \d+ of 9999 addresses/);
  assert.match(await explain("172.20.5.3"), /is leaked.*\n +handle +h\n +since +\d{4}-/);
  assert.match(await explain("172.20.5.3"), /because +the pool pool-ipip selects host-a: all\(\)/);
  await ctl.ok("assign", "--node=host-b", "--ip=192.168.11.5", "--handle=w", "--pod=web-1");
  assert.match(await explain("192.168.11.5"), /is assigned to Workload\(shop\//);
  assert.match(
    await explain("192.168.11.1"),
    /is reserved by an IPReservation: 192\.168\.11\.1\/32/,
  );
  assert.match(await explain("192.168.11.6"), /is not allocated, though Workload/);
  assert.match(await explain("172.20.5.9"), /is free[\s\S]*of host:host-a[\s\S]*number \d+ of \d+/);
  assert.match(await explain("172.20.1.1"), /is free[\s\S]*no host has claimed its block/);
  assert.match(await explain("8.8.8.8"), /is in no pool/);
  await ctl.ok("configure", "--cooldown=600");
  await ctl.ok("release", "--ip=172.20.5.3");
  assert.match(await explain("172.20.5.3"), /was released at .* and cools down until/);
  const json = JSON.parse(await ctl.ok("explain", "172.20.5.4", "-o", "json")) as { state: string };
  assert.equal(json.state, "leaked");
});
