/**
 * The agent's two small HTTP servers: health (`/liveness`, `/readiness`) and metrics (`/metrics`).
 * A port that is taken is retried, never a reason to stop: policy matters more than its observers.
 */
import { readFileSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { TLSSocket } from "node:tls";
import { messageOf } from "#std";
import { logger } from "#log";
import { enableExposition } from "#metrics";
import type { FelixValues } from "./config/params.ts";
import type { Health } from "./health.ts";

const log = logger("felix.http");
const RETRY_MS = 1000;

export interface RunningServer {
  /** The port that is bound, when it is: 0 asks the kernel to choose. */
  port(): number | undefined;
  close(): Promise<void>;
}

export function serveHealth(health: Health, host: string, port: number): RunningServer {
  const handler: RequestListener = (request, response) => {
    const path = new URL(request.url ?? "/", "http://localhost").pathname;
    const question = path === "/liveness" ? "live" : path === "/readiness" ? "ready" : undefined;
    if (question === undefined) {
      response.writeHead(404, { "content-type": "text/plain" }).end("/liveness or /readiness\n");
      return;
    }
    const { ok, text } = health.summary(question);
    response.writeHead(ok ? 200 : 503, { "content-type": "text/plain" }).end(text);
  };
  return listen("health", createServer(handler), host, port);
}

/** `refresh` brings gauges up to date before each scrape. */
export async function serveMetrics(
  values: FelixValues,
  refresh: () => void,
): Promise<RunningServer> {
  const exposition = await enableExposition({
    processMetrics: values.PrometheusProcessMetricsEnabled,
  });
  const handler: RequestListener = (request, response) => {
    if (!/^\/(?:metrics)?(?:\?|$)/.test(request.url ?? "/")) {
      response.writeHead(404, { "content-type": "text/plain" }).end("/metrics\n");
      return;
    }
    refresh();
    exposition.text().then(
      (text) => response.writeHead(200, { "content-type": exposition.contentType }).end(text),
      (error: unknown) => {
        log.error("metrics could not be collected", { error });
        response.writeHead(500).end();
      },
    );
  };
  const server = metricsServer(values, handler);
  return listen("metrics", server, values.PrometheusMetricsHost, values.PrometheusMetricsPort);
}

/** With a certificate and a key it speaks TLS, and asks scrapers for theirs as configured. */
function metricsServer(values: FelixValues, handler: RequestListener): Server {
  const { PrometheusMetricsCertFile: certFile, PrometheusMetricsKeyFile: keyFile } = values;
  if (certFile === "" || keyFile === "") return createServer(handler);
  const auth = values.PrometheusMetricsClientAuth;
  const caFile = values.PrometheusMetricsCAFile;
  const guarded: RequestListener = (request, response) => {
    const socket = request.socket as TLSSocket;
    const given = Object.keys(socket.getPeerCertificate()).length > 0;
    const refused =
      (auth === "RequireAnyClientCert" && !given) ||
      (auth === "VerifyClientCertIfGiven" && given && !socket.authorized);
    if (refused) response.writeHead(403).end();
    else handler(request, response);
  };
  return createTlsServer(
    {
      cert: readFileSync(certFile),
      key: readFileSync(keyFile),
      ...(caFile === "" ? {} : { ca: readFileSync(caFile) }),
      requestCert: auth !== "NoClientCert" && auth !== "",
      rejectUnauthorized: auth === "RequireAndVerifyClientCert",
      minVersion: "TLSv1.2",
    },
    guarded,
  );
}

function listen(what: string, server: Server, host: string, port: number): RunningServer {
  let closed = false;
  let retry: NodeJS.Timeout | undefined;
  let complained = false;
  const start = (): void => {
    if (host === "") server.listen(port);
    else server.listen(port, host);
  };
  server.on("error", (error) => {
    if (closed) return;
    if (!complained) log.error("cannot listen", { what, host, port, reason: messageOf(error) });
    complained = true;
    retry = setTimeout(start, RETRY_MS);
  });
  server.on("listening", () => {
    complained = false;
    log.info("listening", { what, host, port: portOf(server) });
  });
  start();
  return {
    port: () => portOf(server),
    close: () => {
      closed = true;
      clearTimeout(retry);
      server.closeAllConnections();
      return new Promise((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}

function portOf(server: Server): number | undefined {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : undefined;
}
