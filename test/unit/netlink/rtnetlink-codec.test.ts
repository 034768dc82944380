/** rtnetlink against bytes, field by field as in uapi/linux/{rtnetlink,if_link,neighbour}.h. */
import assert from "node:assert/strict";
import { endianness } from "node:os";
import { test } from "node:test";
import { formatCidr, formatIp, parseCidr, parseIp, parseMac } from "#ip";
import { NetlinkWriter, readMessages, type NetlinkMessage, type RouteChange } from "#netlink";
import {
  readNeighbour,
  readRoute,
  writeChange,
  writeRouteDump,
} from "../../../src/netlink/route/codec.ts";
import { readLink } from "../../../src/netlink/route/link-codec.ts";

/** Hexadecimal with spaces and `# comments`. */
function bytes(text: string): Buffer {
  return Buffer.from(text.replaceAll(/#.*$/gm, "").replaceAll(/\s/g, ""), "hex");
}

function encoded(change: RouteChange): Buffer {
  const writer = new NetlinkWriter();
  writeChange(writer, change);
  return Buffer.from(writer.bytes());
}

function message(text: string): NetlinkMessage {
  const [first] = readMessages(bytes(text));
  assert.ok(first !== undefined);
  return first;
}

// The vectors are little-endian, as is every machine this runs on so far.
const skip = endianness() === "LE" ? false : "vectors are little-endian";

const routeV4 = {
  dst: parseCidr("10.65.0.1/32"),
  table: 254,
  protocol: 80,
  type: 1,
  scope: 253,
  tos: 0,
  priority: 1024,
  oif: 7,
};

test("a replaced route", { skip }, () => {
  assert.deepEqual(
    encoded({ kind: "replaceRoute", route: routeV4 }),
    bytes(`
      34000000 1800 0105 00000000 00000000  # nlmsghdr: 52 bytes, RTM_NEWROUTE, REQUEST|REPLACE|CREATE
      02 20 00 00                           # rtmsg: AF_INET, dst_len 32, src_len, tos
      fe 50 fd 01                           # RT_TABLE_MAIN, protocol 80, RT_SCOPE_LINK, RTN_UNICAST
      00000000                              # rtm_flags
      0800 0100 0a410001                    # RTA_DST 10.65.0.1
      0800 0600 00040000                    # RTA_PRIORITY 1024
      0800 0400 07000000                    # RTA_OIF 7
    `),
  );
});

test("a deleted route in a table whose number needs an attribute", { skip }, () => {
  const route = { ...routeV4, dst: parseCidr("fd65::1/128"), scope: 0, table: 1000 };
  assert.deepEqual(
    encoded({ kind: "deleteRoute", route }),
    bytes(`
      48000000 1900 0100 00000000 00000000  # RTM_DELROUTE, REQUEST
      0a 80 00 00                           # AF_INET6, dst_len 128
      00 50 00 01                           # RT_TABLE_UNSPEC, 80, RT_SCOPE_UNIVERSE, RTN_UNICAST
      00000000
      1400 0100 fd650000 00000000 00000000 00000001
      0800 0600 00040000
      0800 0400 07000000
      0800 0f00 e8030000                    # RTA_TABLE 1000
    `),
  );
});

test("a neighbour", { skip }, () => {
  const neighbour = {
    ifindex: 7,
    address: parseIp("10.65.0.1"),
    mac: parseMac("0a:00:00:00:00:01"),
    state: 0x80,
    protocol: 80,
  };
  assert.deepEqual(
    encoded({ kind: "replaceNeighbour", neighbour }),
    bytes(`
      38000000 1c00 0105 00000000 00000000  # RTM_NEWNEIGH
      02 00 0000 07000000                   # ndmsg: AF_INET, pads, ifindex
      8000 00 00                            # NUD_PERMANENT, flags, type
      0800 0100 0a410001                    # NDA_DST
      0a00 0200 0a0000000001 0000           # NDA_LLADDR, 2 bytes of padding
      0500 0c00 50 000000                   # NDA_PROTOCOL
    `),
  );
  // A deletion names the entry and nothing else.
  assert.equal(encoded({ kind: "deleteNeighbour", neighbour }).length, 16 + 12 + 8);
});

test("a dump of one table", { skip }, () => {
  const writer = new NetlinkWriter();
  writeRouteDump(writer, 6, 254);
  assert.deepEqual(
    Buffer.from(writer.bytes()),
    bytes(`
      24000000 1a00 0100 00000000 00000000  # RTM_GETROUTE
      0a 00 00 00 fe 00 00 00 00000000      # AF_INET6, RT_TABLE_MAIN
      0800 0f00 fe000000                    # RTA_TABLE
    `),
  );
});

test("an interface as the kernel tells it", { skip }, () => {
  const link = readLink(
    message(`
      48000000 1000 0000 00000000 00000000  # RTM_NEWLINK
      00 00 0100 07000000                   # AF_UNSPEC, ARPHRD_ETHER, index 7
      43100100 00000000                     # IFF_UP|BROADCAST|RUNNING|MULTICAST|LOWER_UP, change
      0a00 0300 63616c693100 0000           # IFLA_IFNAME "cali1"
      0800 0400 dc050000                    # IFLA_MTU 1500
      0a00 0100 eeeeeeeeeeee 0000           # IFLA_ADDRESS
      0500 1000 06 000000                   # IFLA_OPERSTATE: not looked at
    `),
  );
  assert.deepEqual(link, {
    index: 7,
    name: "cali1",
    adminUp: true,
    operUp: true,
    mtu: 1500,
    mac: "ee:ee:ee:ee:ee:ee",
  });
});

test("an interface without carrier; a bridge's port is none", { skip }, () => {
  const noCarrier = readLink(
    message(`
      2c000000 1000 0000 00000000 00000000
      00 00 0100 07000000 03100000 00000000  # IFF_UP without IFF_RUNNING
      0a00 0300 63616c693100 0000
    `),
  );
  assert.deepEqual([noCarrier?.adminUp, noCarrier?.operUp], [true, false]);
  const port = readLink(
    message(`
      2c000000 1000 0000 00000000 00000000
      07 00 0100 07000000 03100000 00000000  # AF_BRIDGE
      0a00 0300 63616c693100 0000
    `),
  );
  assert.equal(port, undefined);
});

test("routes as the kernel tells them", { skip }, () => {
  const viaGateway = readRoute(
    message(`
      3c000000 1800 0000 00000000 00000000
      02 00 00 00 fe 03 00 01 00000000      # default route, RTPROT_BOOT
      0800 0f00 fe000000                    # RTA_TABLE
      0800 0500 0a000001                    # RTA_GATEWAY 10.0.0.1
      0800 0400 02000000                    # RTA_OIF
      0800 0700 0a000002                    # RTA_PREFSRC
    `),
  );
  assert.ok(viaGateway?.gateway !== undefined && viaGateway.prefSrc !== undefined);
  assert.equal(formatCidr(viaGateway.dst), "0.0.0.0/0");
  assert.equal(formatIp(viaGateway.gateway), "10.0.0.1");
  assert.equal(formatIp(viaGateway.prefSrc), "10.0.0.2");
  assert.equal(viaGateway.oif, 2);
  const multipath = readRoute(
    message(`
      38000000 1800 0000 00000000 00000000
      02 18 00 00 fe 04 00 01 00000000
      0800 0100 c6336400                    # 198.51.100.0/24
      1400 0900 0800 00 00 02000000         # RTA_MULTIPATH: one struct rtnexthop
                0800 00 00 03000000
    `),
  );
  assert.equal(multipath?.oif, undefined);
  const clone = readRoute(
    message(`
      1c000000 1800 0000 00000000 00000000
      0a 00 00 00 fe 02 00 01 00020000      # RTM_F_CLONED
    `),
  );
  assert.equal(clone, undefined);
});

test("a neighbour without a link-layer address", { skip }, () => {
  const neighbour = readNeighbour(
    message(`
      24000000 1c00 0000 00000000 00000000
      02 00 0000 07000000 2000 00 01        # NUD_FAILED
      0800 0100 0a410001
    `),
  );
  assert.deepEqual(neighbour && { ...neighbour, address: formatIp(neighbour.address) }, {
    ifindex: 7,
    address: "10.65.0.1",
    state: 0x20,
    protocol: 0,
  });
});

test("a message cut short is refused, not read past its end", { skip }, () => {
  const cut = `
    1c000000 1800 0000 00000000 00000000
    02 20 00 00 fe 50 fd 01 00000000`;
  assert.throws(() => readRoute(message(cut.replace("1c0000", "180000"))), {
    code: "netlink-malformed",
  });
});
