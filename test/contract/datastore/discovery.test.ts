/** ETCD_DISCOVERY_SRV. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runInSandbox } from "../../support/sandbox.ts";
import type { DiscoveryResult } from "./inside/discovery.ts";

test("etcd's members are found by DNS", async (t) => {
  const { plain, tls, failing, absent } = await runInSandbox<DiscoveryResult>(
    fileURLToPath(new URL("inside/discovery.ts", import.meta.url)),
    {},
    60_000,
  );
  await t.test("plain, and the next one when the first does not answer", () => {
    assert.equal(plain.status, 0, plain.out);
    assert.match(plain.out, /^in-plain /m);
  });
  await t.test("by TLS where both are offered", () => {
    assert.equal(tls.status, 0, tls.out);
    assert.match(tls.out, /^in-secure /m);
  });
  await t.test("no plain text while it is not known whether TLS is offered", () => {
    assert.equal(failing.status, 1);
    assert.match(
      failing.out,
      /no etcd endpoint found by DNS: .*_etcd-client-ssl\._tcp\.failing\.test/,
    );
    assert.doesNotMatch(failing.out, /in-plain/);
  });
  await t.test("a domain without records is named", () => {
    assert.equal(absent.status, 1);
    assert.match(
      absent.out,
      /_etcd-client-ssl\._tcp\.absent\.test.*_etcd-client\._tcp\.absent\.test/,
    );
  });
});
