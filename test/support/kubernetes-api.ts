/**
 * The one answer of Kubernetes' API server that a node asks for, over TLS, as the API reference has it
 * (`GET /api/v1/nodes/{name}`). Debian has no API server to test against.
 */
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import type { TlsFiles } from "./certificates.ts";

export const TOKEN = "a-token";

export interface KubernetesApi {
  readonly port: number;
  readonly close: () => void;
}

/** Whoever has the token or a certificate of the CA is answered. */
export async function serveNodes(
  files: TlsFiles,
  nodes: Readonly<Record<string, readonly object[]>>,
): Promise<KubernetesApi> {
  const [ca, cert, key] = [files.ca, files.serverCert, files.serverKey].map((file) =>
    readFileSync(file),
  );
  const options = { ca, cert, key, requestCert: true, rejectUnauthorized: false };
  const server: Server = createServer(options, (request, response) => {
    const answer = (status: number, body: object): void => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(body));
    };
    const fault = (code: number, reason: string, message: string): void =>
      answer(code, { kind: "Status", apiVersion: "v1", status: "Failure", message, reason, code });
    const known = (request.socket as TLSSocket).authorized;
    if (!known && request.headers.authorization !== `Bearer ${TOKEN}`) {
      fault(401, "Unauthorized", "Unauthorized");
      return;
    }
    const name = /^\/api\/v1\/nodes\/([^/]+)$/.exec(request.url ?? "")?.[1] ?? "";
    const addresses = Object.hasOwn(nodes, name) ? nodes[name] : undefined;
    if (addresses === undefined) fault(404, "NotFound", `nodes "${name}" not found`);
    else answer(200, { kind: "Node", apiVersion: "v1", metadata: { name }, status: { addresses } });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return { port: (server.address() as AddressInfo).port, close: () => server.close() };
}
