/** A user's own files: conf.d/*.toml, their templates, checks and reloads. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ConfdService } from "../../../src/confd/service.ts";
import { keyView } from "../../../src/confd/templates/keys.ts";
import { renderTemplate } from "../../../src/confd/templates/render.ts";
import { templateResources } from "../../../src/confd/templates/resource.ts";
import {
  affinity,
  bgpConfiguration,
  bgpPeer,
  modelOf,
  node,
  pool,
  stateOf,
} from "../../support/bgp.ts";
import { EtcdServer } from "../datastore/etcd-server.ts";

const MARGAY = fileURLToPath(new URL("../../../bin/margay", import.meta.url));
const secret = { password: { secretKeyRef: { name: "bgp", key: "tor" } } };
const OBJECTS = [
  node(1, { routeReflectorClusterID: "224.0.0.1" }),
  node(2),
  pool("four", { cidr: "10.65.0.0/16", vxlanMode: "CrossSubnet" }),
  affinity("host-1", "10.65.1.0/26"),
  affinity("host-1", "fd65::1:0/122"),
  bgpConfiguration({ asNumber: 64999, nodeToNodeMeshEnabled: false }),
  bgpPeer("tor", { peerIP: "192.0.2.1", asNumber: 1, ...secret }),
  bgpPeer("own", { node: "host-1", peerIP: "192.0.2.7:1790", asNumber: 64512 }),
];

class Files {
  readonly dir: string;
  constructor(t: TestContext) {
    this.dir = mkdtempSync(join(tmpdir(), "margay-templates-"));
    t.after(() => rmSync(this.dir, { recursive: true }));
    for (const name of ["conf.d", "templates", "out"]) mkdirSync(join(this.dir, name));
  }
  put(path: string, text: string): void {
    writeFileSync(join(this.dir, path), text);
  }
  read(path: string): string {
    const full = join(this.dir, path);
    return existsSync(full) ? readFileSync(full, "utf8") : "";
  }
  resource(name: string, fields: string): void {
    this.put(
      `conf.d/${name}.toml`,
      `[template]\nsrc = "${name}.eta"\ndest = "out/${name}"\n${fields}`,
    );
  }
}

describe("keys of the templates", () => {
  it("are Calico's, and hold no password", () => {
    const state = stateOf(OBJECTS);
    const view = keyView(state, modelOf(OBJECTS, { secrets: () => "geheim" }));
    const text = JSON.stringify([...view]);
    assert.doesNotMatch(text, /geheim/);
    const expected: Record<string, string> = {
      "/calico/bgp/v1/global/as_num": "64999",
      "/calico/bgp/v1/global/node_mesh": '{"enabled":false}',
      "/calico/bgp/v1/global/loglevel": "info",
      "/calico/bgp/v1/global/peer_v4/192.0.2.1": '{"ip":"192.0.2.1","as_num":"1"}',
      "/calico/bgp/v1/host/host-1/peer_v4/192.0.2.7-1790":
        '{"ip":"192.0.2.7","as_num":"64512","port":1790}',
      "/calico/bgp/v1/host/host-1/ip_addr_v4": "10.0.0.1",
      "/calico/bgp/v1/host/host-2/network_v4": "10.0.0.2/24",
      "/calico/bgp/v1/host/host-1/rr_cluster_id": "224.0.0.1",
      "/calico/ipam/v2/host/host-1/ipv4/block/10.65.1.0-26": '{"state":"confirmed"}',
      "/calico/ipam/v2/host/host-1/ipv6/block/fd65::1:0-122": '{"state":"confirmed"}',
    };
    for (const [key, value] of Object.entries(expected)) assert.equal(view.get(key), value, key);
    const stored = view.get("/calico/v1/ipam/v4/pool/10.65.0.0-16") ?? "";
    assert.equal((JSON.parse(stored) as { vxlan_mode: string }).vxlan_mode, "cross-subnet");
  });

  it("tell what the cluster and this node announce beside blocks", () => {
    const services = {
      serviceClusterIPs: [{ cidr: "10.96.0.0/12" }, { cidr: "fd96::/112" }],
      serviceExternalIPs: [{ cidr: "203.0.113.0/24" }],
      serviceLoadBalancerIPs: [{ cidr: "198.51.100.0/24" }],
      serviceLoadBalancerAggregation: "Disabled",
    };
    const objects = [
      node(1),
      bgpConfiguration({
        ...services,
        communities: [{ name: "c", value: "1:2" }],
        prefixAdvertisements: [{ cidr: "10.65.0.0/16", communities: ["c", "3:4:5"] }],
      }),
      bgpConfiguration(
        {
          logSeverityScreen: "Debug",
          listenPort: 1790,
          prefixAdvertisements: [{ cidr: "fd65::/48", communities: ["7:8"] }],
        },
        "node.host-1",
      ),
    ];
    const view = keyView(stateOf(objects), modelOf(objects));
    const expected: Record<string, string> = {
      "/calico/bgp/v1/global/svc_cluster_ips": "10.96.0.0/12,fd96::/112",
      "/calico/bgp/v1/global/svc_external_ips": "203.0.113.0/24",
      "/calico/bgp/v1/global/svc_loadbalancer_ips": "198.51.100.0/24",
      "/calico/bgp/v1/global/prefix_advertisements/ip_v4/10.65.0.0-16":
        '{"cidr":"10.65.0.0/16","communities":["1:2","3:4:5"]}',
      "/calico/bgp/v1/host/host-1/prefix_advertisements/ip_v6/fd65::-48":
        '{"cidr":"fd65::/48","communities":["7:8"]}',
      "/calico/bgp/v1/host/host-1/loglevel": "debug",
      "/calico/bgp/v1/host/host-1/listen_port": "1790",
      "/calico/staticroutes/10.96.0.0-12": "10.96.0.0/12",
      "/calico/staticroutesv6/fd96::-112": "fd96::/112",
      "/calico/rejectcidrs/198.51.100.0-24": "198.51.100.0/24",
    };
    for (const [key, value] of Object.entries(expected)) assert.equal(view.get(key), value, key);
    assert.equal(view.get("/calico/rejectcidrs/10.96.0.0-12"), undefined);
  });

  it("are had by confd's functions", () => {
    const keys = new Map([
      ["/a/x/one", "1"],
      ["/a/x/two", '{"n": [2]}'],
      ["/a/y", "3"],
    ]);
    const render = (template: string): string => renderTemplate("t", template, keys);
    assert.equal(render('<%= it.getv("/a/y") %> <%= it.getv("/z", "none") %>'), "3 none");
    assert.equal(
      render('<%= it.ls("/a") %>|<%= it.lsdir("/a") %>|<%= it.exists("/a/y") %>'),
      "x,y|x|true",
    );
    assert.equal(render('<%= it.gets("/a/x/*").map((e) => it.base(e.key)) %>'), "one,two");
    assert.equal(
      render('<%= it.json(it.get("/a/x/two").value).n[0] %> <%= it.getvs("/a/*") %>'),
      "2 3",
    );
    assert.throws(() => render('<%= it.getv("/none") %>'), /t: .*there is no key \/none/s);
    assert.equal(render("<%= '<&>' %>"), "<&>", "no HTML");
  });
});

describe("template resources", () => {
  it("say what is wrong, and where", (t) => {
    const files = new Files(t);
    const wrong = (text: string, message: RegExp): void => {
      files.put("conf.d/x.toml", text);
      assert.throws(() => templateResources(files.dir), { code: "bad-template", message });
    };
    wrong("[template\n", /x\.toml:1:\d+: /);
    wrong("a = 1\n", /there is no \[template\] table/);
    wrong('[template]\ndest = "/x"\nkeys = ["/"]\n', /template\.src is missing/);
    wrong('[template]\nsrc = "a"\ndest = "/x"\n', /template\.keys is missing/);
    wrong(
      '[template]\nsrc = "a"\ndest = "b"\nkey = []\n',
      /template\.key is not known; did you mean keys\?/,
    );
    wrong(
      '[template]\nsrc = "a"\ndest = "b"\nkeys = ["/"]\nmode = "9"\n',
      /template\.mode is "9": expected/,
    );
    assert.deepEqual(templateResources(join(files.dir, "out")), []);
  });
});

describe("a file of the user's", () => {
  it("follows its keys alone: checked, replaced, reloaded once a change", async (t) => {
    const files = new Files(t);
    files.resource(
      "peers",
      `mode = "0600"\nprefix = "/calico"\nkeys = ["/bgp/v1/global"]\n` +
        `check_cmd = "! grep -q bad {{.src}} || { echo no bad ones; false; }"\n` +
        `reload_cmd = "echo reloaded >> ${files.dir}/reloads"\n`,
    );
    files.put(
      "templates/peers.eta",
      '<% for (const ip of it.ls("/bgp/v1/global/peer_v4")) { %>\npeer <%= ip %> as <%= it.getv("/bgp/v1/global/as_num") %>\n<% } %>',
    );
    const service = new ConfdService({
      confDir: files.dir,
      runDir: files.dir,
      model: {},
      templates: templateResources(files.dir),
    });
    const render = (objects: Parameters<typeof stateOf>[0]) => service.render(stateOf(objects));
    const peer = bgpPeer("tor", { peerIP: "192.0.2.1", asNumber: 1 });
    const reloads = (): number => files.read("reloads").split("\n").length - 1;
    assert.deepEqual(await render([node(1), peer]), []);
    assert.match(files.read("out/peers"), /^\s*peer 192\.0\.2\.1 as 64512\s*$/);
    assert.equal(statSync(join(files.dir, "out/peers")).mode & 0o777, 0o600);
    assert.equal(reloads(), 1);
    const { ino } = statSync(join(files.dir, "out/peers"));
    await render([node(1), node(2), peer]);
    assert.equal(statSync(join(files.dir, "out/peers")).ino, ino, "nothing of its keys changed");
    assert.equal(reloads(), 1);
    await render([node(1), peer, bgpConfiguration({ asNumber: 7 })]);
    assert.match(files.read("out/peers"), /as 7/);
    assert.equal(reloads(), 2);

    files.put("templates/peers.eta", "bad");
    const [fault] = await render([node(1), peer]);
    assert.match(
      fault ?? "",
      /check_cmd rejects the new .*out\/peers, which stays as it was: no bad ones/,
    );
    assert.match(files.read("out/peers"), /as 7/);
    assert.deepEqual(await render([node(1), peer]), [], "told once");
    files.put("templates/peers.eta", '<%= it.getv("/none") %>');
    assert.match((await render([node(1), peer]))[0] ?? "", /peers\.eta: .*there is no key \/none/s);
    assert.match(files.read("out/peers"), /as 7/);
    files.put("templates/peers.eta", "good");
    assert.deepEqual(await render([node(1), peer]), []);
    assert.equal(files.read("out/peers"), "good");
    assert.equal(reloads(), 3);
  });

  it("that cannot be written or reloaded is tried again", async (t) => {
    const files = new Files(t);
    files.resource("x", `keys = ["/calico"]\nreload_cmd = "test -e ${files.dir}/up"\n`);
    files.put("templates/x.eta", "text");
    rmSync(join(files.dir, "out"), { recursive: true });
    files.put("out", "a file in the way");
    const service = new ConfdService({
      confDir: files.dir,
      runDir: files.dir,
      retryMs: 20,
      model: {},
      templates: templateResources(files.dir),
    });
    const abort = new AbortController();
    const running = service.run(abort.signal);
    service.changed(stateOf([node(1)]));
    await delay(200);
    rmSync(join(files.dir, "out"));
    for (let n = 0; n < 200 && files.read("out/x") === ""; n++) await delay(20);
    assert.equal(files.read("out/x"), "text");
    assert.match((await service.render(stateOf([node(1)]))).join(), /reload_cmd failed/);
    files.put("up", "");
    assert.deepEqual(await service.render(stateOf([node(1)])), []);
    abort.abort();
    await running;
  });
});

it("margay confd --once, on a real etcd", async (t) => {
  const files = new Files(t);
  const server = await EtcdServer.start();
  t.after(() => server.stop());
  const margay = (args: readonly string[], input = "") =>
    spawnSync(MARGAY, args, {
      input,
      encoding: "utf8",
      env: { PATH: process.env["PATH"], ETCD_ENDPOINTS: server.endpoint, NODENAME: "host-1" },
    });
  const bgp = { ipv4Address: "10.0.0.1/24" };
  const host = { apiVersion: "projectcalico.org/v3", kind: "Node", metadata: { name: "host-1" } };
  assert.equal(margay(["apply", "-f", "-"], JSON.stringify({ ...host, spec: { bgp } })).status, 0);
  files.resource("me", 'prefix = "/calico/bgp/v1/host"\nkeys = ["/host-1"]\n');
  files.put("templates/me.eta", 'I am <%= it.getv("/host-1/ip_addr_v4") %>.');
  const once = ["confd", "-confd-run-once", "-confd-keep-stage-file", "--conf-dir", files.dir];
  const good = margay(once);
  assert.equal(good.status, 0, good.stderr);
  assert.equal(files.read("out/me"), "I am 10.0.0.1.");
  assert.equal(files.read("out/me.stage.kept"), "I am 10.0.0.1.");
  assert.match(files.read("config/bird.cfg"), /router id 10\.0\.0\.1/);
  files.resource("me", 'keys = ["/calico"]\ncheck_cmd = "false"\n');
  files.put("templates/me.eta", "other");
  const bad = margay(once);
  assert.equal(bad.status, 1);
  assert.match(bad.stderr, /check_cmd rejects/);
  assert.equal(files.read("out/me"), "I am 10.0.0.1.");
  files.put("conf.d/me.toml", "[template]\nsrc = 1\n");
  assert.match(margay(once).stderr, /conf\.d\/me\.toml: template\.src is no string/);
});
