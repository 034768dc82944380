/** `margay node -allocate-tunnel-addrs` against a real etcd, read by etcdctl. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Client } from "#ctl";
import { openDatastore } from "#datastore";
import { Ipam } from "#ipam";
import { until } from "../../support/agent-host.ts";
import { etcdctlGet, runNode, spawnNode } from "../../support/node-start.ts";
import { EtcdServer } from "../datastore/etcd-server.ts";

const API = "projectcalico.org/v3";

test("tunnel addresses follow the pools, and what etcdctl reads is Calico's", async () => {
  const etcd = await EtcdServer.start();
  const env = { ETCD_ENDPOINTS: etcd.endpoint, NODENAME: "host-a" };
  const store = await openDatastore({ type: "etcdv3", etcd: { endpoints: [etcd.endpoint] } });
  const client = new Client(store);
  const node = (): string => etcdctlGet(etcd.endpoint, "nodes", "host-a");
  const pool = async (vxlanMode: "Always" | "Never"): Promise<void> => {
    await client.apply({
      kind: "IPPool",
      apiVersion: API,
      metadata: { name: "p" },
      spec: {
        cidr: "10.65.0.0/16",
        vxlanMode,
        ipipMode: "Never",
        blockSize: 26,
        nodeSelector: "all()",
        allowedUses: ["Workload", "Tunnel"],
        assignmentMode: "Automatic",
      },
    });
  };
  try {
    const early = await runNode(["-allocate-tunnel-addrs-run-once"], env);
    assert.equal(early.status, 1);
    assert.match(early.log, /there is no node host-a: margay node -startup makes it/);

    const service = spawnNode(["-allocate-tunnel-addrs"], env);
    await until("it waits for the node", () => service.log().includes("there is no node"));
    await client.create({
      kind: "Node",
      apiVersion: API,
      metadata: { name: "host-a" },
      spec: { bgp: { ipv4Address: "10.0.0.1/24" } },
    });
    await pool("Always");
    await until("the address is there", () => node().includes("ipv4VXLANTunnelAddr"), 10_000);
    const address = /"ipv4VXLANTunnelAddr":"([\d.]+)"/.exec(node())?.[1] ?? "";
    assert.match(
      node(),
      /"spec":\{"bgp":\{"ipv4Address":"10\.0\.0\.1\/24"\},"ipv4VXLANTunnelAddr":"10\.65\.\d+\.\d+"\},"status":\{\}\}$/,
    );
    assert.equal((await new Ipam(store).ipsByHandle("vxlan-tunnel-addr-host-a")).length, 1);

    // An agent that starts now finds it as it is.
    assert.equal((await runNode(["-allocate-tunnel-addrs", "--run-once"], env)).status, 0);
    assert.ok(node().includes(`"ipv4VXLANTunnelAddr":"${address}"`));

    await pool("Never");
    await until("it is given back", () => !node().includes("ipv4VXLANTunnelAddr"), 10_000);
    await until("IPAM has it back", async () => {
      return (await new Ipam(store).ipsByHandle("vxlan-tunnel-addr-host-a")).length === 0;
    });
    const { status, log } = await service.stop();
    assert.equal(status, 0, log);
  } finally {
    await store.close();
    await etcd.stop();
  }
});
