/**
 * One question to Kubernetes' API server: the addresses of type InternalIP that a Node there has. Who and
 * where it is says `KUBECONFIG`, or, in a pod, what Kubernetes mounts there.
 */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { request as plainRequest, type IncomingMessage } from "node:http";
import { request as tlsRequest, type RequestOptions } from "node:https";
import { dirname, resolve } from "node:path";
import { text as bodyOf } from "node:stream/consumers";
import { parse } from "yaml";
import { tryParseIp, type Ip } from "#ip";
import { inputError, messageOf, systemError } from "#std";
import { text, type Environment } from "./environment.ts";

const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";
const TIMEOUT_MS = 10_000;

type Fields = Readonly<Record<string, unknown>>;

interface ApiServer {
  readonly url: string;
  readonly token?: string;
  readonly tls: Pick<RequestOptions, "ca" | "cert" | "key" | "servername" | "rejectUnauthorized">;
}

/** Throws `no-kubernetes` and `bad-kubeconfig`, and system errors when the API server does not tell. */
export async function internalIps(env: Environment, node: string): Promise<Ip[]> {
  const server = apiServer(env);
  const url = new URL(`${server.url.replace(/\/$/, "")}/api/v1/nodes/${encodeURIComponent(node)}`);
  const { status, body } = await get(url, server);
  if (status === 404) {
    throw inputError(
      "no-kubernetes-node",
      `Kubernetes at ${server.url} has no Node ${node}: set CALICO_K8S_NODE_REF to its name there`,
    );
  }
  if (status !== 200) {
    const { message = body.slice(0, 200) } = fieldsOf(tryJson(body)) as { message?: string };
    throw systemError("kubernetes-refused", `${url.href}: status ${status}: ${message}`);
  }
  const addresses = fieldsOf(fieldsOf(tryJson(body))["status"])["addresses"];
  return (Array.isArray(addresses) ? addresses : []).flatMap((one) => {
    const { type, address } = fieldsOf(one);
    return type === "InternalIP" ? (tryParseIp(String(address)) ?? []) : [];
  });
}

async function get(url: URL, { token, tls }: ApiServer): Promise<{ status: number; body: string }> {
  const options = {
    headers: {
      accept: "application/json",
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  };
  const request =
    url.protocol === "http:" ? plainRequest(url, options) : tlsRequest(url, { ...options, ...tls });
  try {
    request.end();
    const [response] = (await once(request, "response")) as [IncomingMessage];
    return { status: response.statusCode ?? 0, body: await bodyOf(response) };
  } catch (error) {
    throw systemError("kubernetes-unreachable", `${url.href}: ${messageOf(error)}`, {
      retryable: true,
      cause: error,
    });
  }
}

function apiServer(env: Environment): ApiServer {
  const file = text(env, "KUBECONFIG")?.split(":")[0];
  if (file !== undefined) return fromKubeconfig(file);
  const host = text(env, "KUBERNETES_SERVICE_HOST");
  if (host === undefined) {
    throw inputError(
      "no-kubernetes",
      "kubernetes-internal-ip: there is no Kubernetes to ask: set KUBECONFIG to a file, or choose another method",
    );
  }
  const port = text(env, "KUBERNETES_SERVICE_PORT") ?? "443";
  return {
    url: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
    token: readOrFail(`${SERVICE_ACCOUNT}/token`).toString().trim(),
    tls: { ca: readOrFail(`${SERVICE_ACCOUNT}/ca.crt`) },
  };
}

/** The cluster and user of its current context; certificates and tokens in it or in files beside it. */
function fromKubeconfig(file: string): ApiServer {
  let config: Fields;
  const wrong = (what: string): Error =>
    inputError("bad-kubeconfig", `KUBECONFIG ${file}: ${what}`);
  try {
    config = fieldsOf(parse(readOrFail(file).toString()));
  } catch (error) {
    throw wrong(messageOf(error));
  }
  const named = (list: string, key: string, name: unknown): Fields => {
    const all = config[list];
    const found = (Array.isArray(all) ? all : []).map(fieldsOf).find((one) => one["name"] === name);
    if (found === undefined) throw wrong(`${list} has no ${JSON.stringify(name)}`);
    return fieldsOf(found[key]);
  };
  const context = named("contexts", "context", config["current-context"]);
  const cluster = named("clusters", "cluster", context["cluster"]);
  const user = named("users", "user", context["user"]);
  for (const field of ["exec", "auth-provider", "username"]) {
    if (user[field] !== undefined)
      throw wrong(`users: ${field} is not supported; use token, tokenFile or client-certificate`);
  }
  const { server } = cluster;
  if (typeof server !== "string" || !URL.canParse(server)) throw wrong("its cluster has no server");
  const material = (fields: Fields, name: string): Buffer | undefined => {
    const data = fields[`${name}-data`];
    if (typeof data === "string") return Buffer.from(data, "base64");
    const path = fields[name];
    return typeof path === "string" ? readOrFail(resolve(dirname(file), path)) : undefined;
  };
  const token = user["token"] ?? material(user, "tokenFile")?.toString().trim();
  const [ca, cert, key] = [
    material(cluster, "certificate-authority"),
    material(user, "client-certificate"),
    material(user, "client-key"),
  ];
  const servername = cluster["tls-server-name"];
  return {
    url: server,
    ...(typeof token === "string" ? { token } : {}),
    tls: {
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      ...(typeof servername === "string" ? { servername } : {}),
      ...(cluster["insecure-skip-tls-verify"] === true ? { rejectUnauthorized: false } : {}),
    },
  };
}

function readOrFail(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw inputError("bad-kubeconfig", `${file} cannot be read: ${messageOf(error)}`);
  }
}

function fieldsOf(value: unknown): Fields {
  return typeof value === "object" && value !== null ? (value as Fields) : {};
}

function tryJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}
