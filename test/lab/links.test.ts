/** What a lab file says of links: loss and rate, measured with packets; and routers on the way. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { TestLab } from "../support/lab.ts";

const LAB = `kind: Lab
name: links
subnets: [near, far]
routers:
- name: gate
  links:
  - {subnet: near, addresses: [10.1.0.1/24, "2001:db8:1::1/64"]}
  - {subnet: far, addresses: [10.2.0.1/24, "2001:db8:2::1/64"]}
host: {name: host-a, subnet: near, addresses: [10.1.0.11/24, "2001:db8:1::11/64"]}
outside:
- {name: whole, subnet: far, addresses: [10.2.0.20/24, "2001:db8:2::20/64", 203.0.113.5/32]}
- {name: lossy, subnet: far, addresses: [10.2.0.21/24, "2001:db8:2::21/64"], loss: 20}
- {name: slow, subnet: far, addresses: [10.2.0.22/24, "2001:db8:2::22/64"], rate: 1mbit}
`;
const COUNT = 400;

let lab: TestLab;

before(async () => {
  lab = new TestLab("links", LAB);
  await lab.ready();
});
after(() => lab.close());

/** The share of echo requests that are answered, through the router. */
function answered(address: string, size: number): number {
  const ping = `ping -q -i 0.003 -c ${COUNT} -W 1 -s ${size} ${address} || true`;
  const text = lab.exec("host-a", "sh", "-c", ping);
  return Number(/(\d+) received/.exec(text)?.[1] ?? Number.NaN) / COUNT;
}

test("a link without faults loses nothing, also to an address behind it", () => {
  for (const address of ["10.2.0.20", "2001:db8:2::20", "203.0.113.5"])
    assert.equal(answered(address, 56), 1, address);
});

test("a lossy link loses its share in each direction", () => {
  const expected = 0.8 * 0.8;
  for (const address of ["10.2.0.21", "2001:db8:2::21"]) {
    // Who waits for a lost neighbour solicitation loses all packets of a second.
    lab.exec(
      "host-a",
      "sh",
      "-c",
      `for i in $(seq 20); do ping -q -c 1 -W 1 ${address} && break; done`,
    );
    const share = answered(address, 56);
    // Six standard deviations of a binomial share.
    const off = 6 * Math.sqrt((expected * (1 - expected)) / COUNT);
    assert.ok(Math.abs(share - expected) < off, `${address}: ${share} of ${expected} answered`);
  }
});

test("a slow link passes its rate and not much more", () => {
  const size = 1400;
  const startedAt = performance.now();
  const passed = answered("10.2.0.22", size) * COUNT;
  const seconds = (performance.now() - startedAt) / 1000;
  const bitsPerSecond = (passed * size * 8) / seconds;
  assert.ok(bitsPerSecond < 1.2e6, `${Math.round(bitsPerSecond)} bit/s`);
  assert.ok(passed > COUNT / 4, `only ${passed} packets passed`);
  assert.equal(answered("10.2.0.22", 8), 1, "what is less than the rate passes whole");
});
