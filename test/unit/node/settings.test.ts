import assert from "node:assert/strict";
import { test } from "node:test";
import { formatCidr, formatIp } from "#ip";
import { nodeSettings } from "../../../src/node/settings.ts";

const HOST = { HOSTNAME: "Host-A" };
const refused = (env: Readonly<Record<string, string>>, pattern: RegExp): void => {
  assert.throws(() => nodeSettings({ ...HOST, ...env }), pattern);
};

test("without variables: BGP, IPv4 looked for once, IPv6 left alone, both pools", () => {
  const settings = nodeSettings(HOST);
  assert.equal(settings.name, "host-a", "the host's name in lower case");
  assert.equal(settings.backend, "bird");
  assert.deepEqual(settings.addresses, {
    4: { kind: "autodetect", always: false, method: { kind: "first-found", text: "first-found" } },
    6: { kind: "keep" },
  });
  assert.equal(settings.checkConflicts, true);
  assert.equal(settings.asNumber, undefined);
  assert.equal(settings.pollIntervalMs, 60_000);
  assert.equal(settings.nodenameFile, "/var/lib/calico/nodename");
  assert.deepEqual(
    settings.pools.map(({ family, blockSize, natOutgoing }) => [family, blockSize, natOutgoing]),
    [
      [4, 26, true],
      [6, 122, false],
    ],
  );
});

test("NODENAME counts more than HOSTNAME and keeps its case; blanks count as nothing", () => {
  assert.equal(nodeSettings({ ...HOST, NODENAME: " Node-1 " }).name, "Node-1");
  assert.equal(nodeSettings({ ...HOST, NODENAME: "  " }).name, "host-a");
  assert.deepEqual(nodeSettings({ ...HOST, IP: " ", IP6: "none" }).addresses[6], { kind: "keep" });
});

test("every variable of the default pools", () => {
  const { pools } = nodeSettings({
    ...HOST,
    CALICO_IPV4POOL_CIDR: "10.65.0.0/16",
    CALICO_IPV4POOL_BLOCK_SIZE: "24",
    CALICO_IPV4POOL_IPIP: "Cross-Subnet",
    CALICO_IPV4POOL_NAT_OUTGOING: "false",
    CALICO_IPV4POOL_NODE_SELECTOR: "has(rack)",
    CALICO_IPV4POOL_DISABLE_BGP_EXPORT: "true",
    CALICO_IPV6POOL_CIDR: "fd65::/64",
    CALICO_IPV6POOL_VXLAN: "Always",
    CALICO_IPV6POOL_NAT_OUTGOING: "1",
  });
  const [v4, v6] = pools;
  assert.equal(v4?.cidr && formatCidr(v4.cidr), "10.65.0.0/16");
  assert.deepEqual(
    [v4?.blockSize, v4?.ipipMode, v4?.vxlanMode, v4?.natOutgoing, v4?.disableBgpExport],
    [24, "CrossSubnet", "Never", false, true],
  );
  assert.equal(v4?.nodeSelector, "has(rack)");
  assert.deepEqual([v6?.vxlanMode, v6?.natOutgoing], ["Always", true]);
  assert.deepEqual(nodeSettings({ ...HOST, NO_DEFAULT_POOLS: "true" }).pools, []);
  const only6 = nodeSettings({ ...HOST, CALICO_IPV4POOL_CIDR: "none" }).pools;
  assert.deepEqual(
    only6.map(({ family }) => family),
    [6],
  );
});

test("AS numbers, plain and in halves", () => {
  assert.equal(nodeSettings({ ...HOST, AS: "64512" }).asNumber, 64_512);
  assert.equal(nodeSettings({ ...HOST, AS: "4294967295" }).asNumber, 4_294_967_295);
  assert.equal(nodeSettings({ ...HOST, AS: "1.10" }).asNumber, 65_546);
  for (const AS of ["-1", "4294967296", "1.65536", "65536.1", "x", "1.2.3"]) {
    refused({ AS }, /^MargayError: AS=.*expected a number from 0 to 4294967295/);
  }
});

test("explicit addresses, with a prefix length or without", () => {
  const { 4: v4, 6: v6 } = nodeSettings({ ...HOST, IP: "10.0.0.1", IP6: "fd00::1/64" }).addresses;
  assert.ok(v4.kind === "explicit" && v6.kind === "explicit");
  assert.deepEqual([formatIp(v4.ip), v4.prefixLen], ["10.0.0.1", undefined]);
  assert.deepEqual([formatIp(v6.ip), v6.prefixLen], ["fd00::1", 64]);
});

test("what is not understood names the variable and what it takes", () => {
  const method = { IP: "autodetect" };
  refused({ IP: "auto" }, /IP=auto: expected autodetect, none, or an IPv4 address/);
  refused({ IP6: "10.0.0.1" }, /IP6=10\.0\.0\.1: expected .*IPv6 address/);
  for (const [given, pattern] of [
    ["first", /expected first-found/],
    ["interface=", /expected first-found, interface=REGEX/],
    ["interface=eth[", /regular expressions \(Invalid/],
    ["cidr=10.0.0.0/8,fd00::/8", /IPv4 blocks such as/],
    ["kubernetes-internal-ip=x", /expected first-found, .* or kubernetes-internal-ip/],
  ] as const) {
    refused({ ...method, IP_AUTODETECTION_METHOD: given }, pattern);
  }
  refused({ CALICO_IPV4POOL_CIDR: "fd00::/48" }, /CALICO_IPV4POOL_CIDR=.*an IPv4 block/);
  refused({ CALICO_IPV4POOL_BLOCK_SIZE: "19" }, /a prefix length from 20 to 32/);
  refused({ CALICO_IPV6POOL_VXLAN: "on" }, /CALICO_IPV6POOL_VXLAN=on: expected never, off, always/);
  refused(
    { DISABLE_NODE_IP_CHECK: "maybe" },
    /DISABLE_NODE_IP_CHECK=maybe: expected true or false/,
  );
  refused({ AUTODETECT_POLL_INTERVAL: "10" }, /a duration above 0 such as 30s/);
});
