/**
 * Devices, addresses, forwarding entries and the routes through tunnels against bytes, field by field
 * as in uapi/linux/{if_link,if_addr,neighbour,rtnetlink}.h.
 */
import assert from "node:assert/strict";
import { endianness } from "node:os";
import { test } from "node:test";
import { formatIp, parseCidr, parseIp, parseMac } from "#ip";
import { NetlinkWriter, readMessages, type NetlinkMessage, type RouteChange } from "#netlink";
import { readForwarding, readRoute, writeChange } from "../../../src/netlink/route/codec.ts";
import { readInterfaceAddress, readLink } from "../../../src/netlink/route/link-codec.ts";

/** Hexadecimal with spaces and `# comments`. */
function bytes(text: string): Buffer {
  return Buffer.from(text.replaceAll(/#.*$/gm, "").replaceAll(/\s/g, ""), "hex");
}

function message(text: string): NetlinkMessage {
  const [first] = readMessages(bytes(text));
  assert.ok(first !== undefined);
  return first;
}

// The vectors are little-endian, as is every machine this runs on so far.
const skip = endianness() === "LE" ? false : "vectors are little-endian";
const mac = parseMac("66:00:00:00:00:01");
const entry = { ifindex: 7, mac, host: parseIp("10.0.0.2"), state: 0x80 };

const VECTORS: readonly [string, RouteChange, string][] = [
  [
    "a new VXLAN device",
    {
      kind: "createLink",
      link: {
        name: "vxlan.calico",
        kind: "vxlan",
        mtu: 1450,
        mac,
        vxlan: {
          vni: 4096,
          port: 4789,
          local: parseIp("10.0.0.1"),
          parent: 2,
          learning: false,
          checksum: false,
        },
      },
    },
    `8c000000 1000 0106 00000000 00000000  # RTM_NEWLINK, REQUEST|EXCL|CREATE
     00 00 0000 00000000 00000000 00000000 # ifinfomsg
     1100 0300 76786c616e2e63616c69636f00 000000 # IFLA_IFNAME
     0800 0400 aa050000                    # IFLA_MTU 1450
     0a00 0100 660000000001 0000           # IFLA_ADDRESS
     4400 1280                             # IFLA_LINKINFO, nested
       0a00 0100 76786c616e00 0000         # IFLA_INFO_KIND "vxlan"
       3400 0280                           # IFLA_INFO_DATA, nested
         0800 0100 00100000                # IFLA_VXLAN_ID 4096
         0800 0300 02000000                # IFLA_VXLAN_LINK
         0800 0400 0a000001                # IFLA_VXLAN_LOCAL
         0500 0700 00 000000               # IFLA_VXLAN_LEARNING off
         0600 0f00 12b5 0000               # IFLA_VXLAN_PORT 4789, big-endian
         0500 1200 00 000000               # IFLA_VXLAN_UDP_CSUM off`,
  ],
  [
    "the IPIP device",
    { kind: "createLink", link: { name: "tunl0", kind: "ipip", mtu: 1480 } },
    `44000000 1000 0106 00000000 00000000
     00 00 0000 00000000 00000000 00000000
     0a00 0300 74756e6c3000 0000           # IFLA_IFNAME
     0800 0400 c8050000                    # IFLA_MTU 1480
     1000 1280                             # IFLA_LINKINFO
       0900 0100 6970697000 000000         # IFLA_INFO_KIND "ipip"`,
  ],
  [
    "a device switched on, with another MTU",
    { kind: "setLink", index: 7, up: true, mtu: 1480 },
    `28000000 1000 0100 00000000 00000000  # RTM_NEWLINK, REQUEST: none is made
     00 00 0000 07000000 01000000 01000000 # index, ifi_flags IFF_UP, ifi_change
     0800 0400 c8050000`,
  ],
  [
    "a device deleted",
    { kind: "deleteLink", index: 7 },
    `20000000 1100 0100 00000000 00000000  # RTM_DELLINK
     00 00 0000 07000000 00000000 00000000`,
  ],
  [
    "an address",
    {
      kind: "addAddress",
      address: { ifindex: 7, address: parseIp("10.65.1.0"), prefixLen: 32 },
    },
    `28000000 1400 0105 00000000 00000000  # RTM_NEWADDR, REQUEST|REPLACE|CREATE
     02 20 00 00 07000000                  # ifaddrmsg: AF_INET, /32, flags, RT_SCOPE_UNIVERSE, index
     0800 0200 0a410100                    # IFA_LOCAL
     0800 0100 0a410100                    # IFA_ADDRESS`,
  ],
  [
    "an IPv6 address taken away",
    {
      kind: "deleteAddress",
      address: { ifindex: 7, address: parseIp("fd65::1"), prefixLen: 128 },
    },
    `40000000 1500 0100 00000000 00000000  # RTM_DELADDR
     0a 80 02 00 07000000                  # AF_INET6, /128, IFA_F_NODAD
     1400 0200 fd650000 00000000 00000000 00000001
     1400 0100 fd650000 00000000 00000000 00000001`,
  ],
  [
    "a forwarding entry",
    { kind: "replaceForwarding", entry },
    `30000000 1c00 0105 00000000 00000000  # RTM_NEWNEIGH
     07 00 0000 07000000 8000 02 00        # AF_BRIDGE, index, NUD_PERMANENT, NTF_SELF
     0a00 0200 660000000001 0000           # NDA_LLADDR
     0800 0100 0a000002                    # NDA_DST`,
  ],
  [
    "a forwarding entry deleted, to wherever it leads",
    { kind: "deleteForwarding", entry },
    `28000000 1d00 0100 00000000 00000000  # RTM_DELNEIGH
     07 00 0000 07000000 8000 02 00
     0a00 0200 660000000001 0000`,
  ],
  [
    "a route into a tunnel",
    {
      kind: "replaceRoute",
      route: {
        dst: parseCidr("10.65.2.0/26"),
        table: 254,
        protocol: 80,
        type: 1,
        scope: 0,
        tos: 0,
        priority: 1024,
        oif: 7,
        gateway: parseIp("10.0.2.12"),
        onlink: true,
        mtu: 1480,
      },
    },
    `48000000 1800 0105 00000000 00000000  # RTM_NEWROUTE
     02 1a 00 00 fe 50 00 01               # AF_INET, /26, main, 80, RT_SCOPE_UNIVERSE, RTN_UNICAST
     04000000                              # RTNH_F_ONLINK
     0800 0100 0a410200                    # RTA_DST
     0800 0600 00040000                    # RTA_PRIORITY
     0800 0500 0a00020c                    # RTA_GATEWAY
     0800 0400 07000000                    # RTA_OIF
     0c00 0880                             # RTA_METRICS, nested
       0800 0200 c8050000                  # RTAX_MTU`,
  ],
  [
    "a route to nowhere",
    {
      kind: "replaceRoute",
      route: {
        dst: parseCidr("10.65.1.0/26"),
        table: 254,
        protocol: 80,
        type: 6,
        scope: 0,
        tos: 0,
        priority: 1024,
      },
    },
    `2c000000 1800 0105 00000000 00000000
     02 1a 00 00 fe 50 00 06               # RTN_BLACKHOLE
     00000000
     0800 0100 0a410100
     0800 0600 00040000`,
  ],
];

for (const [title, change, expected] of VECTORS) {
  test(`writes ${title}`, { skip }, () => {
    const writer = new NetlinkWriter();
    writeChange(writer, change);
    assert.equal(Buffer.from(writer.bytes()).toString("hex"), bytes(expected).toString("hex"));
  });
}

test("reads a VXLAN device over IPv6, with what is not ours to set", { skip }, () => {
  const link = readLink(
    message(`
      8c000000 1000 0000 00000000 00000000
      00 00 0100 07000000 43100100 00000000
      0a00 0300 76786c366100 0000           # IFLA_IFNAME
      5800 1200                             # IFLA_LINKINFO
        0a00 0100 76786c616e00 0000         # IFLA_INFO_KIND "vxlan"
        4800 0200                           # IFLA_INFO_DATA
          0800 0100 00100000                # IFLA_VXLAN_ID
          1400 1100 fd000000 00000000 00000000 00000001 # IFLA_VXLAN_LOCAL6
          0500 0500 00 000000               # IFLA_VXLAN_TTL: not looked at
          0500 0700 01 000000               # IFLA_VXLAN_LEARNING
          0600 0f00 12b5 0000               # IFLA_VXLAN_PORT
          0500 1200 01 000000               # IFLA_VXLAN_UDP_CSUM
          0800 0800 2c010000                # IFLA_VXLAN_AGEING: not looked at
      0800 0400 96050000
    `),
  );
  const { local, ...rest } = link?.vxlan ?? {};
  assert.equal(local && formatIp(local), "fd00::1");
  assert.deepEqual(rest, { vni: 4096, port: 4789, learning: true, checksum: true });
  assert.deepEqual([link?.kind, link?.mtu], ["vxlan", 1430]);
});

test("reads forwarding entries, and those of neighbours are none", { skip }, () => {
  const toIpv6 = `
    3c000000 1c00 0000 00000000 00000000
    07 00 0000 07000000 8000 02 00
    0a00 0200 660000000001 0000
    1400 0100 fd000000 00000000 00000000 00000002`;
  const { host, ...rest } = readForwarding(message(toIpv6)) ?? {};
  assert.equal(host && formatIp(host), "fd00::2");
  assert.deepEqual(rest, { ifindex: 7, mac, state: 0x80 });
  const multicast = readForwarding(
    message(`
      28000000 1c00 0000 00000000 00000000
      07 00 0000 07000000 8000 02 00
      0a00 0200 333300000001 0000           # leads nowhere
    `),
  );
  assert.deepEqual(multicast, { ifindex: 7, mac: "33:33:00:00:00:01", state: 0x80 });
  const neighbour = toIpv6.replace("07 00 0000", "0a 00 0000");
  assert.equal(readForwarding(message(neighbour)), undefined);
});

test("reads a route into a tunnel and an address with its length", { skip }, () => {
  const route = readRoute(
    message(`
      50000000 1800 0000 00000000 00000000
      02 1a 00 00 fe 50 00 01 14000000      # RTNH_F_ONLINK | RTNH_F_LINKDOWN
      0800 0f00 fe000000
      0800 0100 0a410200
      1400 0800                             # RTA_METRICS
        0800 0300 00000100                  # RTAX_WINDOW: not looked at
        0800 0200 c8050000                  # RTAX_MTU
      0800 0500 0a00020c
      0800 0400 07000000
    `),
  );
  assert.deepEqual([route?.onlink, route?.mtu, route?.oif], [true, 1480, 7]);
  const address = readInterfaceAddress(
    message(`
      28000000 1400 0000 00000000 00000000
      02 20 80 00 07000000                  # /32, IFA_F_PERMANENT
      0800 0100 0a410100
      0800 0200 0a410100
    `),
  );
  assert.deepEqual(address && { ...address, address: formatIp(address.address) }, {
    ifindex: 7,
    address: "10.65.1.0",
    prefixLen: 32,
  });
});
