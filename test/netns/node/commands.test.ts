/** `margay node checksystem` and `diags`, as a user calls them. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";

const MARGAY = fileURLToPath(new URL("../../../bin/margay", import.meta.url));
const inNewNamespaces = (...argv: string[]) =>
  spawnSync("unshare", ["-Urnm", ...argv], { encoding: "utf8" });

interface Check {
  readonly feature: string;
  readonly required: boolean;
  readonly ok: boolean;
  readonly problem?: string;
}

describe("margay node checksystem", () => {
  it("tries the kernel and leaves nothing behind", () => {
    const { stdout, status } = inNewNamespaces(
      "bash",
      "-c",
      `"${MARGAY}" node checksystem -o json && nft list ruleset && ip -o link | wc -l`,
    );
    const end = stdout.lastIndexOf("]") + 1;
    const checks = JSON.parse(stdout.slice(0, end)) as Check[];
    const wrong = checks.filter(({ ok, required }) => required && !ok);
    assert.deepEqual(wrong, []);
    const vxlan = checks.find(({ feature }) => feature === "VXLAN");
    const vxlanCommand = "ip link add v type vxlan id 1 dstport 1".split(" ");
    const made = inNewNamespaces(...vxlanCommand);
    assert.equal(vxlan?.ok, made.status === 0);
    const ipip = inNewNamespaces("ip", "link", "add", "t", "type", "ipip", "local", "10.0.0.1");
    assert.equal(checks.find(({ feature }) => feature === "IPIP")?.ok, ipip.status === 0);
    assert.match(stdout.slice(end), /^\s*1\s*$/);
    assert.equal(status, 0);
  });

  it("says what is missing where nothing may be tried, exit code 1", () => {
    const { stdout, status } = spawnSync(
      "setpriv",
      ["--bounding-set=-all", "--inh-caps=-all", MARGAY, "node", "checksystem"],
      { encoding: "utf8" },
    );
    assert.equal(status, 1);
    assert.match(stdout, /^MISSING {2}nf_tables +policy: cannot be tried: .*run it as root$/m);
    assert.match(stdout, /A node cannot run here: 6 of what it needs are missing\./);
  });
});

describe("margay node diags", () => {
  it("gathers what is there, and no secret", (t) => {
    const dir = mkdtempSync(join(tmpdir(), "mgy-diags-"));
    t.after(() => rmSync(dir, { recursive: true, force: true }));
    const put = (path: string, text: string): void => {
      mkdirSync(join(dir, path, ".."), { recursive: true });
      writeFileSync(join(dir, path), text);
    };
    const key = "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0a2V5\n-----END EC PRIVATE KEY-----";
    put(
      "confd/config/bird.cfg",
      `protocol bgp x {\n  password "bgp-geheim";\n  neighbor 10.0.0.9;\n}\n`,
    );
    put(
      "log/felix/current",
      `started with etcd-geheim\nmd5 bgp-geheim\n${key}\ntoken=abc.geheim\n` +
        `{"user":"root","password":"a geheim","n":1}\netcdctl --password geheim9 get\n` +
        `http://root:geheim7@10.0.0.1:2379\n`,
    );
    const archive = join(dir, "out.tar.gz");
    const flags = ["--conf-dir", join(dir, "confd"), "--log-dir", join(dir, "log")];
    const { status, stdout, stderr } = spawnSync(
      "unshare",
      ["-Urnm", MARGAY, "node", "diags", "--output", archive, ...flags, "--run-dir", dir],
      {
        encoding: "utf8",
        env: {
          ...process.env,
          ETCD_USERNAME: "root",
          ETCD_PASSWORD: "etcd-geheim",
          DATASTORE_TYPE: "embedded",
          MARGAY_DATA_DIR: join(dir, "store"),
          NODENAME: "host-a",
        },
      },
    );
    assert.equal(status, 0, stderr);
    assert.equal(stdout, `${archive}\n`);
    assert.equal(statSync(archive).mode & 0o777, 0o600);
    const all = execFileSync("tar", ["-xzOf", archive], { encoding: "utf8", maxBuffer: 1 << 28 });
    assert.doesNotMatch(all, /geheim|c2VjcmV0a2V5/);
    assert.match(all, /password "\*\*\*";\n {2}neighbor 10\.0\.0\.9;/);
    assert.match(all, /started with \*\*\*\nmd5 \*\*\*\n\*\*\*\n/);
    assert.match(all, /\{"user":"root","password":\*\*\*,"n":1\}/);
    assert.match(all, /^etcdctl --password \*\*\* get$/m);
    assert.match(all, /^http:\/\/root:\*\*\*@10\.0\.0\.1:2379$/m);
    assert.match(all, /^ETCD_PASSWORD=\*\*\*$/m);
    assert.match(all, /^ETCD_USERNAME=root$/m);
    const names = execFileSync("tar", ["-tzf", archive], { encoding: "utf8" });
    for (const name of ["network/ruleset", "network/links", "margay/nodes", "logs/felix/current"]) {
      assert.match(names, new RegExp(`^margay-diags-host-a-\\w+/${name}$`, "m"));
    }
  });
});
