/** The socket against the real kernel: answers, refusals, dumps, events, lost events. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
  enterNewNetworkNamespace,
  errnoOf,
  NETLINK_ROUTE,
  NetlinkSocket,
  NetlinkWriter,
  type NetlinkEvent,
} from "#netlink";

// uapi/linux/rtnetlink.h
const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTNLGRP_LINK = 1;
const IFLA_MTU = 4;
const IFLA_IFNAME = 3;
const NLM_F_ACK = 4;

const ip = (...args: string[]): void => void execFileSync("ip", args);

function link(writer: NetlinkWriter, type: number, index: number, more = () => {}): void {
  const mark = writer.beginMessage(type, 0);
  for (const field of [0, index, 0, 0]) writer.u32(field);
  more();
  writer.endMessage(mark);
}

function oneLink(type: number, index: number, more?: (writer: NetlinkWriter) => void): Uint8Array {
  const writer = new NetlinkWriter();
  link(writer, type, index, () => more?.(writer));
  return writer.bytes();
}

async function eventually(condition: () => boolean): Promise<void> {
  for (let n = 0; n < 400 && !condition(); n++) await sleep(5);
  assert.ok(condition());
}

describe("netlink socket", { skip: process.getuid?.() !== 0 && "needs root" }, () => {
  before(() => enterNewNetworkNamespace());

  it("answers a request and names what the kernel refuses", async () => {
    using socket = NetlinkSocket.open({ protocol: NETLINK_ROUTE });
    const [reply] = socket.request(oneLink(RTM_GETLINK, 1));
    assert.equal(reply?.type, RTM_NEWLINK);
    assert.equal(reply.portId, socket.portId);
    assert.throws(
      () => socket.request(oneLink(RTM_DELLINK, 99), "delete link 99"),
      (error: Error) =>
        errnoOf(error) === "ENODEV" && /delete link 99: ENODEV/u.test(error.message),
    );
    assert.throws(
      () => socket.request(oneLink(RTM_NEWLINK, 1, (writer) => writer.attrU8(IFLA_MTU, 3))),
      // The kernel's own words (NETLINK_EXT_ACK).
      /ERANGE \(Attribute failed policy validation\)/u,
    );
  });

  it("goes on after a refused message of many and says which one it was", async () => {
    using socket = NetlinkSocket.open({ protocol: NETLINK_ROUTE });
    const writer = new NetlinkWriter();
    for (const index of [1, 77, 1, 78]) link(writer, RTM_GETLINK, index);
    const { replies, refusals, firstSeq } = socket.transact(writer.bytes());
    assert.deepEqual(
      replies.map(({ seq }) => seq - firstSeq),
      [0, 2],
    );
    assert.deepEqual(
      refusals.map(({ seq, errno }) => [seq - firstSeq, errno]),
      [
        [1, "ENODEV"],
        [3, "ENODEV"],
      ],
    );
  });

  it("dumps all parts", async () => {
    for (let n = 0; n < 60; n++) ip("link", "add", `mgy${n}`, "type", "veth", "peer", `mgyp${n}`);
    using socket = NetlinkSocket.open({ protocol: NETLINK_ROUTE, strict: true });
    const names = socket.dump(oneLink(RTM_GETLINK, 0), "read links", ({ body }) => {
      body.skip(16);
      while (body.nextAttr()) if (body.attrType === IFLA_IFNAME) return body.attrString();
      return "";
    });
    assert.equal(names.length, 121);
    assert.ok(names.includes("lo") && names.includes("mgy59"));
    for (let n = 0; n < 60; n++) ip("link", "del", `mgy${n}`);
  });

  it("returns null when nothing is queued, at once or after a while", async () => {
    using socket = NetlinkSocket.open({ protocol: NETLINK_ROUTE });
    assert.equal(socket.receive(), null);
    const start = performance.now();
    assert.equal(socket.receive(30), null);
    assert.ok(performance.now() - start >= 29);
  });

  for (const mode of ["epoll", "timer"] as const) {
    it(`tells events of groups through the event loop (${mode})`, async (t) => {
      // Without the internal binding the socket is looked at by a timer.
      if (mode === "timer") t.mock.property(process as { binding?: unknown }, "binding", undefined);
      using socket = NetlinkSocket.open({ protocol: NETLINK_ROUTE, groups: [RTNLGRP_LINK] });
      let links = 0;
      socket.onReadable((event) => {
        if (event.kind === "messages") links += event.messages.length;
      });
      ip("link", "add", "mgyev0", "type", "veth", "peer", "mgyev1");
      await eventually(() => links >= 2);
      const before = links;
      ip("link", "del", "mgyev0");
      await eventually(() => links >= before + 2);
    });
  }

  it("says when events were lost, and hears the next ones", async () => {
    using socket = NetlinkSocket.open({
      protocol: NETLINK_ROUTE,
      groups: [RTNLGRP_LINK],
      rcvBuf: 4_096,
    });
    const events: NetlinkEvent["kind"][] = [];
    socket.onReadable(({ kind }) => events.push(kind));
    for (let n = 0; n < 20; n++) ip("link", "set", "lo", n % 2 === 0 ? "up" : "down");
    await eventually(() => events.includes("overrun"));
    await sleep(20);
    const count = events.length;
    ip("link", "set", "lo", "up");
    await eventually(() => events.slice(count).includes("messages"));

    using drained = NetlinkSocket.open({
      protocol: NETLINK_ROUTE,
      groups: [RTNLGRP_LINK],
      rcvBuf: 4_096,
    });
    for (let n = 0; n < 20; n++) ip("link", "set", "lo", n % 2 === 0 ? "down" : "up");
    const kinds: string[] = [];
    drained.drain(({ kind }) => kinds.push(kind));
    assert.ok(kinds.includes("overrun") && kinds.includes("messages"));
  });

  it("keeps nothing alive after close and may be closed twice", async () => {
    const script = `
      import { NetlinkSocket } from "#netlink";
      const socket = NetlinkSocket.open({ protocol: 0, groups: [1] });
      socket.onReadable(() => {});
      setTimeout(() => { socket.close(); socket.close(); }, 20);
    `;
    execFileSync(process.execPath, ["--input-type=module", "-e", script], { timeout: 10_000 });
  });

  it("works in a user namespace of an ordinary user", async () => {
    const script = `
      import { NetlinkSocket, openNftTable } from "#netlink";
      const socket = NetlinkSocket.open({ protocol: 0, groups: [1], sndBuf: 100_000 });
      const table = openNftTable({ family: "inet", name: "margay", sndBuf: 100_000 });
      const key = (n) => Uint8Array.of(10, n >> 16, (n >> 8) & 255, n & 255);
      const elements = Array.from({ length: 60_000 }, (_, n) => ({ key: key(n) }));
      table.setSet({ name: "big", key: ["ipv4_addr"] }, elements);
      table.setChain({ name: "c", rules: [{ exprs: [{ type: "counter" }] }] });
      const first = (await table.apply()).messages;
      process.stdout.write(JSON.stringify([first > 0, (await table.apply()).messages, socket.maxSend]));
      table.close();
      socket.close();
    `;
    const run = ["--input-type=module", "-e", script];
    const out = execFileSync(
      "setpriv",
      ["--reuid", "65534", "--regid", "65534", "--clear-groups", "unshare", "-Urn"].concat(
        process.execPath,
        run,
      ),
      { encoding: "utf8", timeout: 20_000 },
    );
    const [sent, again, maxSend] = JSON.parse(out) as [boolean, number, number];
    assert.deepEqual([sent, again], [true, 0]);
    assert.ok(maxSend < 60_000 * 16, "the send buffer was not small, so nothing was split");
  });

  it("acknowledges with NLM_F_ACK only what asks for it", async () => {
    using socket = NetlinkSocket.open({ protocol: NETLINK_ROUTE });
    const writer = new NetlinkWriter();
    const mark = writer.beginMessage(RTM_NEWLINK, NLM_F_ACK);
    for (const field of [0, 1, 0, 0]) writer.u32(field);
    writer.endMessage(mark);
    assert.deepEqual(socket.request(writer.bytes()), []);
  });
});
