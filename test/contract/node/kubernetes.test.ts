/** Asking Kubernetes for a node's internal addresses, by what a kubeconfig may say. */
import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { formatIp } from "#ip";
import { internalIps } from "../../../src/node/kubernetes.ts";
import { makeCertificateDir, makeCertificates, type TlsFiles } from "../../support/certificates.ts";
import { serveNodes, TOKEN, type KubernetesApi } from "../../support/kubernetes-api.ts";

const dir = makeCertificateDir();
let files: TlsFiles;
let api: KubernetesApi;

before(async () => {
  files = makeCertificates(dir);
  api = await serveNodes(files, {
    "host-a": [
      { type: "ExternalIP", address: "198.51.100.1" },
      { type: "InternalIP", address: "10.0.0.11" },
      { type: "InternalIP", address: "fd00::11" },
      { type: "Hostname", address: "host-a" },
    ],
    bare: [],
  });
  writeFileSync(join(dir, "token"), `${TOKEN}\n`);
});
after(() => {
  api.close();
  rmSync(dir, { recursive: true });
});

const base64 = (file: string): string => readFileSync(file).toString("base64");

/** JSON is YAML. */
function kubeconfig(user: object, cluster: object = { "certificate-authority": "ca.pem" }): string {
  const file = join(dir, "config");
  const server = `https://127.0.0.1:${api.port}`;
  const config = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": "c",
    contexts: [
      { name: "other", context: { cluster: "none", user: "none" } },
      { name: "c", context: { cluster: "here", user: "me" } },
    ],
    clusters: [{ name: "here", cluster: { server, ...cluster } }],
    users: [{ name: "me", user }],
  };
  writeFileSync(file, JSON.stringify(config));
  return file;
}

async function asked(KUBECONFIG: string, node = "host-a"): Promise<string[]> {
  return (await internalIps({ KUBECONFIG }, node)).map(formatIp);
}

test("credentials of each kind, in the file or beside it", async () => {
  const users = () => [
    { token: TOKEN },
    { tokenFile: "token" },
    { "client-certificate": "client.pem", "client-key": files.clientKey },
    {
      "client-certificate-data": base64(files.clientCert),
      "client-key-data": base64(files.clientKey),
    },
  ];
  for (const user of users())
    assert.deepEqual(await asked(kubeconfig(user)), ["10.0.0.11", "fd00::11"]);
  for (const cluster of [
    { "certificate-authority-data": base64(files.ca) },
    { "insecure-skip-tls-verify": true },
    { "certificate-authority": "ca.pem", "tls-server-name": "localhost" },
  ])
    assert.equal((await asked(kubeconfig({ token: TOKEN }, cluster))).length, 2);
  assert.deepEqual(await asked(kubeconfig({ token: TOKEN }), "bare"), []);
});

test("what goes wrong is named", async () => {
  const fails = (pattern: RegExp, file: string, node?: string): Promise<void> =>
    assert.rejects(asked(file, node), pattern);
  await fails(/has no Node other: set CALICO_K8S_NODE_REF/, kubeconfig({ token: TOKEN }), "other");
  await fails(/nodes\/host-a: status 401: Unauthorized/, kubeconfig({ token: "wrong" }));
  await fails(/self-signed|unable to verify|certificate/, kubeconfig({ token: TOKEN }, {}));
  await fails(/client-key|ENOENT|cannot be read/, kubeconfig({ "client-key": "none.pem" }));
  await fails(/users: exec is not supported; use token/, kubeconfig({ exec: { command: "aws" } }));
  await fails(/no-such-file cannot be read/, join(dir, "no-such-file"));
  writeFileSync(join(dir, "bad"), "contexts: [");
  await fails(/KUBECONFIG .*bad: /, join(dir, "bad"));
  writeFileSync(join(dir, "empty"), "current-context: x\n");
  await fails(/contexts has no "x"/, join(dir, "empty"));
  const gone = kubeconfig({ token: TOKEN }, { server: "https://127.0.0.1:1" });
  await fails(/https:\/\/127\.0\.0\.1:1\/api\/v1\/nodes\/host-a: .*ECONNREFUSED/, gone);
  await assert.rejects(internalIps({}, "host-a"), /there is no Kubernetes to ask/);
  await assert.rejects(
    internalIps({ KUBERNETES_SERVICE_HOST: "127.0.0.1" }, "host-a"),
    /serviceaccount\/token cannot be read/,
  );
});
